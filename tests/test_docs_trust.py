"""docs/trust.md: each promise names the tests that hold it."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists() -> None:
    file, found = "", 0
    for name in re.findall(r"`((?:tests/[\w/]+\.py::)?test_\w+)`", (REPOSITORY / "docs" / "trust.md").read_text()):
        named, _, test = name.rpartition("::")
        file = named or file  # a name alone is in the file of the one before
        assert f"def {test}(" in (REPOSITORY / file).read_text(), f"{file}::{test}"
        found += 1
    assert found > 10
