"""Read mutated files with every reader: `python benchmarks/fuzz.py [--inputs 10000] [--record done.jsonl] [TARGET...]`.

What came of it is in docs/trust.md.
"""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# Some packages install a `tests` of their own, which would be found in place of a folder without __init__.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from tests.fuzz.run import main  # noqa: E402

if __name__ == "__main__":
    main()
