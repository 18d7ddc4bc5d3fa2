"""What several tests need: the real labelled data beside the checkout, where there is any."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = (REPOSITORY / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"the real labelled data is not beside the checkout ({folder.parent.name}/{folder.name})")
    return folder
