"""Parts of an object, each with its own textures, made one mesh with one texture of each kind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.mesh import Mesh
from clearpane.reconstruction.unwrapping import fill_gaps, find_texels, unwrap

CHANNELS = 9
"""Of a stack of textures: albedo, metallic, roughness, normal map, occlusion."""
_COLOUR, _NORMAL = slice(0, 3), slice(5, 8)

_LARGEST = 4096
# Texels around a cell that go on as the texture does, for what looks between texels.
_EDGE = 2
# Texels along a side for each triangle's colours, as far as there is room.
_TEXELS_A_TRIANGLE = 4
# Coordinates so little outside [0, 1] are rounding, not repetition.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh with its own textures.

    Attributes:
        vertices: [V, 3].
        faces: [F, 3].
        normals: of unit length, [V, 3].
        coordinates: from the texture's upper left corner, [V, 2]; beyond [0, 1] it is repeated.
        surface: its textures, [9, S, S]; shared by parts of one material.
        colours: of its vertices, linear, [V, 3], which multiply the albedo; or none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    coordinates: np.ndarray
    surface: Tensor
    colours: np.ndarray | None = None


def joined(parts: Sequence[Part]) -> tuple[Mesh, np.ndarray, np.ndarray, np.ndarray]:
    """One mesh, its texture coordinates [V, 2] and normals [V, 3], and its textures [S, S, 9].

    Parts of different textures get a cell each, all cells of one size; no texture is larger than 4096.

    Raises:
        MissingExtraError: there are colours of vertices, and xatlas is not installed.
    """
    parts = [_unrepeated(_coloured(part)) for part in parts]
    surfaces = {id(part.surface): part.surface for part in parts}
    stack, windows = _laid_out(list(surfaces.values()))
    places = dict(zip(surfaces, windows, strict=True))
    coordinates, faces, count = [], [], 0
    for part in parts:
        corner, size = places[id(part.surface)]
        coordinates.append(corner + size * part.coordinates)
        faces.append(part.faces + count)
        count += len(part.vertices)
    mesh = Mesh(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))
    normals = np.concatenate([part.normals for part in parts])
    return mesh, np.concatenate(coordinates), normals, stack.permute(1, 2, 0).numpy()


def _coloured(part: Part) -> Part:
    """Colours of vertices as albedo."""
    colours = part.colours
    if colours is None:
        return part
    if np.ptp(colours, axis=0).max() < 1e-6:
        surface = part.surface.clone()
        surface[_COLOUR] *= torch.from_numpy(colours[0]).float()[:, None, None]
        return replace(part, surface=surface, colours=None)
    flat = part.surface.new_tensor([0.0, 0.0, 1.0])[:, None, None]
    if (part.surface[_NORMAL] - flat).abs().max() > 1e-2:
        return replace(part, colours=None)
    wanted = _TEXELS_A_TRIANGLE * math.sqrt(len(part.faces))
    size = min(_LARGEST, max(64, part.surface.shape[-1], 2 ** math.ceil(math.log2(wanted))))
    laid = unwrap(Mesh(part.vertices, part.faces), size)
    texels = find_texels(laid, size)
    faces = laid.mesh.faces
    where = texels.interpolate(part.coordinates[laid.source], faces)
    values = _sampled(part.surface, where % 1.0)
    values[:, _COLOUR] *= texels.interpolate(colours[laid.source], faces)
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
    """Textures at points, between texels: [P, 2] -> [P, 9]."""
    place = torch.from_numpy(2 * coordinates - 1).float()[None, None]
    found = F.grid_sample(surface[None], place, padding_mode="border", align_corners=False)
    return found[0, :, 0].T.double().numpy()


def _unrepeated(part: Part) -> Part:
    """The texture written out as often as it is repeated, so that coordinates are in [0, 1]."""
    low = np.floor(part.coordinates.min(0) + _ROUNDING)
    times = np.maximum(np.ceil(part.coordinates.max(0) - _ROUNDING) - low, 1)
    coordinates = np.clip((part.coordinates - low) / times, 0, 1)
    if (times == 1).all():
        return replace(part, coordinates=coordinates)
    size = min(_LARGEST, int(part.surface.shape[-1] * times.max()))
    across, down = (int(n) for n in np.minimum(times, size))
    single = _scaled(part.surface, (size // down, size // across))
    surface = _scaled(single.repeat(1, down, across), (size, size))
    return replace(part, coordinates=coordinates, surface=surface)


def _laid_out(surfaces: Sequence[Tensor]) -> tuple[Tensor, list[tuple[np.ndarray, float]]]:
    """All textures as one, [9, S, S], and each one's upper left corner and side in it, in shares of S."""
    largest = max(surface.shape[-1] for surface in surfaces)
    if len(surfaces) == 1:
        size = min(largest, _LARGEST)
        return _scaled(surfaces[0], (size, size)), [(np.zeros(2), 1.0)]
    grid = math.ceil(math.sqrt(len(surfaces)))
    side = max(1, min(largest, _LARGEST // grid - 2 * _EDGE))
    cell = side + 2 * _EDGE
    whole = torch.zeros(CHANNELS, grid * cell, grid * cell)
    whole[_NORMAL.stop - 1] = 1
    windows = []
    for index, surface in enumerate(surfaces):
        row, column = (n * cell for n in divmod(index, grid))
        edged = F.pad(_scaled(surface, (side, side))[None], (_EDGE,) * 4, mode="replicate")[0]
        whole[:, row : row + cell, column : column + cell] = edged
        windows.append((np.asarray([column + _EDGE, row + _EDGE]) / (grid * cell), side / (grid * cell)))
    return whole, windows


def _scaled(surface: Tensor, size: tuple[int, int]) -> Tensor:
    if surface.shape[1:] == size:
        return surface
    smaller = size[0] < surface.shape[1]
    return F.interpolate(surface[None], size, mode="bilinear", align_corners=False, antialias=smaller)[0]
