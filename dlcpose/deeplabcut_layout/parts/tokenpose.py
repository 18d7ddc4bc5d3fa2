"""DeepLabCut's TokenPose: a neck of transformers and a head of one layer, which are one head here."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcpose.codecs.pos_embed import sine_pos_embed
from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed, Weights
from dlcpose.deeplabcut_layout.parts.heatmap_head import MAX_LAYERS, SIGMA_OF_RADIUS
from dlcpose.deeplabcut_layout.registries import HEADS, NECKS, HeadPlace
from dlcpose.structures.errors import CheckpointError, DataError

GROUPS = 3
NECK, NETWORK = "neck.", "head.heatmap_layers."
PATCHES, POSITIONS = "neck.patch_to_embedding.weight", "neck.pos_embedding"
IN_LAYER = (
    ("0.fn.norm.", "norm1."),
    ("0.fn.fn.to_qkv.", "attn.qkv."),
    ("0.fn.fn.to_out.0.", "attn.proj."),
    ("1.fn.norm.", "norm2."),
    ("1.fn.fn.net.0.", "mlp.fc1."),
    ("1.fn.fn.net.3.", "mlp.fc2."),
)


@NECKS.register("Transformer")
def transformer(node: Node, config: SnapshotConfig) -> Part:
    """The layers. Raises DataError for positions that are learned."""
    if (positions := node.text("pos_embedding_type", "sine-full")) != "sine-full":
        raise DataError(f"{node.where}.pos_embedding_type: dlcpose imports 'sine-full', got {positions!r}.")
    patch, features = node.integers("patch_size", least=2), node.integers("feature_size", least=2)
    layers = node.integer("depth")
    if min(patch) < 1 or layers > MAX_LAYERS:
        raise DataError(
            f"{node.where}: expected patches of 1 px or more and at most {MAX_LAYERS} layers, got {patch} and {layers}."
        )
    width = node.integer("dim")
    settings = {
        "patch": patch,
        "width": width,
        "layers": layers,
        "heads": node.integer("heads"),
        "feed_forward": node.integer("mlp_dim", 3),
    }
    grid = (features[0] // patch[0], features[1] // patch[1])
    return Part(
        settings={f"head.{name}": value for name, value in settings.items()},
        weights=TransformerWeights(patch, grid, width, layers),
    )


@HEADS.register("TransformerHead")
def transformer_head(node: Node, config: SnapshotConfig, place: HeadPlace) -> Part:
    """What makes heatmaps of the tokens, and the decoder. Raises DataError for maps of another size than the features."""
    predictor, targets, neck = node.node("predictor"), node.node("target_generator"), config.model.node("neck")
    size, features = node.integers("heatmap_size", least=2), neck.integers("feature_size")
    if size != features or node.number("head_stride") != 1:
        raise DataError(
            f"{node.where}: expected heatmaps of the features' size, {features}, and head_stride 1, got {size} and "
            f"{node.number('head_stride')}."
        )
    if not predictor.flag("apply_sigmoid", True) or predictor.flag("location_refinement", True):
        raise DataError(f"{predictor.where}: expected apply_sigmoid true and location_refinement false.")
    crop = config.inference.node("top_down_crop")
    tokens, hidden = GROUPS * neck.integer("dim"), node.integer("hidden_heatmap_dim")
    # DeepLabCut leaves the hidden layer out where it is not twice as wide as the tokens, whatever is set.
    has_hidden = node.flag("apply_multi") and tokens <= hidden / 2
    settings = {
        "hidden": hidden if has_hidden else None,
        "map_stride": crop.integer("height", 256) // size[0],
        "sigma": targets.number("pos_dist_thresh", 17) * SIGMA_OF_RADIUS,
        "ignore_missing": targets.flag("gradient_masking", False),
    }
    return Part(
        choices={"head": "deeplabcut_tokenpose"},
        settings={f"{place.key}.{name}": value for name, value in settings.items()},
        weights=Renamed([(f"{place.theirs}mlp_head.", f"{NETWORK}maps.")]),
    )


@dataclass(frozen=True)
class TransformerWeights:
    """Weights of the neck: patches are read by a linear layer there and by a convolution here; positions are not stored here.

    patch: height and width in cells. grid: rows and columns of patches. width: of a token. layers: in each group.
    """

    patch: Sequence[int]
    grid: tuple[int, int]
    width: int
    layers: int

    def to_ours(self, theirs: Weights) -> dict[str, Tensor]:
        """Raises CheckpointError where the positions are not those that are computed here."""
        ours = self._renamed.to_ours(
            {name: value for name, value in theirs.items() if name not in (PATCHES, POSITIONS)}
        )
        if (patches := theirs.get(PATCHES)) is not None:
            ours[f"{NETWORK}embed.weight"] = (
                patches.reshape(len(patches), *self.patch, -1).permute(0, 3, 1, 2).contiguous()
            )
        positions = theirs.get(POSITIONS)
        if positions is not None and not torch.allclose(positions, self._positions(), atol=1e-4):
            raise CheckpointError(f"{POSITIONS}: expected the sine positions of {self.grid} patches; these are others.")
        return ours

    def to_theirs(self, ours: Weights) -> dict[str, Tensor]:
        """The inverse."""
        embed = f"{NETWORK}embed.weight"
        theirs = self._renamed.to_theirs({name: value for name, value in ours.items() if name != embed})
        return theirs | {
            PATCHES: ours[embed].permute(0, 2, 3, 1).flatten(start_dim=1).contiguous(),
            POSITIONS: self._positions(),
        }

    def is_theirs(self, name: str) -> bool:
        """Whether a weight is of the neck."""
        return name in (PATCHES, POSITIONS) or self._renamed.is_theirs(name)

    def _positions(self) -> Tensor:
        return sine_pos_embed(self.grid, self.width).flatten(end_dim=1)[None]  # (1, patches, width)

    @property
    def _renamed(self) -> Renamed:
        layers = [
            (f"{NECK}transformer{group + 1}.layers.{layer}.{their}", f"{NETWORK}groups.{group}.{layer}.{our}")
            for group in range(GROUPS)
            for layer in range(self.layers)
            for their, our in IN_LAYER
        ]
        return Renamed(
            [(f"{NECK}keypoint_token", f"{NETWORK}tokens"), (f"{NECK}patch_to_embedding.", f"{NETWORK}embed."), *layers]
        )
