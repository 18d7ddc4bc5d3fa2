"""Messages of a command name its options, never the settings of Python or of Hydra that stand behind them."""

import pytest

from dlcpose.cli.option_names import as_options, names_options
from dlcpose.structures.errors import DataError

OPTIONS = {"detector_every": "--detector-every", "start": "--start", "trust": "--trust", "readers": "--for"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("start: expected 1 or more, got -1.", "--start: expected 1 or more, got -1."),
        ("tracking.start: expected 1.", "--start: expected 1."),
        ("a.mp4: start=30: it has 10 frames.", "a.mp4: --start 30: it has 10 frames."),
        ("Leave detector_every out (detector_every=3).", "Leave --detector-every out (--detector-every 3)."),
        ("readers: expected one of csv, got 'x'.", "--for: expected one of csv, got 'x'."),
        ("Add trust=[mylab] to the command.", "Add --trust mylab to the command."),
        ("Add trust=[mylab,other].", "Add --trust mylab --trust other."),
    ],
)
def test_settings_are_options(message: str, expected: str) -> None:
    with names_options(OPTIONS):
        assert as_options(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "unlabeled.start=30: no such frame.",
        "Take a start below that, and trust: it is right.",
        "/data/start=3/readers.csv: cannot be read.",
        "'start=3': cannot be read.",
        "restart=3",
        "start",
    ],
)
def test_words_paths_and_other_settings_stay(message: str) -> None:
    with names_options(OPTIONS):
        assert as_options(message) == message


def test_outside_of_a_command_nothing_is_an_option() -> None:
    assert as_options("start=3: expected 1.") == "start=3: expected 1."


def test_an_error_keeps_its_kind() -> None:
    with pytest.raises(DataError, match=r"^a.mp4: --start 3: "), names_options(OPTIONS):
        raise DataError("a.mp4: start=3: expected less.")
