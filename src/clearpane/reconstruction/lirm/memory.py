"""More views, round by round: what is remembered does not grow with them.

Source: LIRM (arXiv 2504.20026), section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clearpane.reconstruction.field.evidence import Evidence


@dataclass(frozen=True, eq=False)
class Memory:
    """What is kept of all views so far.

    Attributes:
        tokens: the last round's, of planes and panoramas, [B, N, width].
        evidence: one for each object, or nothing.
        features: sums of the views' features for each object, [2 + 2 C, S, S, S], or nothing.
    """

    tokens: Tensor
    evidence: tuple[Evidence, ...] = ()
    features: tuple[Tensor, ...] = ()


class Fuse(nn.Module):
    """Where a round begins: ``P = PE + MLP(concat(T, PE))`` of the last round's tokens T, 0 before the first.

    Args:
        width: of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, previous: Tensor | None, positions: Tensor, batch: int) -> Tensor:
        """[B, N, width], of positions [N, width]."""
        positions = positions.expand(batch, -1, -1)
        remembered = torch.zeros_like(positions) if previous is None else previous
        fused: Tensor = positions + self.layers(torch.cat([remembered, positions], dim=-1))
        return fused
