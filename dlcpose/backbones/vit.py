"""A plain vision transformer whose patch tokens form one coarse feature map, as in ViTPose (Xu et al. 2022)."""

from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.backbones.base import Backbone
from dlcpose.backbones.timm_backbone import create_network
from dlcpose.backbones.vit_weights import vit_weights
from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.codecs.attention import attention_weights, rows_at
from dlcpose.structures.errors import ConfigError


class VitBackbone(Backbone):
    """timm's vision transformer without class token and classifier: one map at the stride of its patches.

    name: timm's. table: height and width of the images that the learned position embedding is made for; it is interpolated
    for others. padding: pixels around the image before it is cut into patches; with the paper's 2, patches begin 2 pixels
    earlier. drop_path: rate of stochastic depth at the last layer, rising linearly from 0.
    options: further arguments of timm.create_model.
    pretrained, checkpoint_path: weights of the whole transformer, of ViTPose's encoder too, also as transformers names them;
    a position embedding for another size is interpolated, surplus weights are left out. dataset_index: which experts of
    ViTPose+ are taken from that file, see `vit_weights.DATASETS`.
    Raises ConfigError where timm's network is no plain vision transformer, CheckpointError where weights are unavailable.
    Source: Xu et al. 2022 (ViTPose), section 3.1.
    """

    network: "PlainVit"

    def __init__(
        self,
        name: str,
        *,
        table: Sequence[int] = (256, 192),
        padding: int = 2,
        drop_path: float = 0.0,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        dataset_index: int | None = None,
        finest_stride: int = 4,
        frozen: bool = False,
        frozen_statistics: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {"img_size": tuple(table), "num_classes": 0, "drop_path_rate": drop_path, **(options or {})}
        whole = create_network(name, pretrained, settings)
        if not _is_plain(whole):
            raise ConfigError(
                f"backbone.name: {name!r} is no plain vision transformer. Take one such as vit_small_patch16_224, or "
                f"backbone=timm backbone.name={name}."
            )
        if not 0 <= 2 * padding < whole.patch_embed.patch_size[0]:
            raise ConfigError(f"backbone.padding: expected 0 or more and less than half a patch, got {padding}.")
        network = PlainVit(whole, padding)
        self.dataset_index = dataset_index
        super().__init__(
            network,
            [network.width],
            [network.stride],
            name=name,
            size_divisor=network.stride,
            checkpoint_path=checkpoint_path,
            finest_stride=finest_stride,
            frozen=frozen,
            frozen_statistics=frozen_statistics,
        )

    def adapted_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights under timm's names, of one data set's experts, the position embedding interpolated to this size."""
        state, _ = vit_weights(state, self.dataset_index)
        table = state.get("pos_embed")
        if table is not None and table.shape[1:2] != self.network.pos_embed.shape[1:2]:
            # An embedding of another length is for square images, with the class token's row first: MAE's and timm's.
            state["pos_embed"] = resample_abs_pos_embed(table, list(self.network.grid))
        return state

    def attention_maps(self, images: Tensor, points_in_crop: Tensor, layer: int) -> Tensor:
        """Attention weights of the patches at the keypoints in a layer: (B, 3, H, W), (B, K, 2) -> (B, K, h, w), sum 1."""
        tokens, size = self.network.tokens(images)
        blocks: list[Any] = list(self.network.blocks)
        for block in blocks[: blocks.index(blocks[layer])]:
            tokens = block(tokens)
        attend = blocks[layer].attn
        queries_and_keys = attend.qkv(blocks[layer].norm1(tokens))[..., : 2 * attend.attn_dim]  # (B, h·w, 2 · width)
        weights = attention_weights(queries_and_keys, attend.num_heads)
        cells = cells_from_pixels(points_in_crop + self.network.padding, self.network.stride)
        return rows_at(weights, cells, size)


def _is_plain(whole: Any) -> bool:
    """Whether positions are learned, with a row for the class token, and nothing else precedes the layers."""
    if not isinstance(whole, VisionTransformer) or whole.pos_embed is None:
        return False
    has_row_for_class = whole.pos_embed.shape[1] == whole.patch_embed.num_patches + 1
    return has_row_for_class and whole.num_prefix_tokens == 1 and isinstance(whole.norm_pre, nn.Identity)


class PlainVit(nn.Module):
    """The parts of a timm vision transformer that turn images into a map of patches."""

    def __init__(self, whole: Any, padding: int) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.norm = whole.patch_embed, whole.blocks, whole.norm
        self.pos_embed = whole.pos_embed  # (1, 1 + rows · columns, width), the class token's row first
        self.grid: tuple[int, int] = whole.patch_embed.grid_size
        self.width: int = whole.embed_dim
        self.stride: int = whole.patch_embed.patch_size[0]
        self.padding = padding
        self.patch_embed.proj.padding = (padding, padding)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[(B, width, H/s, W/s)] of images (B, 3, H, W)."""
        tokens, size = self.tokens(images)
        return [_as_map(self.norm(self.blocks(tokens)), size)]

    def tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The first layer's input, (B, h·w, width), and (h, w)."""
        patches = self.patch_embed.proj(images)  # (B, width, h, w)
        size = patches.shape[-2], patches.shape[-1]
        # ViTPose has no class token, but adds the class token's position to all others.
        positions = self._positions(size) + self.pos_embed[:, :1]
        return patches.flatten(2).transpose(-1, -2) + positions, size

    def _positions(self, size: tuple[int, int]) -> Tensor:
        """The position embedding for a map of this size: (1, h·w, width)."""
        learned: Tensor = self.pos_embed[:, 1:]
        if size == self.grid:
            return learned
        as_map = _as_map(learned, self.grid).float()  # (1, width, rows, columns)
        resized = functional.interpolate(as_map, size=size, mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(-1, -2).to(learned.dtype)


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h·w, C) -> (B, C, h, w)."""
    return tokens.transpose(-1, -2).reshape(tokens.shape[0], -1, *size)
