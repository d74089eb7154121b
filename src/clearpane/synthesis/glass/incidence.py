"""Viewing geometry of a scene's glass: the steepest angle of incidence and the farthest visible point.

Near grazing incidence a short series of bounces is inaccurate, and a pane must not cut through the
background.
"""

import math
from dataclasses import dataclass

import numpy as np

from clearpane.optics.fresnel import refract_cosine
from clearpane.synthesis.glass.geometry import view_tangents
from clearpane.synthesis.glass.scene import GlassScene
from clearpane.synthesis.glass.surfaces import meet, pane_surfaces, refract, surface_side

# Rays: a grid over the picture with its corners, and points on the lens's rim besides its centre.
_GRID = 17
_RIM = 8


@dataclass(frozen=True)
class PaneView:
    """View of the pane from the camera.

    Attributes:
        incidence: Largest angle, in air, between the camera's rays and the normals of the faces they pass,
            degrees. The faces are the first pane's front, where a ray enters, and its back, where directly
            transmitted light exits. The maximum is exact for flat faces; on curved ones it may be slightly
            larger between the rays. 90 if the back face reflects totally, or the pane does not fill the view:
            a ray passes the rim of a lens or a bent pane, or the edge in which a wedge ends, or misses the
            back face.
        farthest: Depth (z) of the farthest visible point of the glass, metres; infinite if the pane does not
            fill the view.
    """

    incidence: float
    farthest: float


def view_of_pane(scene: GlassScene, height: int, width: int) -> PaneView:
    """Follow rays to the pane for pictures height x width.

    They run from the centre and the rim of the lens to a grid over the picture, including corners and edges.
    """
    camera = scene.camera
    across, down = view_tangents(camera.field_of_view, height, width)
    x, y = np.meshgrid(np.linspace(-across, across, _GRID), np.linspace(-down, down, _GRID))
    in_focus = camera.focus_distance * np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    angles = np.arange(_RIM) * (2 * math.pi / _RIM)
    rim = camera.lens_radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(_RIM)], axis=-1)
    lens = np.concatenate([np.zeros((1, 3)), rim if camera.lens_radius > 0 else rim[:0]])

    origin = lens[:, None]
    direction = in_focus - origin
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    surfaces = pane_surfaces(scene.pane)
    front, back = surfaces[:2]
    hit = meet(front, origin, direction, forward=True)
    inside = refract(direction, hit, front.ior_behind / front.ior_before)
    out = meet(back, hit.position, inside, forward=True)
    fills = hit.exists & (surface_side(back, hit.position) > 0) & out.exists
    if not fills.all():
        return PaneView(90.0, math.inf)
    farthest = max(hit.position[..., 2].max(), out.position[..., 2].max())
    if len(surfaces) > 2:  # between two panes rays keep their direction, shifted by less than the thickness
        last = meet(surfaces[-1], origin, direction, forward=True)
        farthest = max(farthest, last.position[..., 2].max()) if last.exists.all() else math.inf
    cosine_out = refract_cosine(out.cosine, back.ior_behind / back.ior_before)
    steepest = math.degrees(math.acos(min(1.0, hit.cosine.min(), cosine_out.min())))
    return PaneView(steepest, float(farthest))
