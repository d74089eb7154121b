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

from clearpane.geometry.cameras import HALF_SIZE

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
    # All halves one below the other, a row of zeros under each: one look-up for all, one more for the band.
    tall = F.pad(planes.transpose(0, 1), (0, 0, 0, 1)).flatten(1, 2)
    unit = (points / HALF_SIZE).T
    column, row, third = (unit[list(axes)].flatten() for axes in zip(*PAIRS, strict=True))
    pair = torch.arange(len(PAIRS), device=points.device).repeat_interleave(len(points))
    half = 2 * pair + (third < 0)
    own = _look_up(tall, column, row, half)
    band = (third.abs() < BAND).nonzero()[:, 0]
    other = _look_up(tall, column[band], row[band], half[band] ^ 1)
    weight = 0.5 + third[band, None].abs() / (2 * BAND)
    mixed = own.index_copy(0, band, weight * own[band] + (1 - weight) * other)
    return mixed.reshape(len(PAIRS), len(points), planes.shape[1]).transpose(0, 1).flatten(1)


def _look_up(tall: Tensor, column: Tensor, row: Tensor, half: Tensor) -> Tensor:
    """Bilinear look-ups in halves of [C, 6 (N + 1), N], at places in [-1, 1]: [P, C]."""
    height, side = tall.shape[1:]
    down = (row + 1) / 2 * side + half * (side + 1)
    place = torch.stack([column, 2 * down / height - 1], dim=-1)
    sampled = F.grid_sample(tall[None], place[None, None], align_corners=False)[0, :, 0].T
    return sampled * (row.abs() < 1 + 1 / side)[:, None]  # farther out lies another half


def sample_triplane(planes: Tensor, points: Tensor) -> Tensor:
    """Features at points from three planes, for comparison: [3, C, N, N], [P, 3] -> [P, 3 C]."""
    return sample_hexaplane(planes.repeat_interleave(2, dim=0), points)
