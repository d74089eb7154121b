"""Sample a volume of features stored on six planes: three pairs, one plane of a pair for either side.

Each axis pair of a tri-plane, (x, y), (y, z) and (z, x), has two planes here; the sign of the third axis
selects one. So opposite faces of an object, which share a plane in a tri-plane, have one each.

Where the sign changes, the two planes are blended over a band, so that features, and with them the signed
distance, are continuous. LIRM puts the halves of a pair side by side on one plane of double length, whose
bilinear look-ups leak across the shared edge; six separate planes do not.

Source: LIRM (arXiv 2504.20026), section 3.1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE

PAIRS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
"""Axes of each pair of planes: the two it spans (columns, rows), and the one whose sign selects the plane."""

BAND = 0.02
"""Half the width of the band in which the planes are blended, as a fraction of R."""


def sample_hexaplane(planes: Tensor, points: Tensor) -> Tensor:
    """Sample features at points, bilinearly on each plane and blended within each pair; 0 outside the cube.

    ``f = w f_plus + (1 - w) f_minus`` with ``w = clip(1/2 + x_3 / (2 BAND R), 0, 1)``.

    Args:
        planes: Hexa-plane [6, C, N, N]; for pair k, plane 2 k is for x_3 >= 0 and plane 2 k + 1 for x_3 < 0.
        points: Points [P, 3] in ``[-R, R]^3``.

    Returns:
        Features [P, 3 C].
    """
    # Stack all planes, a row of zeros under each: one look-up samples all, one more the band.
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
    """Sample planes stacked in [C, 6 (N + 1), N] bilinearly, at positions in [-1, 1]: [P, C]."""
    height, side = tall.shape[1:]
    down = (row + 1) / 2 * side + half * (side + 1)
    place = torch.stack([column, 2 * down / height - 1], dim=-1)
    sampled = F.grid_sample(tall[None], place[None, None], align_corners=False)[0, :, 0].T
    return sampled * (row.abs() < 1 + 1 / side)[:, None]  # rows farther out belong to another plane
