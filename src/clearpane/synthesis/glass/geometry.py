"""Geometry of a glass scene: the pane, and the rectangles of the background and the reflected world.

World space is the camera's (OpenCV axes, metres). All in NumPy float64, for one scene at a time; both
renderers and the sampler use it.
"""

import math
from dataclasses import dataclass

import numpy as np

from clearpane.synthesis.glass.scene import GlassScene, Pane

# Size of the pictures relative to the camera's view: the glass shifts them and adds ghosts.
COVER = 1.15


def pane_normal(pane: Pane) -> np.ndarray:
    """Compute the unit normal of the front face on the optical axis, towards the camera [3].

    (0, 0, -1) turned by ``pitch`` about x, then by ``yaw`` about y.
    """
    yaw, pitch = math.radians(pane.yaw), math.radians(pane.pitch)
    return np.array(
        [-math.sin(yaw) * math.cos(pitch), math.sin(pitch), -math.cos(yaw) * math.cos(pitch)], np.float64
    )


def pane_axes(pane: Pane) -> np.ndarray:
    """Compute the pane's axes as rows, right-handed: right, down (as the camera sees them), inwards [3, 3].

    ``inwards`` is minus the normal; ``right`` lies in the camera's horizontal plane.
    """
    inwards = -pane_normal(pane)
    right = np.array([math.cos(math.radians(pane.yaw)), 0.0, -math.sin(math.radians(pane.yaw))])
    return np.stack([right, np.cross(inwards, right), inwards])


def view_tangents(field_of_view: float, height: int, width: int) -> tuple[float, float]:
    """Compute the tangents of half the view across and down.

    Args:
        field_of_view: Field of view along the longer side, degrees.
        height, width: Picture size in pixels.
    """
    tangent = math.tan(math.radians(field_of_view) / 2)
    longer = max(height, width)
    return tangent * width / longer, tangent * height / longer


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A rectangle in space with a picture on it.

    Attributes:
        centre: Centre [3].
        across, down: Vectors [3] from the centre to the middle of the right and of the lower edge, as the
            camera sees the picture, directly or in the pane.
    """

    centre: np.ndarray
    across: np.ndarray
    down: np.ndarray


def background_rectangle(scene: GlassScene, height: int, width: int) -> Rectangle:
    """Place the background: upright, facing the camera, ``COVER`` times its view of height x width pixels."""
    return _upright(scene, scene.background.distance, height, width)


def screen_rectangle(scene: GlassScene, height: int, width: int) -> Rectangle:
    """Place the screen that the pane reflects.

    It is the mirror image, in the plane of the front face, of an upright rectangle at ``pane.distance +
    world.distance``: so the camera sees its picture upright and undistorted in a flat pane.
    """
    virtual = _upright(scene, scene.pane.distance + scene.world.distance, height, width)
    normal = pane_normal(scene.pane)
    pane_centre = np.array([0, 0, scene.pane.distance])

    def mirrored(vector: np.ndarray) -> np.ndarray:
        reflected: np.ndarray = vector - 2 * (vector @ normal) * normal
        return reflected

    return Rectangle(
        mirrored(virtual.centre - pane_centre) + pane_centre, mirrored(virtual.across), mirrored(virtual.down)
    )


def dome_directions(directions: np.ndarray, rotation: float) -> np.ndarray:
    """Map directions from the dome's centre [..., 3] to equirectangular coordinates u, v [..., 2].

    ``u = 1/2 + (atan2(x, z) - rotation) / 2 pi`` modulo 1, ``v = acos(-y / |d|) / pi``: the camera's forward
    direction is at the middle of the map and its up at the top.

    Args:
        directions: Directions in camera axes [..., 3], of any length above 0.
        rotation: Rotation about the vertical axis in degrees; positive turns the map to the right.
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
