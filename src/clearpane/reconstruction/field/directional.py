"""How the radiance field knows directions: panoramas of features (NDE), spherical harmonics, or not at all.

A glossy surface shows what lies in the mirror direction, r = 2 (n.v) n - v: so that is what is encoded, about
a normal that gets no gradient from it.

Source: LIRM (arXiv 2504.20026), section 3.2, after L. Wu et al., Neural directional encoding, 2024.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Encoding = Literal["panoramas", "harmonics", "none"]
HARMONICS = 16
# The cosine to the viewer that a normal has at least: one along a ray's mean may point away from it.
_LEAST_FACING = 0.05


def mirror_directions(view: Tensor, normal: Tensor) -> Tensor:
    """Compute r = 2 (n.v) n - v: [P, 3], of length 1; the normal is detached.

    Args:
        view: towards the viewer, [P, 3], of length 1.
        normal: [P, 3], of any length above 0.
    """
    unit = F.normalize(normal.detach(), dim=-1)
    return 2 * (unit * view).sum(-1, keepdim=True) * unit - view


def sample_panoramas(panoramas: Tensor, number: Tensor, directions: Tensor) -> Tensor:
    """Features from panoramas: trilinear in the number, the azimuth (around) and the height.

    A panorama's columns are ``u = atan2(d_x, -d_z) / 2 pi`` (modulo 1), its rows ``(1 - d_y) / 2``: equal
    steps in height are equal areas of the sphere.

    Args:
        panoramas: [K, C, H, W].
        number: which, [P, 1] in [0, 1] from the first to the last.
        directions: [P, 3], of length 1.

    Returns:
        [P, C].
    """
    width = panoramas.shape[-1]
    wrapped = torch.cat([panoramas[..., -1:], panoramas, panoramas[..., :1]], dim=-1)
    azimuth = torch.atan2(directions[:, :1], -directions[:, 2:]) / math.pi  # [-1, 1]
    column = (azimuth.remainder(2.0) - 1) * width / (width + 2)
    place = torch.cat([column, -directions[:, 1:2], 2 * number - 1], dim=-1)
    depth = panoramas.shape[0]
    # Rows and columns are texels with area, panoramas are points: the ends of [0, 1] are their very own.
    scaled = torch.cat([place[:, :2], place[:, 2:] * (depth - 1) / depth], dim=-1)
    volume = wrapped.transpose(0, 1)[None]
    sampled = F.grid_sample(volume, scaled[None, None, None], padding_mode="border", align_corners=False)
    return sampled[0, :, 0, 0].T


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Evaluate the real spherical harmonics of degree 0 to 3 at unit directions: [P, 3] -> [P, 16].

    Orthonormal over the sphere; without the Condon-Shortley phase.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    pi = math.pi
    return torch.stack(
        [
            torch.full_like(x, math.sqrt(1 / (4 * pi))),
            math.sqrt(3 / (4 * pi)) * y,
            math.sqrt(3 / (4 * pi)) * z,
            math.sqrt(3 / (4 * pi)) * x,
            math.sqrt(15 / (4 * pi)) * x * y,
            math.sqrt(15 / (4 * pi)) * y * z,
            math.sqrt(5 / (16 * pi)) * (3 * zz - 1),
            math.sqrt(15 / (4 * pi)) * x * z,
            math.sqrt(15 / (16 * pi)) * (xx - yy),
            math.sqrt(35 / (32 * pi)) * y * (3 * xx - yy),
            math.sqrt(105 / (4 * pi)) * x * y * z,
            math.sqrt(21 / (32 * pi)) * y * (5 * zz - 1),
            math.sqrt(7 / (16 * pi)) * z * (5 * zz - 3),
            math.sqrt(21 / (32 * pi)) * x * (5 * zz - 1),
            math.sqrt(105 / (16 * pi)) * z * (xx - yy),
            math.sqrt(35 / (32 * pi)) * x * (xx - 3 * yy),
        ],
        dim=-1,
    )


def facing(normal: Tensor, view: Tensor) -> Tensor:
    """Normalise normals [N, 3] and turn those that point away from the viewer until they just do not."""
    unit = F.normalize(normal, dim=-1)
    cosine = (unit * view).sum(-1, keepdim=True)
    return F.normalize(unit + (_LEAST_FACING - cosine).clamp(min=0) * view, dim=-1)
