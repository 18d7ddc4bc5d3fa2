"""What pyproject.toml says of the dependencies."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_every_main_dependency_has_a_lower_bound() -> None:
    """Without one, `make test-oldest` would install the first release that there was."""
    dependencies = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    assert [each for each in dependencies if not re.search(r"(>=|==)\d", each)] == []
