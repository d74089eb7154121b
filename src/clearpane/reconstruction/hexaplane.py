"""A volume of features on six planes: three pairs, one half of each pair for either side of the volume.

Of a tri-plane's axis pairs, (x, y), (y, z) and (z, x), each has two planes here; the sign of the third axis
picks one. So opposite faces of an object, which a tri-plane's plane must share, have their own.

Where the sign changes, the two halves are mixed over a band: features, and with them the signed distance,
are continuous. LIRM puts the halves of a pair side by side on one plane of double length, whose bilinear
look-ups leak across the edge that they share; six separate planes do not.

Source: LIRM (arXiv 2504.20026), section 3.1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.cameras import HALF_SIZE

PAIRS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
"""Of each pair of planes: the two axes it spans (columns, rows), and the one whose sign picks the half."""

BAND = 0.02
"""Half the width of the band in which halves are mixed, in shares of R."""


def sample_hexaplane(planes: Tensor, points: Tensor) -> Tensor:
    """Features at points: of each pair the mixed halves, bilinear on each plane; 0 beyond the cube.

    ``f = w f_plus + (1 - w) f_minus`` with ``w = clip(1/2 + x_3 / (2 BAND R), 0, 1)``.

    Args:
        planes: [6, C, N, N]; of pair k, plane 2 k is for x_3 >= 0 and 2 k + 1 for x_3 < 0.
        points: [P, 3] in ``[-R, R]^3``.

    Returns:
        [P, 3 C].
    """
    side = planes.shape[-1]
    unit = points / HALF_SIZE
    features = []
    for pair, (column, row, third) in enumerate(PAIRS):
        # Both halves one below the other: each point looks up one of them, those in the band the other too.
        below = planes.new_zeros(planes.shape[1], 1, side)
        both = torch.cat([planes[2 * pair], below, planes[2 * pair + 1]], dim=1)
        minus = unit[:, third] < 0
        own = _half(both, unit[:, column], unit[:, row], minus)
        band = (unit[:, third].abs() < BAND).nonzero()[:, 0]
        other = _half(both, unit[band, column], unit[band, row], ~minus[band])
        weight = 0.5 + unit[band, third, None].abs() / (2 * BAND)
        features.append(own.index_copy(0, band, weight * own[band] + (1 - weight) * other))
    return torch.cat(features, dim=-1)


def _half(both: Tensor, column: Tensor, row: Tensor, minus: Tensor) -> Tensor:
    """Bilinear look-ups in the upper (plus) or lower half of [C, 2 N + 1, N], at places in [-1, 1]."""
    side = both.shape[-1]
    down = (row + 1) / 2 * side + minus * (side + 1)
    place = torch.stack([column, 2 * down / (2 * side + 1) - 1], dim=-1)
    sampled = F.grid_sample(both[None], place[None, None], align_corners=False)[0, :, 0].T
    return sampled * (row.abs() < 1 + 1 / side)[:, None]  # farther out lies the other half


def sample_triplane(planes: Tensor, points: Tensor) -> Tensor:
    """Features at points from three planes, for comparison: [3, C, N, N], [P, 3] -> [P, 3 C]."""
    return sample_hexaplane(planes.repeat_interleave(2, dim=0), points)
