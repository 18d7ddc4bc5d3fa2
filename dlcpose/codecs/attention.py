"""Attention weights for display; the networks themselves never compute this matrix."""

import math

from torch import Tensor


def attention_weights(queries_and_keys: Tensor, heads: int) -> Tensor:
    """Attention weights averaged over the heads: (B, T, 2 · width) -> (B, T, T), rows sum to 1.

    queries_and_keys: concatenated, as a joint linear layer returns them, the heads concatenated within each.
    """
    batch, count, _ = queries_and_keys.shape
    split = queries_and_keys.float().reshape(batch, count, 2, heads, -1)
    queries, keys = split.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
    weights: Tensor = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(dim=-1)
    return weights.mean(dim=1)


def rows_at(weights: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention weights of the tokens at some cells of a map: (B, h·w, h·w) and (B, K, 2) cells as x, y -> (B, K, h, w).

    Places between cells are rounded, those outside the map are moved to its edge; NaN gives NaN.
    """
    missing = cells.isnan().any(dim=-1)  # (B, K)
    x, y = cells.nan_to_num(0.0).round().long().unbind(dim=-1)
    places = y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)
    rows = weights.gather(1, places[..., None].expand(-1, -1, weights.shape[-1]))  # (B, K, h·w)
    return rows.masked_fill(missing[..., None], math.nan).reshape(*cells.shape[:2], *size)
