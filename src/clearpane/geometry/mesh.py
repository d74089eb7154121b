"""From a signed distance to triangles: marching cubes block by block, cleaned, simplified."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.cameras import HALF_SIZE

# Points at which distances are asked for at a time; cells along a side of a block.
_CHUNK, _BLOCK = 1 << 17, 32
# A distance that is learnt may change so much faster than a true one.
_STEEPNESS = 1.5
# Pieces with less than this share of the largest one's area are crumbs.
_CRUMB = 0.02

Distance = Callable[[np.ndarray], np.ndarray]
"""Signed distance of points: [P, 3] float32 -> [P]."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, counter-clockwise from outside.

    Attributes:
        vertices: [V, 3] float64.
        faces: [F, 3] int64.
    """

    vertices: np.ndarray
    faces: np.ndarray


def extract_surface(distance: Distance, resolution: int) -> Mesh:
    """The surface where a distance is zero in the cube, closed also where it leaves it.

    Marching cubes on a grid of ``resolution`` cells along a side. Blocks of 32 cells are looked at one after
    the other, and those only whose middle is near enough to the surface: memory grows with the surface, not
    with the cube of the resolution.

    Raises:
        ClearpaneError: there is no surface.
        MissingExtraError: scikit-image is not installed.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingExtraError("making a mesh", "3d") from error
    blocks = -(-resolution // _BLOCK)
    cell = 2 * HALF_SIZE / resolution
    corners = np.stack(np.meshgrid(*[np.arange(blocks) * _BLOCK] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    middles = (corners + _BLOCK / 2) * cell - HALF_SIZE
    reach = _STEEPNESS * np.sqrt(3) / 2 * (_BLOCK + 2) * cell
    vertices, faces, count = [], [], 0
    for corner in corners[np.abs(_ask(distance, middles)) < reach]:
        values = _block_values(distance, corner, resolution, cell)
        if values.min() >= 0 or values.max() <= 0:
            continue
        found, triangles, _, _ = marching_cubes(values, 0.0)
        vertices.append(found + corner)
        faces.append(triangles + count)
        count += len(found)
    if not vertices:
        raise ClearpaneError("the reconstruction is empty: its surface is nowhere in the cube")
    merged = _merge(np.concatenate(vertices), np.concatenate(faces))
    return Mesh(merged.vertices * cell - HALF_SIZE, merged.faces)


def _block_values(distance: Distance, corner: np.ndarray, resolution: int, cell: float) -> np.ndarray:
    """Distances at a block's grid points; those on the cube's faces count as outside: all is closed."""
    axes = [np.arange(c, min(c + _BLOCK, resolution) + 1) for c in corner]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = _ask(distance, grid.reshape(-1, 3) * cell - HALF_SIZE).reshape(grid.shape[:-1])
    edge = ((grid == 0) | (grid == resolution)).any(-1)
    values = np.where(edge, np.maximum(values, 0.5 * cell), values)
    # A distance of exactly zero at a grid point would make triangles without area.
    return np.where(np.abs(values) < 1e-6 * cell, 1e-6 * cell, values)


def _ask(distance: Distance, points: np.ndarray) -> np.ndarray:
    parts = np.array_split(points.astype(np.float32), max(1, -(-len(points) // _CHUNK)))
    return np.concatenate([np.asarray(distance(part), np.float64).reshape(-1) for part in parts])


def _merge(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Vertices that two blocks share made one; triangles that lose their area by that left out."""
    _, first, index = np.unique(np.round(vertices, 5), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[faces]
    a, b, c = faces.T
    return Mesh(vertices[first], faces[(a != b) & (b != c) & (c != a)].astype(np.int64))


def largest_pieces(mesh: Mesh) -> Mesh:
    """A mesh without its crumbs: the pieces with at least 2 % of the largest one's area."""
    piece = _pieces(mesh)
    areas = np.bincount(piece, weights=face_areas(mesh))
    return _part(mesh, areas[piece] >= _CRUMB * areas.max())


def face_areas(mesh: Mesh) -> np.ndarray:
    """Of each triangle, [F]."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2)


def surface_points(mesh: Mesh, count: int, seed: int = 0) -> np.ndarray:
    """Points spread evenly over a mesh at random, [count, 3].

    Raises:
        ClearpaneError: the mesh has no area.
    """
    generator = np.random.default_rng(seed)
    areas = face_areas(mesh)
    if not areas.sum() > 0:
        raise ClearpaneError("the mesh has no area: there is no surface to take points of")
    corners = mesh.vertices[mesh.faces[generator.choice(len(areas), count, p=areas / areas.sum())]]
    u, v = generator.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (corners[:, i] for i in range(3))
    return np.asarray(a + u * (b - a) + v * (c - a))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] of length 1; those of length 0 stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """A mesh of at most so many triangles, by quadric error.

    Raises:
        MissingExtraError: fast-simplification is not installed.
    """
    if len(mesh.faces) <= faces:
        return mesh
    try:
        from fast_simplification import simplify as decimate
    except ImportError as error:
        raise MissingExtraError("simplifying a mesh", "3d") from error
    vertices, triangles = decimate(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces
    )
    return _part(Mesh(vertices.astype(np.float64), triangles.astype(np.int64)), np.ones(len(triangles), bool))


def _pieces(mesh: Mesh) -> np.ndarray:
    """Which connected piece each triangle belongs to, [F], by spreading the least number along edges."""
    label = np.arange(len(mesh.vertices))
    while True:
        least = label[mesh.faces].min(1)
        spread = label.copy()
        np.minimum.at(spread, mesh.faces.reshape(-1), np.repeat(least, 3))
        spread = np.minimum(spread, spread[spread])
        if (spread == label).all():
            break
        label = spread
    _, piece = np.unique(label[mesh.faces[:, 0]], return_inverse=True)
    return np.asarray(piece.reshape(-1))


def _part(mesh: Mesh, kept: np.ndarray) -> Mesh:
    """Some triangles, and the vertices that they have."""
    faces = mesh.faces[kept]
    used, index = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], index.reshape(faces.shape).astype(np.int64))
