"""Formats register themselves, and are asked only for what they can do."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dlcpose.checkpoint import read_checkpoint
from dlcpose.cli.export import export_command
from dlcpose.model_formats.registry import EXPORT_FORMATS, ExportFormat, ExportRequest, export_format, export_model
from dlcpose.structures.errors import ConfigError, DataError
from tests.made_up_runs import checkpoint_of


class Names(ExportFormat):
    """The names of the weights as text."""

    precisions = ("32", "fp16")

    def write(self, request: ExportRequest) -> Sequence[str]:
        names = [name for name, _ in request.pipeline.named_parameters()]
        request.output.write_text("\n".join(names))
        return [f"{request.output}: {len(names)} weights in {request.precision}"]


class Unwritable(Names):
    needs, extra = ("a_package_that_nobody_has",), "names"


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    EXPORT_FORMATS.load()
    before = dict(EXPORT_FORMATS._registered)
    export_format("names")(Names)
    export_format("unwritable")(Unwritable)
    yield
    EXPORT_FORMATS._registered = before


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("run"))


def test_the_command_writes_a_registered_format(checkpoint: Path, here: Path, capsys: pytest.CaptureFixture) -> None:
    export_command(checkpoint, "names", here / "names.txt", precision="fp16")
    names = (here / "names.txt").read_text().split("\n")
    assert len(names) > 10
    assert capsys.readouterr().out == f"{here / 'names.txt'}: {len(names)} weights in fp16\n"
    with pytest.raises(DataError, match="it is there already"):
        export_command(checkpoint, "names", here / "names.txt")
    export_command(checkpoint, "names", here / "names.txt", overwrite=True)


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("other", "32", "--format: expected one of"),
        ("names", "int8", "--precision"),
        ("unwritable", "32", r"\[names\]"),
    ],
)
def test_what_a_format_cannot_do_is_refused(
    checkpoint: Path, here: Path, name: str, precision: str, expected: str
) -> None:
    request = ExportRequest(read_checkpoint(checkpoint), here / "out", precision=precision)
    with pytest.raises(ConfigError, match=expected):
        export_model(name, request)
    assert not (here / "out").exists()


def test_only_images_are_checked_on(checkpoint: Path, here: Path) -> None:
    with pytest.raises(ConfigError, match="--images"):
        export_command(checkpoint, "names", here / "out", images=["a.mp4"])
