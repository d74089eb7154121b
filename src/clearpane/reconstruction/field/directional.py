"""Encode view directions for the radiance field: by panoramas of features (NDE) or spherical harmonics.

A glossy surface shows what lies in the mirror direction, r = 2 (n.v) n - v. So that direction is encoded,
about a normal that receives no gradient from it.

Source: LIRM (arXiv 2504.20026), section 3.2, after L. Wu et al., Neural directional encoding, 2024.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Encoding = Literal["panoramas", "harmonics", "none"]
HARMONICS = 16
# Smallest cosine between normal and view: the mean normal along a ray may point away from the viewer.
_LEAST_FACING = 0.05


def mirror_directions(view: Tensor, normal: Tensor) -> Tensor:
    """Compute the mirror directions r = 2 (n.v) n - v: [P, 3], of length 1; the normal is detached.

    Args:
        view: Unit directions towards the viewer [P, 3].
        normal: Normals [P, 3] of any length above 0.
    """
    unit = F.normalize(normal.detach(), dim=-1)
    return 2 * (unit * view).sum(-1, keepdim=True) * unit - view


def sample_panoramas(panoramas: Tensor, number: Tensor, directions: Tensor) -> Tensor:
    """Sample panoramas of features, trilinearly in the panorama's number, the azimuth and the height.

    A panorama's columns are ``u = atan2(d_x, -d_z) / 2 pi`` (modulo 1), its rows ``(1 - d_y) / 2``: equal
    steps in height are equal areas of the sphere.

    Args:
        panoramas: Panoramas [K, C, H, W].
        number: Position among the panoramas [P, 1], in [0, 1] from the first to the last.
        directions: Unit directions [P, 3].

    Returns:
        Features [P, C].
    """
    width = panoramas.shape[-1]
    wrapped = torch.cat([panoramas[..., -1:], panoramas, panoramas[..., :1]], dim=-1)
    azimuth = torch.atan2(directions[:, :1], -directions[:, 2:]) / math.pi  # [-1, 1]
    column = (azimuth.remainder(2.0) - 1) * width / (width + 2)
    place = torch.cat([column, -directions[:, 1:2], 2 * number - 1], dim=-1)
    depth = panoramas.shape[0]
    # Rows and columns are texels with an area, panoramas are points: 0 and 1 are exactly the first and last.
    scaled = torch.cat([place[:, :2], place[:, 2:] * (depth - 1) / depth], dim=-1)
    volume = wrapped.transpose(0, 1)[None]
    sampled = F.grid_sample(volume, scaled[None, None, None], padding_mode="border", align_corners=False)
    return sampled[0, :, 0, 0].T


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Evaluate the real spherical harmonics of degree 0 to 3 at unit directions: [P, 3] -> [P, 16].

    The basis is orthonormal over the sphere, without the Condon-Shortley phase.
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
    """Normalise normals [N, 3] and turn those that face away from the viewer until they just face it."""
    unit = F.normalize(normal, dim=-1)
    cosine = (unit * view).sum(-1, keepdim=True)
    return F.normalize(unit + (_LEAST_FACING - cosine).clamp(min=0) * view, dim=-1)
