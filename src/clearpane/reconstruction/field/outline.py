"""Compute signed distances, in fractions of a pixel, from an object's outline in a mask."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Masks up to this side are sampled twice as finely near their outline; farther away, all masks are sampled
# this many times more coarsely.
_SMALL, _COARSE = 256, 4
# Distance from the outline, in pixels, up to which the fine result is used.
_NEAR = 10.0


@torch.no_grad()
def outline_distance(masks: Tensor) -> Tensor:
    """Compute the distance to masks' 0.5 level, in pixels, below 0 inside: [V, 1, H, W] -> [V, 1, h, w].

    The result has more pixels than a small mask, to be sampled between pixel centres. Its error is below half
    a pixel, and a few pixels at distances above 10. For an empty mask it is nearly as large as the picture.
    """
    finer = 2 if max(masks.shape[-2:]) <= _SMALL else 1
    fine = F.interpolate(masks, scale_factor=finer, mode="bilinear", align_corners=False)
    near = _signed(fine, finer * _NEAR + 1) / finer
    coarse = F.interpolate(masks, scale_factor=1 / _COARSE, mode="area")
    far = _COARSE * _signed(coarse, max(coarse.shape[-2:]))
    far = F.interpolate(far, size=fine.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(near.abs() < _NEAR, near, far)


def _signed(masks: Tensor, reach: float) -> Tensor:
    inside = masks > 0.5
    outward, inward = (region_distance(region, int(reach)) - 0.5 for region in (inside, ~inside))
    return torch.where(inside, -inward, outward)


def region_distance(region: Tensor, reach: int) -> Tensor:
    """Compute the distance to the nearest pixel of a region [..., H, W] bool, in pixels, at most ``reach``.

    The squared distances of both axes add up: one pass along each axis finds the smallest sum.
    """
    square = torch.where(region, 0.0, float(reach**2))
    for axis in (-1, -2):
        nearest = square.clone()
        for offset in range(1, min(reach, square.shape[axis])):
            count = square.shape[axis] - offset
            ahead, behind = square.narrow(axis, offset, count), square.narrow(axis, 0, count)
            for place, other in ((0, ahead), (offset, behind)):
                part = nearest.narrow(axis, place, count)
                torch.minimum(part, other + offset**2, out=part)
        square = nearest
    return square.sqrt()
