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
    channels, side = planes.shape[1], planes.shape[-1]
    unit = points / HALF_SIZE
    pairs = planes.reshape(3, 2 * channels, side, side)
    place = torch.stack([unit[:, [column, row]] for column, row, _ in PAIRS])[:, None]
    both = F.grid_sample(pairs, place, mode="bilinear", align_corners=False)[:, :, 0].transpose(1, 2)
    third = unit[:, [axis for _, _, axis in PAIRS]].T[..., None]
    weight = (0.5 + third / (2 * BAND)).clamp(0, 1)
    plus, minus = both.split(channels, dim=-1)
    mixed = weight * plus + (1 - weight) * minus
    return mixed.transpose(0, 1).flatten(1)


def sample_triplane(planes: Tensor, points: Tensor) -> Tensor:
    """Features at points from three planes, for comparison: [3, C, N, N], [P, 3] -> [P, 3 C]."""
    return sample_hexaplane(planes.repeat_interleave(2, dim=0), points)
