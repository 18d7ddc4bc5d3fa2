"""Cells of a map that attend to each other: the transformer encoder of TransPose (Yang et al. 2021) as a neck."""

from collections.abc import Sequence

from torch import Tensor, nn

from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.codecs.attention import attention_weights, rows_at
from dlcpose.codecs.pos_embed import sine_pos_embed


class AttentionEncoder(nn.Module):
    """One of the backbone's maps, each of its cells completed by what it attends to in all the others.

    level: the map's place, finest first; −1 is the deepest. width: channels of the encoder and the output, to which a 1x1
    convolution brings the map. layers, heads, feed_forward, dropout: of the encoder.
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
        super().__init__()
        if layers < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"expected 1 or more layers and heads that divide the width, got {layers}, {heads}, {width}"
            )
        self.level, self.out_channels, self.stride = level, width, strides[level]
        self.reduce = nn.Conv2d(in_channels[level], width, 1, bias=False)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feed_forward, dropout) for _ in range(layers))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, width, h, w) at the stride of the chosen level."""
        tokens, positions, size = self._tokens(features)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        merged: Tensor = tokens.mT.reshape(tokens.shape[0], -1, *size)
        return merged

    def attention(self, features: Sequence[Tensor], points_in_crop: Tensor, layer: int) -> Tensor:
        """Where the cells at the keypoints look in a layer: features and (B, K, 2) pixels -> (B, K, h, w) shares."""
        tokens, positions, size = self._tokens(features)
        layers = list(self.layers)
        for before in layers[: layers.index(layers[layer])]:
            tokens = before(tokens, positions)
        chosen = layers[layer]
        assert isinstance(chosen, EncoderLayer)
        return rows_at(chosen.attention(tokens, positions), cells_from_pixels(points_in_crop, self.stride), size)

    def _tokens(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Tokens (B, h·w, width), positions (h·w, width), and (h, w)."""
        reduced = self.reduce(features[self.level])  # (B, width, h, w)
        size = reduced.shape[-2], reduced.shape[-1]
        # In the weights' type: where autocast makes features coarse, neighbouring places are to stay apart.
        positions = sine_pos_embed(size, reduced.shape[1], device=reduced.device).to(self.reduce.weight.dtype)
        return reduced.flatten(2).mT, positions.flatten(end_dim=1), size


class EncoderLayer(nn.Module):
    """Attention and a feed-forward part, each with the norm behind it; positions steer the attention, never the values."""

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
        found: Tensor = self.second_norm(tokens + self.drop(self.feed(tokens)))
        return found

    def attention(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """How much each token attends to each other one, the mean of the heads: (B, T, T)."""
        count = 2 * tokens.shape[-1]  # of queries, keys and values below each other the first two
        weight, bias = self.attend.in_proj_weight[:count], self.attend.in_proj_bias[:count]
        return attention_weights(nn.functional.linear(tokens + positions, weight, bias), self.attend.num_heads)
