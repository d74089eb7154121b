"""Pictures of a fitted object: as it radiates, as its materials look in light, and what it is made of."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.cameras import Cameras, picture_rays
from clearpane.reconstruction.captures import Capture
from clearpane.reconstruction.learnt_light import shade_rays
from clearpane.reconstruction.refine import LAST_BETA, Refined
from clearpane.reconstruction.rendering import (
    RenderOptions,
    occupied_cells,
    render_rays,
)

_OPTIONS = RenderOptions(LAST_BETA, samples=96, occupancy=48)
_RAYS = 4096
_SHEET_VIEWS = 4
# Rays that see less than this of the object are not shaded.
_LEAST_OPACITY = 0.02


@torch.no_grad()
def render_fitted(refined: Refined, cameras: Cameras) -> dict[str, Tensor]:
    """What cameras in the cube's world see, on white, sRGB in [0, 1], [V, 3, H, W] each.

    ``colour`` is the radiance field's, ``lit`` the materials' in the learnt light, ``albedo`` and ``normal``
    (as ``n / 2 + 1/2``) speak for themselves; ``mask`` is [V, 1, H, W].
    """
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(cameras))
    occupied = occupied_cells(refined.field, _OPTIONS, origins)
    parts = list(_parts(refined, origins, directions, occupied))
    shape = (len(cameras.camera_to_world), cameras.height, cameras.width, -1)
    return {
        name: torch.cat([part[name] for part in parts]).reshape(shape).movedim(-1, 1) for name in parts[0]
    }


def contact_sheet(capture: Capture, refined: Refined, side: int) -> np.ndarray:
    """Up to four views, below them what the fitted object looks like from there, its base colour and normals.

    sRGB in [0, 1], [4 side, V side, 3].
    """
    count = min(_SHEET_VIEWS, len(capture.names))
    chosen = np.linspace(0, len(capture.names) - 1, count).round().astype(int).tolist()
    shown = render_fitted(refined, capture.cameras[chosen].resized(side, side))
    given = F.interpolate(capture.pictures[chosen], (side, side), mode="bilinear", antialias=True)
    rows = [given.clamp(0, 1), shown["lit"], shown["albedo"], shown["normal"]]
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    return np.asarray(sheet.permute(1, 2, 0).numpy())


def _parts(
    refined: Refined, origins: Tensor, directions: Tensor, occupied: Tensor | None
) -> Iterator[dict[str, Tensor]]:
    for o, d in zip(origins.split(_RAYS), directions.split(_RAYS), strict=True):
        rendered = render_rays(refined.field, o, d, _OPTIONS, occupied)
        white = 1 - rendered.opacity
        hit = (rendered.opacity[:, 0] > _LEAST_OPACITY).nonzero()[:, 0]
        seen = rendered.of(hit)
        linear = shade_rays(seen, o[hit], d[hit], refined.environment, refined.sky)
        shaded = linear_to_srgb(linear.clamp(0, 1))
        lit = torch.ones_like(rendered.appearance.colour)
        lit[hit] = shaded * seen.opacity + white[hit]
        yield {
            "colour": rendered.appearance.colour.clamp(0, 1),
            "lit": lit,
            "albedo": (linear_to_srgb(rendered.appearance.albedo.clamp(0, 1)) + white).clamp(0, 1),
            "normal": rendered.appearance.normal / 2 + 0.5 * rendered.opacity + white,
            "mask": rendered.opacity,
        }
