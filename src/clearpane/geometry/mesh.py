"""Process triangle meshes: extract, clean and simplify surfaces, measure areas and draw samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.cameras import HALF_SIZE

# Points evaluated at a time; cells along a side of a block.
_CHUNK, _BLOCK = 1 << 17, 16
# Largest gradient of a learnt distance, where a true one has 1.
_STEEPNESS = 1.5
# Pieces with less than this share of the largest one's area are crumbs.
_CRUMB = 0.02

Distance = Callable[[np.ndarray], np.ndarray]
"""Signed distance: a function from points [P, 3] float32 to distances [P]."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Hold triangles, counter-clockwise from outside.

    Attributes:
        vertices: Positions [V, 3], float64.
        faces: Indices of each triangle's vertices [F, 3], int64.
    """

    vertices: np.ndarray
    faces: np.ndarray


def extract_surface(distance: Distance, resolution: int) -> Mesh:
    """Extract the zero surface of a signed distance in the cube; it is closed along the cube's faces.

    Marching cubes runs on a grid of ``resolution`` cells along a side, in blocks of 16 cells. Blocks whose
    centre is too far from the surface are skipped: memory grows with the surface, not with the cube of the
    resolution.

    Raises:
        ClearpaneError: There is no surface.
        MissingExtraError: Scikit-image is not installed.
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
    """Return distances at a block's grid points; the cube's faces count as outside, to close the surface."""
    axes = [np.arange(c, min(c + _BLOCK, resolution) + 1) for c in corner]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = _ask(distance, grid.reshape(-1, 3) * cell - HALF_SIZE).reshape(grid.shape[:-1])
    edge = ((grid == 0) | (grid == resolution)).any(-1)
    values = np.where(edge, np.maximum(values, 0.5 * cell), values)
    # A distance of exactly zero at a grid point would produce triangles of zero area.
    return np.where(np.abs(values) < 1e-6 * cell, 1e-6 * cell, values)


def _ask(distance: Distance, points: np.ndarray) -> np.ndarray:
    parts = np.array_split(points.astype(np.float32), max(1, -(-len(points) // _CHUNK)))
    return np.concatenate([np.asarray(distance(part), np.float64).reshape(-1) for part in parts])


def _merge(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Merge the vertices that two blocks share, and drop the triangles that collapse."""
    _, first, index = np.unique(np.round(vertices, 5), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[faces]
    a, b, c = faces.T
    return Mesh(vertices[first], faces[(a != b) & (b != c) & (c != a)].astype(np.int64))


def largest_pieces(mesh: Mesh) -> Mesh:
    """Return the connected pieces with at least 2 % of the largest piece's area.

    Raises:
        MissingExtraError: Scipy or trimesh is not installed.
    """
    piece = connected_pieces(mesh)
    areas = np.bincount(piece, weights=face_areas(mesh))
    return _part(mesh, areas[piece] >= _CRUMB * areas.max())


def connected_pieces(mesh: Mesh) -> np.ndarray:
    """Return the piece of each triangle, [F]; pieces are numbered from 0 and share no vertex.

    Raises:
        MissingExtraError: Scipy is not installed.
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ImportError as error:
        raise MissingExtraError("cleaning a mesh", "3d") from error
    count = len(mesh.vertices)
    a, b, c = mesh.faces.T
    rows, columns = np.concatenate([a, b]), np.concatenate([b, c])
    edges = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    _, label = connected_components(edges, directed=False)
    return np.asarray(label[mesh.faces[:, 0]])


def face_areas(mesh: Mesh) -> np.ndarray:
    """Return the area of each triangle, [F].

    Raises:
        MissingExtraError: Trimesh is not installed.
    """
    try:
        from trimesh.triangles import area
    except ImportError as error:
        raise MissingExtraError("measuring a mesh", "3d") from error
    return np.asarray(area(mesh.vertices[mesh.faces]))


def surface_points(mesh: Mesh, count: int, seed: int = 0) -> np.ndarray:
    """Draw points uniformly from a mesh's surface, [count, 3]; see `surface_samples`."""
    return surface_samples(mesh, count, seed)[0]


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw points uniformly from a mesh's surface.

    Returns:
        Points [count, 3], the triangle of each [count], and their barycentric coordinates in it [count, 3].

    Raises:
        ClearpaneError: The mesh has no area.
        MissingExtraError: Trimesh is not installed.
    """
    areas = face_areas(mesh)
    if not areas.sum() > 0:
        raise ClearpaneError("the mesh has no area: no points can be drawn from its surface")
    from trimesh import Trimesh
    from trimesh.sample import sample_surface
    from trimesh.triangles import points_to_barycentric

    surface = Trimesh(mesh.vertices, mesh.faces, process=False)
    points, faces = (np.asarray(x) for x in sample_surface(surface, count, face_weight=areas, seed=seed)[:2])
    weights = points_to_barycentric(mesh.vertices[mesh.faces[faces]], points)
    return points, faces, np.asarray(weights)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Normalise vectors [..., 3] to length 1; those of length 0 stay 0."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """Reduce a mesh to at most ``faces`` triangles, by quadric error.

    Raises:
        MissingExtraError: Package fast-simplification is not installed.
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


def _part(mesh: Mesh, kept: np.ndarray) -> Mesh:
    """Select triangles (a boolean mask [F]) and the vertices they use."""
    faces = mesh.faces[kept]
    used, index = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], index.reshape(faces.shape).astype(np.int64))
