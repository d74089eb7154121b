"""Unwrap meshes: texture coordinates by xatlas, and the surface point that each texel shows."""

from dataclasses import dataclass

import numpy as np

from clearpane.errors import MissingExtraError
from clearpane.geometry.mesh import Mesh
from clearpane.geometry.rasterising import covered_pixels

# Texels between charts, and rings of texels around each chart that belong to it.
_PADDING = 4


@dataclass(frozen=True, eq=False)
class UnwrappedMesh:
    """Hold a mesh with texture coordinates; vertices on a seam are repeated.

    Attributes:
        mesh: Triangles with the vertices repeated along seams.
        coordinates: Texture coordinates [V, 2], in [0, 1]; u to the right, v down from the texture's first
            row.
        source: Index of each vertex in the mesh before unwrapping, [V].
    """

    mesh: Mesh
    coordinates: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, eq=False)
class Texels:
    """Hold the texels of a texture that show the surface.

    Attributes:
        size: Side of the texture, pixels.
        index: Texel indices, row * size + column, [T].
        face: Triangle that each texel shows, [T].
        weights: Barycentric coordinates of the texel centres in their triangles, [T, 3].
    """

    size: int
    index: np.ndarray
    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Interpolate vertex values [V, C] at the texels, [T, C]."""
        return np.asarray((values[faces[self.face]] * self.weights[..., None]).sum(1))


def unwrap(mesh: Mesh, size: int) -> UnwrappedMesh:
    """Compute texture coordinates for a square texture of ``size`` x ``size`` pixels.

    Raises:
        MissingExtraError: Xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError as error:
        raise MissingExtraError("laying out textures", "3d") from error
    # Between 0 and 1: xatlas has absolute tolerances and does not end on huge numbers.
    lowest = mesh.vertices.min(axis=0, initial=np.inf)
    extent = np.max(mesh.vertices - lowest, initial=1e-30)
    atlas = xatlas.Atlas()
    atlas.add_mesh(((mesh.vertices - lowest) / extent).astype(np.float32), mesh.faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, _PADDING, True
    atlas.generate(pack_options=options)
    source, faces, coordinates = atlas[0]
    return UnwrappedMesh(
        Mesh(mesh.vertices[source], faces.astype(np.int64)),
        np.clip(np.nan_to_num(coordinates.astype(np.float64)), 0, 1),  # triangles without area have no place
        source.astype(np.int64),
    )


def find_texels(unwrapped: UnwrappedMesh, size: int) -> Texels:
    """Find the texels whose centres lie in a triangle."""
    corners = unwrapped.coordinates[unwrapped.mesh.faces] * size
    none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))
    found = [none, *covered_pixels(corners, size, size)]
    index, face, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, unique = np.unique(index, return_index=True)  # two triangles claim a texel on their common edge
    return Texels(size, index[unique], face[unique], weights[unique])


def fill_gaps(texture: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Fill empty texels with the mean of their filled neighbours, until none is left.

    So the colour next to a chart never shows at its edge: close to the chart, rings of texels take the mean
    of their neighbours; farther away, coarser and coarser means serve a viewer's mipmaps.

    Args:
        texture: Texture [S, S, C].
        filled: True for the texels that show the surface, [S, S] bool.
    """
    texture, weight = np.where(filled[..., None], texture, 0.0), filled.astype(np.float64)
    if not filled.any():
        return texture
    for _ in range(_PADDING):
        sums, count = (_sum_around(x) for x in (texture, weight[..., None]))
        ring = (weight == 0) & (count[..., 0] > 0)
        texture[ring] = sums[ring] / count[ring]
        weight[ring] = 1
    # Halve until no texel is empty, then go back up: a gap takes the finest level that has a value.
    levels = [(texture, weight)]
    while (levels[-1][1] == 0).any() and len(levels[-1][1]) > 1:
        levels.append(_halved(*levels[-1]))
    result = levels[-1][0]
    for finer, own in reversed(levels[:-1]):
        doubled = result.repeat(2, axis=0).repeat(2, axis=1)[: len(own), : len(own)]
        result = np.where(own[..., None] > 0, finer, doubled)
    return np.asarray(result)


def _sum_around(values: np.ndarray) -> np.ndarray:
    """Sum over 3 x 3 texels: [S, S, C] -> [S, S, C]."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:])


def _halved(texture: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    odd = len(weight) % 2
    texture = np.pad(texture, ((0, odd), (0, odd), (0, 0)))
    weight = np.pad(weight, ((0, odd), (0, odd)))
    half = len(weight) // 2
    sums = (texture * weight[..., None]).reshape(half, 2, half, 2, -1).sum((1, 3))
    total = weight.reshape(half, 2, half, 2).sum((1, 3))
    return sums / np.maximum(total, 1e-12)[..., None], (total > 0).astype(np.float64)
