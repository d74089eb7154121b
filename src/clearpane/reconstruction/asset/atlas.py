"""Merge the parts of an object, each with its own textures, into one mesh with one texture of each kind."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.mesh import Mesh
from clearpane.reconstruction.asset.unwrapping import fill_gaps, find_texels, unwrap

CHANNELS = 9
"""Channels of a stack of textures: albedo, metallic, roughness, normal map, occlusion."""
_COLOUR, _NORMAL = slice(0, 3), slice(5, 8)

_LARGEST = 4096
# Texels around a cell that continue its texture, for bilinear filtering.
_EDGE = 2
# Texels along a side for each triangle's colours, where there is enough room.
_TEXELS_A_TRIANGLE = 4
# Coordinates this little outside [0, 1] are rounding, not repetition.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Part:
    """Hold a mesh with its own textures.

    Attributes:
        vertices: Positions [V, 3].
        faces: Vertex indices of the triangles [F, 3].
        normals: Unit normals of the vertices [V, 3].
        coordinates: Texture coordinates [V, 2] from the upper left corner; the texture repeats beyond [0, 1].
        surface: Stack of textures [9, S, S], shared by the parts of one material.
        colours: Linear vertex colours [V, 3] that multiply the albedo, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    coordinates: np.ndarray
    surface: Tensor
    colours: np.ndarray | None = None


def cell_side(count: int) -> int:
    """Return the side, in texels, that each of ``count`` textures may have in an atlas of 4096 x 4096."""
    return _LARGEST if count <= 1 else max(1, _LARGEST // math.ceil(math.sqrt(count)) - 2 * _EDGE)


def joined(parts: Sequence[Part]) -> tuple[Mesh, np.ndarray, np.ndarray, np.ndarray]:
    """Merge parts into one mesh, texture coordinates [V, 2], normals [V, 3] and textures [S, S, 9].

    Parts with different textures get a cell each, all cells of one size; no texture is larger than 4096.
    Cells are drawn one after the other, at their final size.

    Raises:
        MissingExtraError: A part has vertex colours, and xatlas is not installed.
    """
    cells = [_Cell.of(part) for part in parts]
    kinds = {cell.key for cell in cells}
    side = min(cell_side(len(kinds)), max(cell.size for cell in cells))
    edge, grid = (_EDGE if len(kinds) > 1 else 0), math.ceil(math.sqrt(len(kinds)))
    step = side + 2 * edge
    whole = torch.zeros(CHANNELS, grid * step, grid * step)
    whole[_NORMAL.stop - 1] = 1
    corners: dict[Hashable, np.ndarray] = {}
    drawn, faces, count = [], [], 0
    for cell in cells:
        part = cell.placed(side)
        if cell.key not in corners:
            row, column = (n * step for n in divmod(len(corners), grid))
            edged = F.pad(cell.draw(part, side)[None], (edge,) * 4, mode="replicate")[0]
            whole[:, row : row + step, column : column + step] = edged
            corners[cell.key] = np.asarray([column + edge, row + edge])
        coordinates = (corners[cell.key] + side * part.coordinates) / (grid * step)
        drawn.append(replace(part, coordinates=coordinates))
        faces.append(part.faces + count)
        count += len(part.vertices)
    vertices, normals, coordinates = (
        np.concatenate([getattr(part, name) for part in drawn])
        for name in ("vertices", "normals", "coordinates")
    )
    mesh = Mesh(vertices, np.concatenate(faces))
    return mesh, coordinates, normals, whole.permute(1, 2, 0).numpy()


@dataclass(frozen=True, eq=False)
class _Cell:
    """Describe the piece of texture that a part shows.

    Attributes:
        part: Part to show.
        painted: True for a part with several vertex colours, which gets a texture of its own.
        tint: Linear colour of all vertices, for a part that is not painted.
        low: Smallest whole texture coordinates of the part [2].
        times: Repetitions of the textures across and down, counted from ``low``.
    """

    part: Part
    painted: bool
    tint: tuple[float, ...]
    low: np.ndarray
    times: tuple[int, int]

    @classmethod
    def of(cls, part: Part) -> "_Cell":
        tint, colours = (1.0, 1.0, 1.0), part.colours
        painted = False
        if colours is not None:
            if np.ptp(colours, axis=0).max() < 1e-6:
                tint = tuple(colours[0].tolist())
            else:  # new texture coordinates would break a normal map
                flat = part.surface.new_tensor([0.0, 0.0, 1.0])[:, None, None]
                painted = bool((part.surface[_NORMAL] - flat).abs().max() <= 1e-2)
        low = np.floor(part.coordinates.min(0) + _ROUNDING)
        times = np.maximum(np.ceil(part.coordinates.max(0) - _ROUNDING) - low, 1)
        across, down = (int(n) for n in times)
        return cls(part, painted, tint, low, (across, down))

    @property
    def key(self) -> Hashable:
        """Return a key that is equal for cells with equal content."""
        return id(self.part) if self.painted else (id(self.part.surface), self.tint, self.times)

    @property
    def size(self) -> int:
        """Return the side, in texels, that the cell would have by itself."""
        size = self.part.surface.shape[-1]
        if self.painted:
            wanted = _TEXELS_A_TRIANGLE * math.sqrt(len(self.part.faces))
            return max(64, size, int(2 ** math.ceil(math.log2(wanted))))
        return size * max(self.times)

    def placed(self, side: int) -> Part:
        """Return the part with coordinates in [0, 1] of a cell of ``side`` texels."""
        if self.painted:
            return _painted(self.part, min(self.size, side))
        times = np.asarray(self.times)
        return replace(self.part, coordinates=np.clip((self.part.coordinates - self.low) / times, 0, 1))

    def draw(self, placed: Part, side: int) -> Tensor:
        """Draw the cell, [9, side, side]."""
        if self.painted:
            return scaled(placed.surface, (side, side))
        across, down = (min(n, side) for n in self.times)
        single = scaled(self.part.surface, (side // down, side // across))
        drawn = scaled(single.repeat(1, down, across), (side, side))
        drawn[_COLOUR] *= torch.tensor(self.tint)[:, None, None]
        return drawn


def _painted(part: Part, size: int) -> Part:
    """Unwrap the part anew, with its vertex colours multiplied into the albedo."""
    assert part.colours is not None
    laid = unwrap(Mesh(part.vertices, part.faces), size)
    texels = find_texels(laid, size)
    faces = laid.mesh.faces
    where = texels.interpolate(part.coordinates[laid.source], faces)
    values = _sampled(part.surface, where % 1.0)
    values[:, _COLOUR] *= texels.interpolate(part.colours[laid.source], faces)
    texture, filled = np.zeros((size**2, CHANNELS)), np.zeros(size**2, bool)
    texture[texels.index], filled[texels.index] = values, True
    filling = fill_gaps(texture.reshape(size, size, -1), filled.reshape(size, size))
    return Part(
        laid.mesh.vertices,
        faces,
        part.normals[laid.source],
        laid.coordinates,
        torch.from_numpy(filling).float().permute(2, 0, 1),
    )


def _sampled(surface: Tensor, coordinates: np.ndarray) -> np.ndarray:
    """Sample textures bilinearly at points: [P, 2] -> [P, 9]."""
    place = torch.from_numpy(2 * coordinates - 1).float()[None, None]
    found = F.grid_sample(surface[None], place, padding_mode="border", align_corners=False)
    return found[0, :, 0].T.double().numpy()


def scaled(textures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize textures [C, H, W]; where they shrink, average the texels."""
    if textures.shape[1:] == size:
        return textures
    smaller = any(new < old for new, old in zip(size, textures.shape[1:], strict=True))
    return F.interpolate(textures[None], size, mode="bilinear", align_corners=False, antialias=smaller)[0]
