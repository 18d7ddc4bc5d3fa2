"""Gated attention unit: attention and a gated feed-forward layer in one (Hua et al. 2022)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_NORM = 1e-5  # root mean square that is divided by


class ScaleNorm(nn.Module):
    """Vectors normalized to one learned root mean square (Nguyen and Salazar 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) -> the same."""
        size = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True) / math.sqrt(tokens.shape[-1])
        normed: Tensor = tokens / size.clamp(min=MIN_NORM) * self.scale
        return normed


class GatedAttentionUnit(nn.Module):
    """Self-attention of tokens, gated, plus the input scaled by a learned factor; without positions.

    width: of a token. expansion: of values and gates over tokens. attended: channels of queries and keys.
    Source: Hua et al. 2022 (FLASH), section 3, without its position bias, as in RTMPose.
    """

    def __init__(self, width: int, *, expansion: int = 2, attended: int = 128) -> None:
        super().__init__()
        self.sizes = [expansion * width, expansion * width, attended]
        self.norm = ScaleNorm()
        self.spread = nn.Linear(width, sum(self.sizes), bias=False)
        self.factors = nn.Parameter(torch.rand(2, attended))  # of queries and keys
        self.shifts = nn.Parameter(torch.rand(2, attended))
        self.gather = nn.Linear(expansion * width, width, bias=False)
        self.share = nn.Parameter(torch.ones(width))
        nn.init.xavier_uniform_(self.spread.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, K, width) -> the same."""
        gates, values, base = torch.split(functional.silu(self.spread(self.norm(tokens))), self.sizes, dim=-1)
        queries, keys = (base[..., None, :] * self.factors + self.shifts).unbind(dim=-2)  # (B, K, attended) each
        similarity = queries @ keys.transpose(-1, -2) / math.sqrt(self.sizes[-1])  # (B, K, K)
        update: Tensor = self.gather(gates * (similarity.relu().square() @ values))
        return self.share * tokens + update
