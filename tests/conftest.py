"""What several tests need: the real labeled data beside the checkout, an empty folder, and one small trained run."""

import contextlib
import gc
import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

# Tests run side by side: more threads inside each only wait for each other. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from tests.shells import REPOSITORY, SMALL, Answer, shell

# How many cases a property is tried on, where its test does not say; HYPOTHESIS_PROFILE=thorough tries more.
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


# Files that take minutes, the longest first.
LONG = (
    *("tests/test_docs_followed.py", "tests/runs/test_command_faults.py", "tests/training/test_experiment_trackers.py"),
    *("tests/config/test_composition.py", "tests/runs/test_survival.py", "tests/test_every_model.py"),
    *("tests/test_docs_extending.py", "tests/test_docs_experiments.py", "tests/runs/test_ddp.py"),
    *("tests/test_docs_models.py", "tests/runs/test_whole_sweep.py", "tests/training/test_few_labels.py"),
    *("tests/test_docs_few_labels.py", "tests/test_docs_conversion.py", "tests/test_docs_export.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order in which the workers of `make test` take them: at the end none is left alone with a long one."""
    files = [item.nodeid.partition("::")[0] for item in items]
    place = {file: (LONG.index(file) if file in LONG else len(LONG), -files.count(file), file) for file in set(files)}
    items.sort(key=lambda item: place[item.nodeid.partition("::")[0]])  # stable: within a file as it was


@pytest.fixture(scope="session", autouse=True)
def _frozen_imports() -> None:
    """What the imports have made stays, so the garbage collector need not go through its million objects each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models of 64 px gain nothing from a second thread, and lose much where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _plots_are_not_arranged() -> Iterator[None]:
    """To move a plot's labels apart takes a tenth of a short run, and no test looks at that."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda self, figure: None)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test draws the same numbers whatever ran before it, and in whichever process."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  libraries draw from it
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = (REPOSITORY / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"the real labeled data is not beside the checkout ({folder.parent.name}/{folder.name})")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """`python train.py` on small data: its run folder and what it printed."""
    own = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist have folders of their own in one of the session's, and train it once for all.
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "trained"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "answer.json").exists():
            folder.mkdir(exist_ok=True)
            with contextlib.chdir(folder):
                answer = shell("train.py", *SMALL)
            assert answer.code == 0, answer.err
            (folder / "answer.json").write_text(json.dumps(asdict(answer)))
    (run,) = (folder / "outputs" / "resnet_18").glob("*/*")
    return run, Answer(**json.loads((folder / "answer.json").read_text()))


@pytest.fixture
def best(trained: tuple[Path, Answer]) -> Path:
    return trained[0] / "checkpoints" / "best.ckpt"
