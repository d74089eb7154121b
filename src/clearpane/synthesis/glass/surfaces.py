"""The smooth faces of a pane as one kind of surface, and where rays meet them, for NumPy and PyTorch alike.

A face is a cap of a sphere, a cylinder or a plane, given by a vertex V on it, its unit normal N there, which
points away from the camera, into the pane, and its curvature c: the points p with

    F(p) = c |q|^2 - 2 N . q = 0,   q = p - V; for a cylinder without the part along its axis.

Curvature 0 is a plane, and a positive one is convex towards the camera: the centre is V + N / c. F is
positive before the face and negative behind it, and the normal in p is N - c q, again away from the camera.
The cap is the half about the vertex, where the normal has a positive part along N.

Source: Welford, Aberrations of Optical Systems, 1986, section 4.2 (ray tracing by curvatures).
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from array_api_compat import array_namespace

from clearpane.optics.fresnel import refract_cosine
from clearpane.synthesis.glass.geometry import pane_axes
from clearpane.synthesis.glass.scene import Pane

Array = TypeVar("Array", bound=Any)


@dataclass(frozen=True, eq=False)
class Surface(Generic[Array]):
    """A face between two media. Shapes broadcast against those of the rays, ``[...]`` and ``[..., 3]``.

    Attributes:
        vertex: [..., 3], metres.
        normal: [..., 3], unit, away from the camera.
        curvature: [...], 1/metre, positive where convex towards the camera.
        axis: [..., 3], of a cylinder, unit and perpendicular to ``normal``; zeros: a sphere or a plane.
        ior_before, ior_behind: [...], index of refraction on the camera's side and beyond.
        absorption_behind: [..., 3], per metre for red, green and blue, of the medium beyond.
    """

    vertex: Array
    normal: Array
    curvature: Array
    axis: Array
    ior_before: Array
    ior_behind: Array
    absorption_behind: Array


@dataclass(frozen=True, eq=False)
class Hit(Generic[Array]):
    """Where rays meet a face. Where they do not, the numbers are finite and mean nothing.

    Attributes:
        exists: [...], bool.
        distance: [...], along the ray, in lengths of its direction.
        position: [..., 3].
        normal: [..., 3], unit, on the side to which the ray goes.
        cosine: [...], of the angle of incidence, in [0, 1] but for rounding.
    """

    exists: Array
    distance: Array
    position: Array
    normal: Array
    cosine: Array


def pane_surfaces(pane: Pane) -> list[Surface[np.ndarray]]:
    """The faces of a pane as the camera's light meets them: two, or four of a double one. float64.

    The front vertex is on the optical axis. The back face of a wedged pane is tilted about the point behind
    it; a bent pane's faces are cylinders about one axis parallel to the pane's "down"; a lens's vertices lie
    behind one another. Roughness and dust are left out.
    """
    right, down, inwards = pane_axes(pane)
    front = np.array([0.0, 0.0, pane.distance])
    normal, axis, curvatures = inwards, np.zeros(3), (0.0, 0.0)
    if pane.shape == "wedged":
        angle, direction = np.radians(pane.wedge_angle), np.radians(pane.wedge_direction)
        thicker = np.cos(direction) * right + np.sin(direction) * down
        normal = np.cos(angle) * inwards - np.sin(angle) * thicker
    elif pane.shape == "bent":
        axis = down
        curvatures = pane.front_curvature, pane.front_curvature / (1 - pane.front_curvature * pane.thickness)
    elif pane.shape == "lens":
        curvatures = pane.front_curvature, pane.back_curvature

    def face(depth: float, normal: np.ndarray, curvature: float, enters: bool) -> Surface[np.ndarray]:
        return Surface(
            vertex=front + depth * inwards,
            normal=normal,
            curvature=np.array(curvature),
            axis=axis,
            ior_before=np.array(1.0 if enters else pane.ior),
            ior_behind=np.array(pane.ior if enters else 1.0),
            absorption_behind=np.array(pane.absorption if enters else (0.0, 0.0, 0.0), np.float64),
        )

    faces = [face(0, inwards, curvatures[0], True), face(pane.thickness, normal, curvatures[1], False)]
    if pane.shape == "double":
        second = pane.thickness + pane.gap
        faces += [face(second, normal, 0.0, True), face(second + pane.thickness, normal, 0.0, False)]
    return faces


def meet(surface: Surface[Array], origin: Array, direction: Array, forward: bool) -> Hit[Array]:
    """The point where each ray crosses a face's cap, from its front to its back, or the other way.

    With A, B, C from ``F(origin + t direction) = A t^2 - 2 B t + C``, the normal's part along the ray is
    ``B - A t = +-sqrt(B^2 - A C)``: plus for a crossing to the back, so each way there is one root at most.

    Args:
        surface: the face.
        origin, direction: [..., 3]; unit directions.
        forward: the crossing to the back, away from the camera.
    """
    xp = array_namespace(origin, direction)
    way = 1.0 if forward else -1.0
    start = _across(surface, origin - surface.vertex)
    step = _across(surface, direction)
    a = surface.curvature * _dot(step, step)
    b = _dot(surface.normal, direction) - surface.curvature * _dot(start, step)
    c = surface_side(surface, origin)
    discriminant = b**2 - a * c
    exists = discriminant > 0
    root = xp.sqrt(xp.where(exists, discriminant, 1.0))
    # Two forms of the same root, each where it does not cancel; the first also holds for planes.
    stable = b * way > 0
    curved = a != 0
    distance = xp.where(
        stable,
        c / (xp.where(stable, b, way) + way * root),
        (b - way * root) / xp.where(curved, a, 1.0),
    )
    exists = exists & (stable | curved) & (distance > 0)
    distance = xp.where(exists, distance, 0.0)
    position = origin + distance[..., None] * direction
    normal = surface.normal - surface.curvature[..., None] * _across(surface, position - surface.vertex)
    exists = exists & (_dot(normal, surface.normal) > 0)
    normal = xp.where(exists[..., None], way * normal, direction)
    return Hit(exists, distance, position, normal, _dot(normal, direction).clip(0.0))


def refract(direction: Array, hit: Hit[Array], ior: Array) -> Array:  # [..., 3]
    """Unit directions behind the face: ``d / ior + (cos_t - cos_i / ior) n`` (Snell's law as vectors).

    Args:
        direction: [..., 3], unit, of the rays that hit.
        hit: where.
        ior: [...], relative: of the medium that the rays enter over the one they leave.

    Under total reflection there is no such ray: the result runs along the face and is not of unit length.
    """
    towards_normal = refract_cosine(hit.cosine, ior) - hit.cosine / ior
    return direction / ior[..., None] + towards_normal[..., None] * hit.normal


def surface_side(surface: Surface[Array], position: Array) -> Array:  # [...]
    """F at [..., 3]: positive before the face, negative behind it; near it about twice the distance."""
    across = _across(surface, position - surface.vertex)
    return surface.curvature * _dot(across, across) - 2 * _dot(surface.normal, position - surface.vertex)


def _across(surface: Surface[Array], vector: Array) -> Array:
    return vector - _dot(vector, surface.axis)[..., None] * surface.axis


def _dot(one: Array, other: Array) -> Array:
    return array_namespace(one, other).sum(one * other, axis=-1)
