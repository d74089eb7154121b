"""The faces of a pane as heights over its plane, and the part of them that a view needs."""

import math
from dataclasses import dataclass, replace

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.synthesis.glass.geometry import pane_axes, view_tangents
from clearpane.synthesis.glass.scene import GlassScene, Pane

# Segments of a curved face along each curved axis. Facets deviate by at most width^2 / (4 radius) from a
# lens, half that from a bent pane: 4 micrometres for 4 mm (a face a metre wide) and a radius of a metre.
# The interpolated normals are accurate to 1e-5.
SEGMENTS = 256
# Factors by which the glass extends beyond the view; the first possible one is used.
_MARGINS = (1.5, 1.2, 1.05, 1.02)


@dataclass(frozen=True)
class Face:
    """A face of the glass, as its depth over the pane's plane: ``depth + tilt . (x, y) + sag``.

    Attributes:
        depth: Depth on the axis behind the front face, metres.
        tilt: Slopes along the pane's right and down.
        curvature: Curvature in 1/metre, positive if convex towards the camera.
        axes: Number of curved axes: 0 flat, 1 a cylinder about the pane's vertical, 2 a sphere.
    """

    depth: float
    tilt: tuple[float, float] = (0.0, 0.0)
    curvature: float = 0.0
    axes: int = 0

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return depth [...] and unit normal towards the camera [..., 3]; NaN beyond the equator."""
        across = x**2 if self.axes == 1 else x**2 + y**2
        with np.errstate(invalid="ignore"):
            height = np.sqrt(1 - self.curvature**2 * across)
            sag = self.curvature * across / (1 + height)
            slope_x = self.tilt[0] + (self.curvature * x / height if self.axes else 0.0)
            slope_y = self.tilt[1] + (self.curvature * y / height if self.axes == 2 else 0.0)
        normal = np.stack(np.broadcast_arrays(slope_x, slope_y, -1.0 + 0 * x), axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return self.depth + self.tilt[0] * x + self.tilt[1] * y + sag, normal


def pane_faces(pane: Pane) -> list[Face]:
    """Return the faces from front to back: two, or four for a double pane."""
    front, back = Face(0.0), Face(pane.thickness)
    match pane.shape:
        case "wedged":
            slope, direction = math.tan(math.radians(pane.wedge_angle)), math.radians(pane.wedge_direction)
            return [front, replace(back, tilt=(slope * math.cos(direction), slope * math.sin(direction)))]
        case "double":
            second = pane.thickness + pane.gap
            return [front, back, Face(second), Face(second + pane.thickness)]
        case "bent":
            inner = pane.front_curvature / (1 - pane.front_curvature * pane.thickness)
            return [
                replace(front, curvature=pane.front_curvature, axes=1),
                replace(back, curvature=inner, axes=1),
            ]
        case "lens":
            return [
                replace(front, curvature=pane.front_curvature, axes=2),
                replace(back, curvature=pane.back_curvature, axes=2),
            ]
        case _:
            return [front, back]


def pane_grid(scene: GlassScene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay a grid over the visible part of a pane, with a margin.

    Args:
        scene: Scene of the pane.
        height, width: Picture size in pixels.

    Returns:
        Coordinates of the columns and of the rows in the pane's axes, metres.

    Raises:
        ClearpaneError: The pane ends within the view, or its faces meet there.
    """
    pane = scene.pane
    faces = pane_faces(pane)
    reach = _seen(scene, height, width) + 10 * faces[-1].depth + scene.camera.lens_radius
    columns, rows = {0: (1, 1), 1: (SEGMENTS, 32), 2: (SEGMENTS, SEGMENTS)}[faces[0].axes]
    for margin in _MARGINS:
        x = np.linspace(-margin * reach[0], margin * reach[0], columns + 1)
        y = np.linspace(-margin * reach[1], margin * reach[1], rows + 1)
        depths = np.stack([face.at(*np.meshgrid(x, y))[0] for face in faces])
        if np.all(np.diff(depths, axis=0) > 0.05 * pane.thickness):  # false for NaN
            return x, y
    raise ClearpaneError(
        f"glass scene: the pane ({pane.shape}) ends within the view, or its faces meet there; "
        "use a narrower field of view or a flatter pane"
    )


def _seen(scene: GlassScene, height: int, width: int) -> np.ndarray:
    """Return the extent of the view on the pane from its centre, along its right and down, metres [2]."""
    pane = scene.pane
    across, down = view_tangents(scene.camera.field_of_view, height, width)
    corners = np.array([[sx * across, sy * down, 1.0] for sx in (-1, 1) for sy in (-1, 1)])
    right_down_inwards = corners @ pane_axes(pane).T
    if right_down_inwards[:, 2].min() <= 0.05:
        raise ClearpaneError(
            "glass scene: the view passes the pane's edge; use less yaw, pitch or field of view"
        )
    centre = pane_axes(pane) @ np.array([0, 0, pane.distance])
    on_pane = right_down_inwards[:, :2] / right_down_inwards[:, 2:] * centre[2] - centre[:2]
    extent: np.ndarray = np.abs(on_pane).max(axis=0)
    return extent
