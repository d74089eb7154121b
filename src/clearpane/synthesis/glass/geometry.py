"""Where things are in a glass scene: the pane, the background's and the reflected world's rectangles.

World space is the camera's (OpenCV axes, metres). All in NumPy float64, for one scene at a time: both
renderers and the sampler build on it.
"""

import math
from dataclasses import dataclass

import numpy as np

from clearpane.synthesis.glass.scene import GlassScene, Pane

# The pictures reach this much beyond the camera's view: the glass shifts and ghosts what is seen.
COVER = 1.15


def pane_normal(pane: Pane) -> np.ndarray:
    """Unit normal of the front face where it meets the optical axis, towards the camera: [3].

    (0, 0, -1) turned by ``pitch`` about x, then by ``yaw`` about y.
    """
    yaw, pitch = math.radians(pane.yaw), math.radians(pane.pitch)
    return np.array(
        [-math.sin(yaw) * math.cos(pitch), math.sin(pitch), -math.cos(yaw) * math.cos(pitch)], np.float64
    )


def pane_axes(pane: Pane) -> np.ndarray:
    """The pane's own axes as rows, right-handed: right, down (as the camera sees them), and inwards: [3, 3].

    ``inwards`` is minus the normal; ``right`` lies in the camera's horizontal plane.
    """
    inwards = -pane_normal(pane)
    right = np.array([math.cos(math.radians(pane.yaw)), 0.0, -math.sin(math.radians(pane.yaw))])
    return np.stack([right, np.cross(inwards, right), inwards])


def view_tangents(field_of_view: float, height: int, width: int) -> tuple[float, float]:
    """Tangents of half the view across and down. The field of view, in degrees, is the longer side's."""
    tangent = math.tan(math.radians(field_of_view) / 2)
    longer = max(height, width)
    return tangent * width / longer, tangent * height / longer


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A rectangle in space with a picture on it.

    Attributes:
        centre: [3].
        across, down: [3] each: from the centre to the middle of its right and of its lower edge, as the
            camera sees the picture, directly or in the pane.
    """

    centre: np.ndarray
    across: np.ndarray
    down: np.ndarray


def background_rectangle(scene: GlassScene, height: int, width: int) -> Rectangle:
    """The background: upright, facing the camera, ``COVER`` times its view, for pictures height x width."""
    return _upright(scene, scene.background.distance, height, width)


def screen_rectangle(scene: GlassScene, height: int, width: int) -> Rectangle:
    """The screen that the pane reflects.

    It is the mirror image, in the plane of the front face, of an upright rectangle at ``pane.distance +
    world.distance``: so the camera sees its picture upright and undistorted in a flat pane.
    """
    virtual = _upright(scene, scene.pane.distance + scene.world.distance, height, width)
    normal = pane_normal(scene.pane)
    pane_centre = np.array([0, 0, scene.pane.distance])

    def mirrored(vector: np.ndarray) -> np.ndarray:
        return vector - 2 * (vector @ normal) * normal

    return Rectangle(
        mirrored(virtual.centre - pane_centre) + pane_centre, mirrored(virtual.across), mirrored(virtual.down)
    )


def dome_directions(directions: np.ndarray, rotation: float) -> np.ndarray:
    """Where in an equirectangular map a direction from the dome's centre looks: [..., 3] -> [..., 2] (u, v).

    ``u = 1/2 + (atan2(x, z) - rotation) / 2 pi`` modulo 1, ``v = acos(-y / |d|) / pi``: the camera's forward
    direction is at the map's middle and its up at the top.

    Args:
        directions: in camera axes, of any length above 0.
        rotation: degrees about the upright axis; positive turns the map to the right.
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    u = 0.5 + (np.arctan2(x, z) - math.radians(rotation)) / (2 * math.pi)
    v = np.arccos(np.clip(-y / np.linalg.norm(directions, axis=-1), -1, 1)) / math.pi
    return np.stack([u % 1.0, v], axis=-1)


def _upright(scene: GlassScene, distance: float, height: int, width: int) -> Rectangle:
    across, down = view_tangents(scene.camera.field_of_view, height, width)
    return Rectangle(
        np.array([0, 0, distance]),
        np.array([COVER * across * distance, 0, 0]),
        np.array([0, COVER * down * distance, 0]),
    )
