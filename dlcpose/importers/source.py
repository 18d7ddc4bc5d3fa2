"""Any model that can be imported: a folder of DeepLabCut 3, a snapshot with its config, its exports, or published weights."""

from pathlib import Path

from dlcpose.deeplabcut_layout.config import FILE_NAME
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.deeplabcut_files import is_exported, refuse_tensorflow
from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.layout import read_published
from dlcpose.structures.errors import DataError


def read_source(
    source: Path,
    *,
    config: Path | None = None,
    snapshot: Path | None = None,
    detector: Path | None = None,
    keypoints: str | None = None,
    dataset_index: int | None = None,
) -> ImportedModel:
    """A model in our terms; the arguments are those of `deeplabcut.read_model` and `layout.read_published`.

    Raises DataError or CheckpointError for files that are missing, broken, or of something else.
    """
    refuse_tensorflow([source])
    is_alone = source.is_file() and config is None and snapshot is None and not source.with_name(FILE_NAME).is_file()
    if is_alone and not is_exported(source):
        return read_published(source, keypoints=keypoints, dataset_index=dataset_index, detector=detector)
    if keypoints is not None or dataset_index is not None:
        raise DataError(
            "--keypoints and --dataset-index are for published weights: a model of DeepLabCut has a config."
        )
    return read_model(source, config=config, snapshot=snapshot, detector=detector)
