"""Training and evaluating from Python, with the overrides of the shell."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dlcpose.config.compose import compose, value_in
from dlcpose.config.folders import run_folder, unused_folder
from dlcpose.config.messages import explain
from dlcpose.runs.provenance import OVERRIDES
from dlcpose.structures.errors import ConfigError, DlcposeError, InputError
from dlcpose.structures.home_folder import expand_home


def train(*overrides: str, run_dir: str | Path | None = None) -> Path:
    """Train what the overrides compose (`train("model=resnet_50", "dataset=deeplabcut", ...)`); returns the run folder.

    run_dir: where everything goes; outputs/python/<date and time> unless given, or with `resume=PATH` where that run is.
    Raises DlcposeError as the shell would.
    """
    from dlcpose.training.train import train as train_config

    with _explained("train", overrides):
        resume = value_in(overrides, "resume")
    folder = _folder(run_dir) if run_dir or not resume else _folder(run_folder(str(_folder(None)), resume))
    given = OVERRIDES.set(overrides)
    try:
        with _explained("train", overrides):
            train_config(compose(overrides, run_dir=str(folder)))
    finally:
        OVERRIDES.reset(given)
    return folder


def evaluate(checkpoint: str | Path, *overrides: str, run_dir: str | Path | None = None) -> dict[str, float]:
    """Figures of a checkpoint on its test frames, or on the data that the overrides name.

    Raises DlcposeError as the shell would.
    """
    from dlcpose.training.evaluation import evaluate_checkpoint

    folder = _folder(run_dir)
    with _explained("evaluate", overrides):
        config = compose(["checkpoint=given", *overrides], config_name="evaluate", run_dir=str(folder))
        # Put in afterward: in Hydra's grammar, quotes and braces of a path would have a meaning.
        return evaluate_checkpoint({**config, "checkpoint": str(expand_home(checkpoint))})


@contextmanager
def _explained(config_name: str, overrides: Sequence[str]) -> Iterator[None]:
    """A block whose errors for a mistake of the user's, a library's too, are DlcposeErrors with the shell's message."""
    for override in overrides:
        if not isinstance(override, str):
            raise InputError(
                f'Expected overrides as in the shell, each a text of its own ("model=resnet_50", "seed=1"), got {override!r}.'
            )
    try:
        yield
    except DlcposeError:
        raise
    except Exception as error:
        if (reason := explain(error, config_name, overrides)) is None:
            raise
        raise ConfigError(reason) from error


def _folder(run_dir: str | Path | None) -> Path:
    if run_dir:
        return Path(run_dir).absolute()
    return unused_folder(Path(f"outputs/python/{datetime.now():%Y-%m-%d_%H-%M-%S}").absolute())
