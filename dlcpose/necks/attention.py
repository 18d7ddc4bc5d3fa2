"""TransPose's transformer encoder over the cells of a map, as a neck (Yang et al. 2021)."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.codecs.attention import attention_weights, rows_at
from dlcpose.codecs.pos_embed import sine_pos_embed
from dlcpose.necks.base import Neck


class AttentionEncoder(Neck):
    """Self-attention between the cells of the map of a level, the deepest by default.

    width: channels of the encoder and the output, which a 1x1 convolution reduces the map to. layers, heads,
    feed_forward, dropout: of the encoder.
    Time and memory grow with the square of the number of cells. Raises ValueError where heads do not divide the width.
    Source: Yang et al. 2021 (TransPose), section 3.1.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        level: int = -1,
        width: int = 256,
        layers: int = 4,
        heads: int = 8,
        feed_forward: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        if layers < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"expected 1 or more layers and heads that divide the width, got {layers}, {heads}, {width}"
            )
        super().__init__(strides, level, width)
        self.reduce = nn.Conv2d(in_channels[self.level], width, 1, bias=False)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feed_forward, dropout) for _ in range(layers))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, width, h, w) at the stride of the chosen level."""
        tokens, positions, size = self._tokens(features)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        merged: Tensor = tokens.transpose(-1, -2).reshape(tokens.shape[0], -1, *size)
        return merged

    def attention_maps(self, features: Sequence[Tensor], points_in_crop: Tensor, layer: int) -> Tensor:
        """Attention weights of the cells at the keypoints in a layer: features, (B, K, 2) pixels -> (B, K, h, w), sum 1."""
        tokens, positions, size = self._tokens(features)
        layers = list(self.layers)
        for before in layers[: layers.index(layers[layer])]:
            tokens = before(tokens, positions)
        chosen = cast(EncoderLayer, layers[layer])
        return rows_at(chosen.attention(tokens, positions), cells_from_pixels(points_in_crop, self.stride), size)

    def _tokens(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Tokens (B, h·w, width), positions (h·w, width), and (h, w)."""
        reduced = self.reduce(features[self.level])  # (B, width, h, w)
        size = reduced.shape[-2], reduced.shape[-1]
        # In the weights' dtype: in half precision, positions of neighboring cells would be equal.
        positions = sine_pos_embed(size, reduced.shape[1], device=reduced.device).to(self.reduce.weight.dtype)
        return reduced.flatten(2).transpose(-1, -2), positions.flatten(end_dim=1), size


class EncoderLayer(nn.Module):
    """A post-norm transformer encoder layer; positions are added to queries and keys, never to values."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, feed_forward), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.drop = nn.Dropout(dropout)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, T, width), (T, width) -> (B, T, width)."""
        placed = tokens + positions
        attended, _ = self.attend(placed, placed, tokens, need_weights=False)
        tokens = self.first_norm(tokens + self.drop(attended))
        encoded: Tensor = self.second_norm(tokens + self.drop(self.feed(tokens)))
        return encoded

    def attention(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Attention weights between all tokens, averaged over the heads: (B, T, T)."""
        count = 2 * tokens.shape[-1]  # rows of queries and keys, which come before those of values
        weight, bias = self.attend.in_proj_weight[:count], self.attend.in_proj_bias[:count]
        return attention_weights(nn.functional.linear(tokens + positions, weight, bias), self.attend.num_heads)
