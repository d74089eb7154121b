"""Process views round by round with a memory that does not grow.

Source: LIRM (arXiv 2504.20026), section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clearpane.reconstruction.field.evidence import Evidence


@dataclass(frozen=True, eq=False)
class Memory:
    """Hold what is kept of all views so far.

    Attributes:
        tokens: Tokens of planes and panoramas after the last round [B, N, width].
        evidence: Evidence of each object; empty without evidence.
        features: Sums of the views' features for each object [2 + 2 C, S, S, S]; empty without evidence.
    """

    tokens: Tensor
    evidence: tuple[Evidence, ...] = ()
    features: tuple[Tensor, ...] = ()


class Fuse(nn.Module):
    """Compute the initial tokens of a round: ``P = PE + MLP(concat(T, PE))``; T, the last tokens, start as 0.

    Args:
        width: Width of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, previous: Tensor | None, positions: Tensor, batch: int) -> Tensor:
        """Fuse the previous tokens with the positions [N, width]: [B, N, width]."""
        positions = positions.expand(batch, -1, -1)
        remembered = torch.zeros_like(positions) if previous is None else previous
        fused: Tensor = positions + self.layers(torch.cat([remembered, positions], dim=-1))
        return fused
