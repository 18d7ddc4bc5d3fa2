"""What several tests need: the real labelled data beside the checkout, where there is any."""

import os
from pathlib import Path

# Tests run side by side: more threads inside each only wait for each other. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = (REPOSITORY / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"the real labelled data is not beside the checkout ({folder.parent.name}/{folder.name})")
    return folder
