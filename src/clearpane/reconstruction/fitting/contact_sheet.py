"""Render a fitted object: its radiance, its materials under the learnt light, albedo and normals."""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.rendering import Rendered, RenderOptions, render_pictures
from clearpane.reconstruction.fitting.learnt_light import shade_rays
from clearpane.reconstruction.fitting.refine import LAST_BETA, Refined

_OPTIONS = RenderOptions(LAST_BETA, samples=96, occupancy=48)
_SHEET_VIEWS = 4
# Rays with a smaller opacity are not shaded.
_LEAST_OPACITY = 0.02


def render_fitted(refined: Refined, cameras: Cameras) -> dict[str, Tensor]:
    """Render the views of cameras in the cube's world, on white, sRGB in [0, 1], [V, 3, H, W] each.

    ``colour`` is the radiance field's, ``lit`` shows the materials under the learnt light, ``albedo`` the
    base colour and ``normal`` the normals as ``n / 2 + 1/2``; ``mask`` is [V, 1, H, W].
    """
    return render_pictures(refined.field, cameras, _OPTIONS, partial(_channels, refined))


def contact_sheet(capture: Capture, refined: Refined, side: int) -> np.ndarray:
    """Arrange up to four views and, below each, the fitted object from there, its base colour and normals.

    The sheet is [4 side, V side, 3], sRGB in [0, 1].
    """
    count = min(_SHEET_VIEWS, len(capture.names))
    chosen = np.linspace(0, len(capture.names) - 1, count).round().astype(int).tolist()
    shown = render_fitted(refined, capture.cameras[chosen].resized(side, side))
    given = F.interpolate(capture.pictures[chosen], (side, side), mode="bilinear", antialias=True)
    rows = [given.clamp(0, 1), shown["lit"], shown["albedo"], shown["normal"]]
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    return np.asarray(sheet.permute(1, 2, 0).numpy())


def _channels(refined: Refined, rendered: Rendered, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
    white = 1 - rendered.opacity
    hit = (rendered.opacity[:, 0] > _LEAST_OPACITY).nonzero()[:, 0]
    seen = rendered.of(hit)
    linear = shade_rays(seen, origins[hit], directions[hit], refined.environment, refined.sky)
    shaded = linear_to_srgb(linear.clamp(0, 1))
    lit = torch.ones_like(rendered.appearance.colour)
    lit[hit] = shaded * seen.opacity + white[hit]
    return {
        "colour": rendered.appearance.colour.clamp(0, 1),
        "lit": lit,
        "albedo": (linear_to_srgb(rendered.appearance.albedo.clamp(0, 1)) + white).clamp(0, 1),
        "normal": rendered.appearance.normal / 2 + 0.5 * rendered.opacity + white,
        "mask": rendered.opacity,
    }
