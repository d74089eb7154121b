"""Shapes, as Mitsuba meshes: turned vessels, boxes with soft edges, mouldings, tubes, height fields, people.

Metres; y is up. A texture repeats once a metre on boxes and height fields, and once round a vessel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mitsuba as mi
import numpy as np

from surfaces import solid

Array = np.ndarray
Point = Sequence[float]


def mesh(vertices: Array, faces: Array, uv: Array, bsdf: Any, normals: Array | None = None) -> Any:
    """Make a mesh of vertices [V, 3] and indices [F, 3]; facets are flat unless normals are given."""
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf) if isinstance(bsdf, dict) else bsdf
    props["face_normals"] = normals is None
    made = mi.Mesh("mesh", len(vertices), len(faces), props, normals is not None, True)
    params = mi.traverse(made)
    params["vertex_positions"] = np.ravel(vertices).astype(np.float32)
    params["faces"] = np.ravel(faces).astype(np.uint32)
    params["vertex_texcoords"] = np.ravel(uv).astype(np.float32)
    if normals is not None:
        params["vertex_normals"] = np.ravel(normals).astype(np.float32)
    params.update()
    return made


def surface(points: Array, uv: Array, bsdf: Any) -> Any:
    """Make a smooth surface through a grid of points [M, N, 3]."""
    rows, columns = points.shape[:2]
    du, dv = np.gradient(points, axis=1), np.gradient(points, axis=0)
    if np.allclose(points[:, 0], points[:, -1]):  # closed around: no seam in the shading
        du[:, 0] = du[:, -1] = points[:, 1] - points[:, -2]
    normals = np.cross(du, dv)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (x.ravel() for x in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])
    return mesh(points.reshape(-1, 3), faces, uv.reshape(-1, 2), bsdf, normals.reshape(-1, 3))


def spline(knots: Sequence[Point], count: int) -> Array:
    """Compute a Catmull-Rom curve through the knots: points [count, D]."""
    k = np.asarray(knots, float)
    k = np.concatenate([2 * k[:1] - k[1:2], k, 2 * k[-1:] - k[-2:-1]])
    s = np.linspace(0, len(k) - 3 - 1e-9, count)
    i = s.astype(int)
    t = (s - i)[:, None]
    p0, p1, p2, p3 = (k[i + n] for n in range(4))
    return 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )


def vessel(at: Point, outline: Sequence[Point], bsdf: Any, wall: float = 0.005, wobble: float = 0.004) -> Any:
    """Make a thrown pot at a point: its outline (radius, height) from foot to lip, an open mouth and a wall.

    `wobble` is by how much of its radius the hand that threw it was off.
    """
    outer = spline(outline, 90)
    outer[:, 0] = np.maximum(outer[:, 0], 1e-4)
    inner = np.stack([np.maximum(outer[:, 0] - wall, 1e-4), np.maximum(outer[:, 1], wall)], -1)[::-1]
    lip = outer[-1] + np.array(
        [[-0.15 * wall, 0.35 * wall], [-0.5 * wall, 0.5 * wall], [-0.85 * wall, 0.35 * wall]]
    )
    profile = np.concatenate([[[1e-4, outer[0, 1]]], outer, lip, inner, [[1e-4, inner[-1, 1]]]])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(profile, axis=0).T))])
    outside = length[len(outer)]
    angle = np.linspace(0, 2 * np.pi, 97)
    radius = profile[:, :1] * (1 + wobble * np.sin(2 * angle + 11 * profile[:, 1:] + at[0] * 50))
    points = np.stack(
        [radius * np.cos(angle), np.broadcast_to(profile[:, 1:], radius.shape), -radius * np.sin(angle)], -1
    )
    u, v = np.meshgrid(angle / (2 * np.pi), length / outside)
    return surface(points + np.asarray(at, float), np.stack([u, v], -1), bsdf)


def box(low: Point, high: Point, bsdf: Any, edge: float = 0.004, turn: float = 0.0) -> Any:
    """Make a box with rounded edges, turned about its upright axis by degrees."""
    low_, high_ = np.asarray(low, float), np.asarray(high, float)
    half, centre = (high_ - low_) / 2, (high_ + low_) / 2
    edge = min(edge, 0.49 * half.min())
    steps = np.array([-1, -0.75, -0.4, 0])
    vertices, normals, uv, faces = [], [], [], []
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        along = [
            np.concatenate([-half[k] + edge * (1 + steps), half[k] - edge * (1 + steps[::-1])])
            for k in (a, b)
        ]
        p, q = np.meshgrid(*along, indexing="ij")
        for sign in (-1, 1):
            point = np.empty((*p.shape, 3))
            point[..., a], point[..., b], point[..., axis] = p, q, sign * half[axis]
            core = np.clip(point, -(half - edge), half - edge)
            out = (point - core) / np.linalg.norm(point - core, axis=-1, keepdims=True)
            i = np.arange(p.size).reshape(p.shape) + sum(map(len, vertices))
            quad = [x.ravel() for x in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:])]
            quad = quad if sign > 0 else quad[::-1]
            faces += [np.stack([quad[0], quad[1], quad[2]], -1), np.stack([quad[0], quad[2], quad[3]], -1)]
            vertices.append((core + edge * out).reshape(-1, 3))
            normals.append(out.reshape(-1, 3))
            across, up = (
                (point[..., 2], point[..., 1]) if axis == 0 else (point[..., 0], point[..., 3 - axis])
            )
            uv.append(
                np.stack([across, up], -1).reshape(-1, 2)
                + 0.37 * np.array([axis + centre[0] * 3, centre[1] * 5])
            )
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    points = np.concatenate(vertices) @ turned.T + centre
    return mesh(points, np.concatenate(faces), np.concatenate(uv), bsdf, np.concatenate(normals) @ turned.T)


def moulding(width: float, height: float, profile: Sequence[Point], centre: Point, bsdf: Any) -> Any:
    """Make a picture frame around an opening, facing +z, mitred; profile points are (outwards, forwards)."""
    fine = np.asarray(profile, float)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    vertices, uv, faces, normals = [], [], [], []
    run = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(fine, axis=0).T))])
    slope = np.gradient(fine, axis=0)
    for side in range(4):
        ends = corners[[side, (side + 1) % 4]]
        outwards = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)][side])
        s = np.linspace(0, 1, 60)
        x = (width / 2 + fine[:, :1]) * (ends[0, 0] + (ends[1, 0] - ends[0, 0]) * s)
        y = (height / 2 + fine[:, :1]) * (ends[0, 1] + (ends[1, 1] - ends[0, 1]) * s)
        points = np.stack([x, y, np.broadcast_to(fine[:, 1:], x.shape)], -1)
        n = np.concatenate([-slope[:, 1:] * outwards, slope[:, :1]], 1)
        n /= np.linalg.norm(n, axis=1, keepdims=True)
        along = x if outwards[0] == 0 else y
        i = np.arange(x.size).reshape(x.shape) + sum(map(len, vertices))
        a, b, c, d = (z.ravel() for z in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
        faces += [np.stack([a, d, b], -1), np.stack([a, c, d], -1)]
        vertices.append(points.reshape(-1, 3))
        normals.append(np.repeat(n, len(s), axis=0))
        uv.append(np.stack([along, np.broadcast_to(run[:, None], x.shape)], -1).reshape(-1, 2))
    points = np.concatenate(vertices) + np.asarray(centre, float)
    return mesh(points, np.concatenate(faces), np.concatenate(uv), bsdf, np.concatenate(normals))


def tube(knots: Sequence[Point], bsdf: Any, flat: float = 1.0) -> Any:
    """Make a tube along (x, y, z, radius), `flat` times as deep (z) as wide where it runs upright."""
    path = spline(knots, 6 * len(knots))
    path[:, 3] = np.maximum(path[:, 3], 1e-5)
    forwards = np.gradient(path[:, :3], axis=0)
    forwards /= np.linalg.norm(forwards, axis=1, keepdims=True)
    aside = np.cross(forwards, (0.0, 0.0, 1.0) if abs(forwards[0, 2]) < 0.9 else (0.0, 1.0, 0.0))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    deep = np.cross(aside, forwards)
    angle = np.linspace(0, 2 * np.pi, 25)[None, :, None]
    ring = np.cos(angle) * aside[:, None] + flat * np.sin(angle) * deep[:, None]
    points = path[:, None, :3] + path[:, None, 3:] * ring
    u, v = np.meshgrid(angle.ravel() / 6.3, np.linspace(0, 1, len(path)))
    return surface(points, np.stack([u, v], -1), {"type": "twosided", "inside": bsdf})


def ball(at: Point, radius: float, bsdf: Any = None, glow: Point | None = None) -> dict[str, Any]:
    """Make a sphere, or a lamp if it glows (radiance)."""
    made: dict[str, Any] = {"type": "sphere", "center": list(at), "radius": radius}
    if glow is not None:
        made["light"] = {"type": "area", "radiance": {"type": "rgb", "value": list(glow)}}
    if bsdf is not None:
        made["surface"] = bsdf
    return made


def panel(at: Point, facing: Point, size: Point, bsdf: Any = None, glow: Any = None) -> dict[str, Any]:
    """Make a flat rectangle (width, height) that faces `facing`; a lamp if it glows."""
    up = [0.0, 0.0, -1.0] if abs(facing[1]) > 0.9 else [0.0, 1.0, 0.0]
    target = [a + b for a, b in zip(at, facing, strict=True)]
    place = mi.ScalarTransform4f().look_at(origin=list(at), target=target, up=up)
    scale = mi.ScalarTransform4f().scale([size[0] / 2, size[1] / 2, 1])
    made: dict[str, Any] = {"type": "rectangle", "to_world": place @ scale}
    if glow is not None:
        radiance = glow if isinstance(glow, dict) else {"type": "rgb", "value": list(glow)}
        made["light"] = {"type": "area", "radiance": radiance}
    if bsdf is not None:
        made["surface"] = bsdf
    return made


def person(x: float, z: float, tall: float, clothes: Any, photographing: bool = False) -> list[Any]:
    """Somebody in a coat, facing -z; the arms hang, or hold a camera to the eye."""
    k = tall / 1.75
    skin, hair = solid((0.42, 0.25, 0.18), 0.6), solid((0.018, 0.013, 0.010), 0.6)

    def limb(*knots: Point, bsdf: Any = clothes, flat: float = 1.0) -> Any:
        return tube([(x + a * k, b * k, z + c * k, r * k) for a, b, c, r in knots], bsdf, flat)

    parts = [
        limb((0, 0.55, 0, 0.02), (0, 0.56, 0, 0.19), (0, 0.80, 0, 0.19), (0, 0.98, 0, 0.175),
                     (0, 1.15, 0, 0.175),
             (0, 1.30, 0, 0.205), (0, 1.385, 0, 0.205), (0, 1.43, 0, 0.165), (0, 1.46, 0, 0.09),
             (0, 1.50, 0, 0.06), flat=0.6),
        limb((0, 1.44, 0.01, 0.055), (0, 1.54, 0.005, 0.055), bsdf=skin),
        limb((0, 1.500, -0.02, 0.01), (0, 1.51, -0.02, 0.040), (0, 1.54, -0.012, 0.060), (0, 1.61, 0, 0.077),
             (0, 1.68, 0.005, 0.076), (0, 1.72, 0.01, 0.055), (0, 1.735, 0.01, 0.005), bsdf=skin, flat=1.2),
        limb((0, 1.565, 0.045, 0.01), (0, 1.58, 0.045, 0.066), (0, 1.65, 0.035, 0.084),
                     (0, 1.71, 0.025, 0.076),
             (0, 1.745, 0.02, 0.045), (0, 1.755, 0.02, 0.004), bsdf=hair, flat=1.0),
    ]  # fmt: skip
    for s in (-1, 1):
        parts.append(limb((s * 0.09, 0.70, 0, 0.09), (s * 0.10, 0.5, 0, 0.075), (s * 0.11, 0.06, 0, 0.05)))
        parts.append(tube([(x + a * k, 0.04 * k, z + c * k, r * k) for a, c, r in
                           ((s * 0.12, 0.06, 0.035), (s * 0.12, -0.08, 0.045),
                           (s * 0.13, -0.18, 0.03))], hair))  # fmt: skip
        if photographing:
            parts.append(
                limb((s * 0.15, 1.42, 0, 0.01), (s * 0.17, 1.39, 0, 0.05), (s * 0.21, 1.32, -0.02, 0.056),
                     (s * 0.235, 1.20, -0.08, 0.052), (s * 0.24, 1.17, -0.14, 0.048),
                     (s * 0.17, 1.38, -0.19, 0.04),
                     (s * 0.08, 1.55, -0.16, 0.038), (s * 0.06, 1.59, -0.16, 0.01))
            )  # fmt: skip
        else:
            parts.append(
                limb((s * 0.15, 1.42, 0, 0.01), (s * 0.175, 1.39, 0, 0.05), (s * 0.20, 1.31, 0, 0.058),
                     (s * 0.230, 1.13, 0.01, 0.052), (s * 0.245, 0.93, -0.04, 0.042),
                     (s * 0.24, 0.86, -0.05, 0.01))
            )  # fmt: skip
    if photographing:
        low, high = (x - 0.07 * k, 1.565 * k, z - 0.19 * k), (x + 0.07 * k, 1.655 * k, z - 0.12 * k)
        parts += [
            box(low, high, hair),
            ball((x, 1.605 * k, z - 0.20 * k), 0.038 * k, solid((0.02, 0.02, 0.03), 0.1)),
        ]
    return parts
