"""TokenPose: a learned token per keypoint attends to patches of the features and becomes a heatmap (Li et al. 2021)."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dlcpose.codecs.attention import attention_weights
from dlcpose.codecs.pos_embed import sine_pos_embed
from dlcpose.heads.heatmap import HeatmapHeadBase
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import round_up
from dlcpose.structures.skeleton import Skeleton

BACKBONE_MULTIPLE = 32  # of input sides that most backbones need: a head does not know its backbone, but suggests sizes


class TokenPoseHead(HeatmapHeadBase):
    """A transformer over patches of the features and a learned token per keypoint; a linear layer makes its heatmap.

    It is built for one input size, since each cell of a heatmap is an output of that linear layer.
    patch: height and width of a patch, in cells of the features. width: of a token. layers: in each group. heads: of the
    attention. feed_forward: width within a layer. groups: of layers one after another; the heatmaps are made of the
    keypoints' tokens after each, concatenated (TokenPose-L has three). repeat_positions_from: the first group in which the
    patches' positions are added again before each layer but the first (TokenPose: 0, DeepLabCut's: 1). hidden: width of a
    layer between tokens and heatmaps, None for none. dropout: within the layers. map_stride: input pixels per cell of
    the heatmaps. The rest as in HeatmapHeadBase.
    Raises ConfigError where the images' sizes differ, or are no multiples of patches and cells.
    Source: Li et al. 2021 (TokenPose), section 3, with its positions "sine-full".
    """

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        canvas: tuple[int, int] | None,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        patch: Sequence[int] = (4, 4),
        width: int = 192,
        layers: int = 12,
        heads: int = 8,
        feed_forward: int = 576,
        groups: int = 1,
        repeat_positions_from: int = 0,
        hidden: int | None = 384,
        dropout: float = 0.0,
        map_stride: int = 4,
        sigma: float = 8.0,
        ignore_missing: bool = False,
    ) -> None:
        if layers < 1 or groups < 1 or map_stride < 1:
            raise ValueError(
                f"expected 1 or more layers, groups and map_stride, got {layers}, {groups} and {map_stride}"
            )
        if heads < 1 or width % heads:
            raise ValueError(f"expected a width that is a multiple of heads, got {width} and {heads}")
        checked = _checked(canvas, stride, patch, map_stride)
        network = TokenPoseNetwork(
            in_channels,
            len(skeleton),
            in_size=(checked[0] // stride, checked[1] // stride),
            out_size=(checked[0] // map_stride, checked[1] // map_stride),
            patch=(patch[0], patch[1]),
            width=width,
            blocks=[[_block(width, heads, feed_forward, dropout) for _ in range(layers)] for _ in range(groups)],
            repeat_positions_from=repeat_positions_from,
            hidden=hidden,
        )
        super().__init__(
            network, None, map_stride, heatmap_loss=heatmap_loss, sigma=sigma, ignore_missing=ignore_missing
        )

    def attention_maps(self, features: Tensor, points_in_crop: Tensor, layer: int) -> Tensor:
        """Attention weights of the keypoints' tokens in a layer: (B, C, h, w), (B, K, 2) -> (B, K, rows, columns) of patches.

        They sum to less than 1, since a token also attends to the other keypoints' tokens. The points are not used.
        """
        return cast(TokenPoseNetwork, self.heatmap_layers).attention(features, layer)


class TokenPoseNetwork(nn.Module):
    """The network of a TokenPoseHead: features (B, C, *in_size) to (B, K, *out_size), through blocks in groups."""

    def __init__(
        self,
        in_channels: int,
        keypoints: int,
        *,
        in_size: tuple[int, int],
        out_size: tuple[int, int],
        patch: tuple[int, int],
        width: int,
        blocks: Sequence[Sequence[Block]],
        repeat_positions_from: int,
        hidden: int | None,
    ) -> None:
        super().__init__()
        self.in_size, self.out_size = in_size, out_size
        self.keypoints, self.repeat_positions_from = keypoints, repeat_positions_from
        self.embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.tokens = nn.Parameter(torch.empty(1, keypoints, width))
        self.groups = nn.ModuleList(nn.ModuleList(group) for group in blocks)
        in_width, cells = len(blocks) * width, out_size[0] * out_size[1]
        between: list[nn.Module] = [] if hidden is None else [nn.Linear(in_width, hidden), nn.LayerNorm(hidden)]
        self.maps = nn.Sequential(
            nn.LayerNorm(in_width), *between, nn.Linear(in_width if hidden is None else hidden, cells)
        )
        nn.init.trunc_normal_(self.tokens, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """(B, K, *out_size) before the sigmoid. Raises ValueError for features of another size than it was built for."""
        if features.shape[-2:] != self.in_size:
            raise ValueError(
                f"expected features of {self.in_size[0]}x{self.in_size[1]} cells, which TokenPoseNetwork was built for, got "
                f"{features.shape[-2]}x{features.shape[-1]}"
            )
        patches = self.embed(features)  # (B, width, rows, columns)
        # In the weights' dtype: in half precision, positions of neighboring patches would be equal.
        positions = sine_pos_embed(patches.shape[-2:], patches.shape[1], device=patches.device).to(self.tokens.dtype)
        tokens = torch.cat((self.tokens.expand(patches.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)), dim=1)
        # The keypoints' tokens have no position: it is what is to be predicted.
        positions = nn.functional.pad(positions.flatten(end_dim=1), (0, 0, self.keypoints, 0))  # (K + patches, width)
        tokens = tokens + positions
        outputs = []
        for number, group in enumerate(self.groups):
            for index, block in enumerate(cast(nn.ModuleList, group)):
                repeats_positions = index > 0 and number >= self.repeat_positions_from
                tokens = block(tokens + positions if repeats_positions else tokens)
            outputs.append(tokens[:, : self.keypoints])
        maps: Tensor = self.maps(torch.cat(outputs, dim=-1))  # (B, K, cells)
        return maps.reshape(*maps.shape[:2], *self.out_size)

    def attention(self, features: Tensor, layer: int) -> Tensor:
        """The keypoints' attention to the patches in a layer, counted through all groups: (B, K, rows, columns)."""
        blocks: list[Any] = [block for group in self.groups for block in cast(nn.ModuleList, group)]
        attend = blocks[layer].attn
        with _recorded_inputs(attend) as inputs, torch.no_grad():
            self(features)
        queries_and_keys = attend.qkv(inputs[0])[..., : 2 * attend.attn_dim]  # (B, K + patches, 2 · width)
        weights = attention_weights(queries_and_keys, attend.num_heads)[:, : self.keypoints, self.keypoints :]
        rows = features.shape[-2] // self.embed.kernel_size[0]
        return weights.reshape(*weights.shape[:2], rows, -1)


@contextmanager
def _recorded_inputs(module: Any) -> Iterator[list[Tensor]]:
    """A list of the inputs that a module is called with inside the `with` block."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        handle.remove()


def _block(width: int, heads: int, feed_forward: int, dropout: float) -> Block:
    """A pre-norm transformer layer without a bias of queries, keys and values, as in TokenPose."""
    return Block(
        width,
        heads,
        mlp_ratio=(feed_forward + 0.5) / width,  # timm multiplies and rounds down
        proj_drop=dropout,
        norm_layer=nn.LayerNorm,
    )


def _checked(canvas: tuple[int, int] | None, stride: int, patch: Sequence[int], map_stride: int) -> tuple[int, int]:
    """The canvas. Raises ConfigError where there is none, or patches or cells do not divide it."""
    if len(patch) != 2 or min(patch) < 1:
        raise ConfigError(f"head.patch: expected a height and a width in cells, such as [4, 4], got {list(patch)}.")
    if canvas is None:
        raise ConfigError(
            "head: TokenPoseHead is built for one input size, but with this input each image keeps its own. "
            "Choose input=resize or input=letterbox, or another head."
        )
    multiples = [math.lcm(stride * cells, map_stride) for cells in patch]
    if any(side % multiple for side, multiple in zip(canvas, multiples, strict=True)):
        fit = [
            round_up(side, math.lcm(multiple, BACKBONE_MULTIPLE))
            for side, multiple in zip(canvas, multiples, strict=True)
        ]
        raise ConfigError(
            f"head.patch={list(patch)}: patches of features of stride {stride} need an input whose height is a multiple "
            f"of {multiples[0]} and whose width is one of {multiples[1]}, got {canvas[0]}x{canvas[1]}. "
            f"Take input=resize input.height={fit[0]} input.width={fit[1]}, or "
            f"patches that divide {canvas[0] // stride}x{canvas[1] // stride} cells."
        )
    return canvas
