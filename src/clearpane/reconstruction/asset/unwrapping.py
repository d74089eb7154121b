"""A mesh laid flat: texture coordinates by xatlas, and which point of the surface each texel shows."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from clearpane.errors import MissingExtraError
from clearpane.geometry.mesh import Mesh
from clearpane.geometry.rasterising import covered_pixels

# Texels between charts, and rings of texels about each that are its own.
_PADDING = 4


@dataclass(frozen=True, eq=False)
class UnwrappedMesh:
    """A mesh with texture coordinates; vertices on a seam are there more than once.

    Attributes:
        mesh: its vertices doubled along seams.
        coordinates: [V, 2] in [0, 1], u to the right, v down from the texture's first row.
        source: which vertex of the mesh before each one was, [V].
    """

    mesh: Mesh
    coordinates: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels of a texture that show something.

    Attributes:
        size: of the texture, pixels along a side.
        index: of each texel, row * size + column, [T].
        face: which triangle it shows, [T].
        weights: where in it, barycentric, [T, 3].
    """

    size: int
    index: np.ndarray
    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Values of vertices [V, C] at the texels, [T, C]."""
        return np.asarray((values[faces[self.face]] * self.weights[..., None]).sum(1))


def unwrap(mesh: Mesh, size: int) -> UnwrappedMesh:
    """Texture coordinates for a square texture of so many pixels along a side.

    Raises:
        MissingExtraError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError as error:
        raise MissingExtraError("laying out textures", "3d") from error
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, _PADDING, True
    atlas.generate(pack_options=options)
    source, faces, coordinates = atlas[0]
    return UnwrappedMesh(
        Mesh(mesh.vertices[source], faces.astype(np.int64)),
        np.clip(coordinates.astype(np.float64), 0, 1),
        source.astype(np.int64),
    )


def find_texels(unwrapped: UnwrappedMesh, size: int) -> Texels:
    """Which texels' middles lie in which triangle."""
    corners = unwrapped.coordinates[unwrapped.mesh.faces] * size
    none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))
    found = [none, *covered_pixels(corners, size, size)]
    index, face, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, unique = np.unique(index, return_index=True)  # on an edge two triangles claim a texel
    return Texels(size, index[unique], face[unique], weights[unique])


def fill_gaps(texture: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Texels that show nothing take the mean of those next to them that do, until none is left.

    So no edge of a chart shows what is beside it: next to it by its own texels' means, ring by ring; farther
    away by coarser and coarser means, for a viewer's coarser levels.

    Args:
        texture: [S, S, C].
        filled: which texels show something, [S, S] bool.
    """
    texture, weight = np.where(filled[..., None], texture, 0.0), filled.astype(np.float64)
    if not filled.any():
        return texture
    for _ in range(_PADDING):
        sums, count = (_sum_around(x) for x in (texture, weight[..., None]))
        ring = (weight == 0) & (count[..., 0] > 0)
        texture[ring] = sums[ring] / count[ring]
        weight[ring] = 1
    # Down by halves until nothing is empty, then up: a gap takes the finest level that has something.
    levels = [(texture, weight)]
    while (levels[-1][1] == 0).any() and len(levels[-1][1]) > 1:
        levels.append(_halved(*levels[-1]))
    result = levels[-1][0]
    for finer, own in reversed(levels[:-1]):
        doubled = result.repeat(2, axis=0).repeat(2, axis=1)[: len(own), : len(own)]
        result = np.where(own[..., None] > 0, finer, doubled)
    return np.asarray(result)


def _sum_around(values: np.ndarray) -> np.ndarray:
    """Sum over 3 x 3 texels: [S, S, C] -> the same."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    result: np.ndarray = sliding_window_view(padded, (3, 3), axis=(0, 1)).sum((-2, -1))
    return result


def _halved(texture: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    odd = len(weight) % 2
    texture = np.pad(texture, ((0, odd), (0, odd), (0, 0)))
    weight = np.pad(weight, ((0, odd), (0, odd)))
    half = len(weight) // 2
    sums = (texture * weight[..., None]).reshape(half, 2, half, 2, -1).sum((1, 3))
    total = weight.reshape(half, 2, half, 2).sum((1, 3))
    return sums / np.maximum(total, 1e-12)[..., None], (total > 0).astype(np.float64)
