"""Models of DeepLabCut 3's PyTorch engine: a snapshot with its pytorch_config.yaml."""

import difflib
from pathlib import Path

from dlcpose.config.models import available_models
from dlcpose.deeplabcut_layout.config import SnapshotConfig, read_config
from dlcpose.deeplabcut_layout.model import describe_model
from dlcpose.deeplabcut_layout.part import quoted
from dlcpose.importers.deeplabcut_files import find_files, is_exported, project_of, read_exported, read_weights
from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.superanimal import LICENSE, recognized_config
from dlcpose.structures.data_files import naming_file
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

DETECTOR_WEIGHTS = "detector."  # before the names in a detector's snapshot


def read_model(
    source: Path, *, config: Path | None = None, snapshot: Path | None = None, detector: Path | None = None
) -> ImportedModel:
    """A model of DeepLabCut 3 in our terms, as `importers.imported.write_checkpoint` takes it.

    source: the folder of a shuffle, its `train` folder, a snapshot, or a file of `export_model`. config, snapshot, detector:
    files to take instead of those that are there.
    Raises DataError or CheckpointError for files that are missing, broken, or of something else.
    """
    files = find_files(source, config=config, snapshot=snapshot, detector=detector)
    is_published = False
    if is_exported(files.snapshot):
        if config is not None or detector is not None:
            raise DataError(
                f"{files.snapshot}: an exported model has its config and detector in it. Leave out the other."
            )
        described, weights, of_detector = read_exported(files.snapshot)
    else:
        weights = read_weights(files.snapshot)
        # A snapshot alone may be a published one, whose kinds are few; that of a folder is to have its config.
        is_published = source.is_file() and config is None and not files.config.is_file()
        stated = None if is_published else read_config(files.config)
        has_detector = files.detector is not None and (stated is None or "detector" in stated.root)
        of_detector = read_weights(files.detector) if has_detector and files.detector is not None else None
        described = recognized_config(weights, of_detector, files.snapshot) if stated is None else stated
    model = describe_model(described, with_detector=of_detector is not None)
    if of_detector is not None:
        weights |= {DETECTOR_WEIGHTS + name: value for name, value in of_detector.items()}
    ours, left_over = model.to_ours(weights)
    project = project_of(files.snapshot)
    overrides = [
        f"model={_named_model(described)}",
        "dataset=deeplabcut",
        "dataset.root=PROJECT" if project is None else f"dataset.root={quoted(str(project))}",
        *model.overrides,
    ]
    return ImportedModel(
        source=files.snapshot,
        overrides=overrides,
        weights=ours,
        left_over=left_over,
        skeleton=_skeleton(described),
        individuals=described.individuals,
        has_identities="identity" in described.model.node("heads"),
        license=LICENSE if is_published else None,
        multiple_of=model.multiple_of,
    )


def _skeleton(config: SnapshotConfig) -> Skeleton:
    with naming_file(config.path):
        return Skeleton(
            config.bodyparts,
            pairs=pairs_from_names(config.bodyparts),
            unique=config.unique_bodyparts,
            unique_pairs=pairs_from_names(config.unique_bodyparts),
        )


PREFIXES = {"td": ("top_down_", ""), "ctd": ("",)}
# Net types that differ from a model here in what their config says anyway, such as the size of crops; and an earlier name.
SAME_NETWORKS = {
    "animaltokenpose_base": "tokenpose_base",
    "ctd_coam_w48_human": "ctd_coam_w48",
    "ctd_prenet_rtmpose_x_human": "ctd_prenet_rtmpose_x",
    "dlcrnet_ms5": "dlcrnet_stride16_ms5",
}


def _named_model(config: SnapshotConfig) -> str:
    """The named model here that is nearest to a net type: the run is called by it, and it chooses what to watch."""
    known, net_type = available_models(), SAME_NETWORKS.get(config.net_type, config.net_type)
    several = ("bottom_up_", "") if len(config.individuals) > 1 else ("",)
    for prefix in PREFIXES.get(config.method, several):
        if prefix + net_type in known:
            return prefix + net_type
    near = difflib.get_close_matches(config.net_type, known, n=3, cutoff=0.4)
    raise DataError(
        f"{config.path.name}.net_type: dlcpose has no model like {config.net_type!r}. Nearest: {', '.join(near) or 'none'}."
    )
