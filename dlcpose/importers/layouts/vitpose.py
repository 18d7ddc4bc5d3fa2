"""ViTPose and ViTPose+, in transformers' layout (safetensors) and in that of its own repository.

RGB, normalized as ImageNet, crops of 256x192 at 1.25 times the box, UDP coordinates, DARK decoding. Keys as in transformers
5 and 4.48 (`mlp.experts.K` and `mlp.experts.experts.K`) and in ViTPose's repository.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from dlcpose.backbones.vit_weights import DATASETS, vit_weights
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.layout import LAYOUTS, Layout, PublishedFile
from dlcpose.importers.layouts.mmpose import imported, top_down
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import read_json
from dlcpose.structures.errors import DataError

LICENSE = "Apache-2.0, as ViTPose's repository; the data sets' own terms may say more"
NAMES = {
    (384, 12): ("vit_small_patch16_224", "vitpose_s"),
    (768, 12): ("vit_base_patch16_224", "vitpose_b"),
    (1024, 24): ("vit_large_patch16_224", "vitpose_b"),
    (1280, 32): ("vit_huge_patch14_224", "vitpose_b"),
}  # timm's and the nearest named model, by width and depth
HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}  # of the attention, by width: weights do not tell
MAX_HEADS = 1024
MAX_CONFIG = 2**24  # bytes of a config.json
TABLES = {193: (256, 192), 257: (256, 256), 433: (384, 288)}  # px, by the length of the position embedding
AP10K, COCO = 3, 0  # places in DATASETS
KEYPOINTS = {COCO: "coco", AP10K: "ap10k", 4: "ap10k"}  # APT-36K has AP-10K's


class _Vitpose(Layout):
    """A plain transformer and a decoder. classic, simple: how names of the two decoders' layers begin, there and here."""

    classic: ClassVar[tuple[tuple[str, str], ...]]
    simple: ClassVar[tuple[str, str]]

    @classmethod
    def read(cls, file: PublishedFile) -> ImportedModel:
        names = [name for name in file.weights if name.startswith("backbone.")]
        theirs = {name.removeprefix("backbone."): file.weights[name] for name in names}
        plain, experts = vit_weights(theirs, file.dataset_index)
        not_taken = {f"backbone.{name}": "of other data sets" for name in experts}
        if plain.pop("cls_token", None) is not None:
            not_taken["backbone.cls_token"] = "ViTPose does not use it"
        head, others = _head(file)
        not_taken |= dict.fromkeys(others, "of other data sets")
        is_classic = any(name.startswith(cls.classic[0][0]) for name in head)
        timm_name, model = _architecture(plain, file)
        table = _table(plain, file)
        settings = {
            "backbone.name": timm_name,
            "backbone.table": list(table),
            "backbone.options.num_heads": _attention_heads(plain, file),
            "+backbone.options.patch_size": plain["patch_embed.proj.weight"].shape[-1],  # timm has no huge one with 16
            "neck.level": -1,
        }
        parts = [
            top_down(*table),
            Part({"backbone": "vit_b", "neck": "identity"}, settings, Renamed([("vit.", "backbone.network.")])),
            Part(
                {"head": "vitpose_classic" if is_classic else "vitpose_simple"},
                weights=Renamed(cls.classic if is_classic else [cls.simple]),
            ),
        ]
        index = file.dataset_index
        translated = replace(
            file,
            weights={**{f"vit.{name}": each for name, each in plain.items()}, **head},
            keypoints=file.keypoints or (KEYPOINTS.get(index) if index is not None else None),
        )
        return imported(translated, model, parts, len(head[f"{cls.simple[0]}weight"]), LICENSE, not_taken)


@LAYOUTS.register("vitpose_transformers")
class TransformersVitpose(_Vitpose):
    """The safetensors that transformers' VitPoseForPoseEstimation writes."""

    title = "transformers' ViTPose and ViTPose+ (model.safetensors)"
    marks: ClassVar = ("backbone.embeddings.patch_embeddings.projection.weight", "head.conv.weight")
    classic = (
        ("head.deconv1.", "head.heatmap_layers.0."),
        ("head.batchnorm1.", "head.heatmap_layers.1."),
        ("head.deconv2.", "head.heatmap_layers.3."),
        ("head.batchnorm2.", "head.heatmap_layers.4."),
        ("head.conv.", "head.heatmap_layers.6."),
    )
    simple = ("head.conv.", "head.heatmap_layers.2.")


@LAYOUTS.register("vitpose")
class OriginalVitpose(_Vitpose):
    """The .pth files of ViTPose's repository, whole ones of several data sets too."""

    title = "ViTPose's own .pth"
    marks: ClassVar = ("backbone.patch_embed.proj.weight", "head.final_layer.weight")
    classic = (("head.deconv_layers.", "head.heatmap_layers."), ("head.final_layer.", "head.heatmap_layers.6."))
    simple = ("head.final_layer.", "head.heatmap_layers.2.")


def _head(file: PublishedFile) -> tuple[dict[str, Tensor], list[str]]:
    """The head of the chosen data set, named as the only one, and the names of the others.

    Raises DataError for a data set without a head.
    """
    names = {name for name in file.weights if not name.startswith("backbone.")}
    prefix = f"associate_keypoint_heads.{file.dataset_index - 1}." if file.dataset_index else "head."
    chosen = {name for name in names if name.startswith(prefix)}
    if not chosen:
        start = f"model=vitpose_s backbone.checkpoint_path={file.path} backbone.dataset_index={file.dataset_index}"
        raise DataError(
            f"{file.path}: it has experts of {DATASETS[file.dataset_index or 0]}, but a head of {DATASETS[COCO]} alone, as "
            "transformers keeps it. Import the .pth of ViTPose's repository, which has all heads; or start a training from "
            f"these experts: python train.py {start}."
        )
    return {f"head.{name.removeprefix(prefix)}": file.weights[name] for name in chosen}, sorted(names - chosen)


def _architecture(plain: Mapping[str, Tensor], file: PublishedFile) -> tuple[str, str]:
    """timm's name and the nearest named model."""
    width = plain["patch_embed.proj.weight"].shape[0]
    depth = 1 + max(int(name.split(".")[1]) for name in plain if name.startswith("blocks."))
    if (width, depth) not in NAMES:
        known = ", ".join(f"{w} wide and {d} deep" for w, d in NAMES)
        raise DataError(f"{file.path}: a transformer {width} wide and {depth} deep. ViTPose's are {known}.")
    return NAMES[width, depth]


def _attention_heads(plain: Mapping[str, Tensor], file: PublishedFile) -> int:
    """Of the config.json beside the file, or ViTPose's for this width."""
    described, usual = file.path.with_name("config.json"), HEADS[plain["patch_embed.proj.weight"].shape[0]]
    if not described.is_file():
        return usual
    config = Fields(read_json(described, max_bytes=MAX_CONFIG), str(described))
    if not config.has("backbone_config"):
        raise config.refuse("backbone_config", "the config.json of a ViTPose of transformers")
    return config.mapping("backbone_config").whole("num_attention_heads", minimum=1, maximum=MAX_HEADS, default=usual)


def _table(plain: Mapping[str, Tensor], file: PublishedFile) -> tuple[int, int]:
    length = plain["pos_embed"].shape[1]
    if length not in TABLES:
        known = ", ".join(f"{each[0]}x{each[1]}" for each in TABLES.values())
        raise DataError(f"{file.path}: {length} positions, which are of an input that is none of {known}.")
    return TABLES[length]
