"""The smooth faces of a pane as one kind of surface, and their intersection with rays, in NumPy or PyTorch.

A face is a cap of a sphere, a cylinder or a plane, given by a vertex V on it, its unit normal N there, which
points away from the camera, into the pane, and its curvature c: the points p with

    F(p) = c |q|^2 - 2 N . q = 0,   q = p - V; for a cylinder without the part along its axis.

Curvature 0 is a plane, and a positive one is convex towards the camera: the centre is V + N / c. F is
positive in front of the face and negative behind it, and the normal in p is N - c q, again away from the
camera. The cap is the half about the vertex, where the normal has a positive component along N.

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
        vertex: Vertex [..., 3], metres.
        normal: Unit normal at the vertex [..., 3], away from the camera.
        curvature: Curvature [...], 1/metre, positive if convex towards the camera.
        axis: Unit axis of a cylinder [..., 3], perpendicular to ``normal``; zeros for a sphere or a plane.
        ior_before, ior_behind: Index of refraction [...] on the camera's side and beyond.
        absorption_behind: Absorption per metre [..., 3] for red, green and blue, of the medium beyond.
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
    """Intersections of rays with a face. For rays that miss, the numbers are finite but meaningless.

    Attributes:
        exists: True for rays that meet the face [...], bool.
        distance: Distance along the ray [...], in lengths of its direction.
        position: Point on the face [..., 3].
        normal: Unit normal [..., 3], on the side that the ray goes to.
        cosine: Cosine of the angle of incidence [...], in [0, 1] up to rounding.
    """

    exists: Array
    distance: Array
    position: Array
    normal: Array
    cosine: Array


def pane_surfaces(pane: Pane) -> list[Surface[np.ndarray]]:
    """Build the faces of a pane from front to back in float64: two, or four for a double pane.

    The front vertex is on the optical axis. The back face of a wedged pane is tilted about the point behind
    it; a bent pane's faces are cylinders about one axis parallel to the pane's "down"; a lens's vertices lie
    behind one another. Roughness and dust are ignored.
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
    """Intersect rays with a face's cap, crossing from its front to its back or the other way.

    With A, B, C from ``F(origin + t direction) = A t^2 - 2 B t + C``, the normal's component along the ray is
    ``B - A t = +-sqrt(B^2 - A C)``: plus for a crossing to the back, so there is at most one root each way.

    Args:
        surface: Face.
        origin, direction: Origins and unit directions of the rays [..., 3].
        forward: True for crossings to the back, away from the camera.
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
    # Two forms of the same root, each used where it does not cancel; the first also holds for planes.
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
    """Refract unit directions by Snell's law as vectors: ``d / ior + (cos_t - cos_i / ior) n``.

    Args:
        direction: Unit directions of the incident rays [..., 3].
        hit: Intersections with the face.
        ior: Relative index [...]: that of the medium the rays enter over that of the one they leave.

    Under total reflection there is no such ray: the result runs along the face and is not of unit length.
    """
    towards_normal = refract_cosine(hit.cosine, ior) - hit.cosine / ior
    refracted: Array = direction / ior[..., None] + towards_normal[..., None] * hit.normal
    return refracted


def surface_side(surface: Surface[Array], position: Array) -> Array:  # [...]
    """Compute F at points [..., 3]: positive in front, negative behind.

    Near the face its magnitude is about twice the distance.
    """
    across = _across(surface, position - surface.vertex)
    side: Array = surface.curvature * _dot(across, across)
    side = side - 2 * _dot(surface.normal, position - surface.vertex)
    return side


def _across(surface: Surface[Array], vector: Array) -> Array:
    across: Array = vector - _dot(vector, surface.axis)[..., None] * surface.axis
    return across


def _dot(one: Array, other: Array) -> Array:
    product: Array = array_namespace(one, other).sum(one * other, axis=-1)
    return product
