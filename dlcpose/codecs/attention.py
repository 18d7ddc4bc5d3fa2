"""How much a token attends to each other one, for looking at; the networks themselves never make this matrix."""

import math

from torch import Tensor


def attention_weights(queries_and_keys: Tensor, heads: int) -> Tensor:
    """Each token's shares in all of them, the mean of the heads: (B, T, 2 · width) -> (B, T, T), rows sum to 1.

    queries_and_keys: side by side, as a joint linear layer gives them, the heads side by side within each.
    """
    batch, count, _ = queries_and_keys.shape
    apart = queries_and_keys.float().reshape(batch, count, 2, heads, -1)
    queries, keys = apart.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
    shares: Tensor = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(dim=-1)
    return shares.mean(dim=1)


def rows_at(weights: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """What the tokens of some cells of a map attend to: (B, h·w, h·w) and (B, K, 2) cells as x, y -> (B, K, h, w).

    Cells between two are rounded, those outside the map are brought to its edge; NaN gives NaN.
    """
    lost = cells.isnan().any(dim=-1)  # (B, K)
    x, y = cells.nan_to_num(0.0).round().long().unbind(dim=-1)
    places = y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)
    rows = weights.gather(1, places[..., None].expand(-1, -1, weights.shape[-1]))  # (B, K, h·w)
    return rows.masked_fill(lost[..., None], math.nan).reshape(*cells.shape[:2], *size)
