"""Bake a fitted object into an asset: triangles of its surface, and textures sampled from the field."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.geometry.mesh import Mesh, extract_surface, largest_pieces, simplify, unit
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.unwrapping import Texels, UnwrappedMesh, fill_gaps, find_texels, unwrap
from clearpane.reconstruction.field.evidence import sample_volume, voxel_centres
from clearpane.reconstruction.field.rendering import Field

_AT_ONCE = 1 << 16
# A texel of a simplified triangle is moved to the field's surface, but no farther than this, metres.
_PULLS, _FARTHEST_PULL = 2, 0.02
_OCCLUSION_GRID, _OCCLUSION_RAYS, _OCCLUSION_STEPS = 64, 64, 32
# Height above the surface at which occlusion rays start, and their length, metres.
_OCCLUSION_OFFSET, _OCCLUSION_REACH = 0.02, 1.0


Detail = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function from surface points, their unit normals and their albedo to a better albedo: [P, 3] each."""


@dataclass(frozen=True)
class AssetSettings:
    """Set the resolution of an asset.

    Attributes:
        resolution: Cells along a side of the grid for surface extraction.
        faces: Largest number of triangles.
        texture: Side of the textures, pixels.
    """

    resolution: int = 192
    faces: int = 30_000
    texture: int = 1024


@torch.no_grad()
def bake_asset(field: Field, settings: AssetSettings, detail: Detail | None = None) -> Asset:
    """Bake a field into an asset, in the cube's world.

    Args:
        detail: Gives the albedo of the texels finer detail than the field has.

    Raises:
        ClearpaneError: The field has no surface.
        MissingExtraError: A package of the extra [3d] is not installed.
    """

    def distance(points: np.ndarray) -> np.ndarray:
        return field.signed_distance(torch.from_numpy(points))[:, 0].numpy()

    mesh = largest_pieces(extract_surface(distance, settings.resolution))
    mesh = simplify(mesh, settings.faces)
    normals = vertex_normals(mesh)
    occlusion = ambient_occlusion(field, mesh.vertices, normals)
    unwrapped = unwrap(mesh, settings.texture)
    texels = find_texels(unwrapped, settings.texture)
    faces = unwrapped.mesh.faces
    of_texels = unit(texels.interpolate(normals[unwrapped.source], faces))
    surface = _surface(field, texels.interpolate(unwrapped.mesh.vertices, faces), of_texels, detail)
    frame = tangent_frames(unwrapped, normals[unwrapped.source], texels)
    local = np.einsum("tij,tj->ti", frame, surface["normal"])
    # A normal below its own triangle could not be represented.
    local = unit(np.concatenate([local[:, :2], np.maximum(local[:, 2:], 0.1)], axis=-1))
    bare = texels.interpolate(occlusion[unwrapped.source, None], faces)
    values = [surface["albedo"], surface["metallic"], surface["roughness"], local, bare]
    size = settings.texture
    whole, filled = np.zeros((size * size, 9)), np.zeros(size * size, bool)
    whole[texels.index], filled[texels.index] = np.concatenate(values, axis=-1), True
    textures = fill_gaps(whole.reshape(size, size, -1), filled.reshape(size, size))
    return Asset(
        unwrapped.mesh,
        unwrapped.coordinates,
        normals[unwrapped.source],
        textures[..., :3],
        textures[..., 3],
        textures[..., 4],
        unit(textures[..., 5:8]),
        textures[..., 8],
    )


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """Average the normals of each vertex's triangles, weighted by area, to length 1: [V, 3].

    A vertex whose triangles all have no area, and so are invisible, gets the up direction.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    weighted = np.cross(b - a, c - a)
    total = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], weighted)
    seen = np.linalg.norm(total, axis=-1, keepdims=True) > 1e-12
    return unit(np.where(seen, total, [0.0, 1.0, 0.0]))


def tangent_frames(unwrapped: UnwrappedMesh, normals: np.ndarray, texels: Texels) -> np.ndarray:
    """Return tangent, bitangent and normal of each texel as rows, [T, 3, 3], as glTF viewers compute them.

    The tangent is the direction in which u grows, ``dP / du``; the bitangent points up in the texture,
    against v.
    """
    faces = unwrapped.mesh.faces
    corners, flat = unwrapped.mesh.vertices[faces], unwrapped.coordinates[faces]
    edges, (first, second) = corners[:, 1:] - corners[:, :1], (flat[:, i] - flat[:, 0] for i in (1, 2))
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    # The length does not matter: times the sign of the area, this is dP / du times the area.
    tangent = (edges[:, 0] * second[:, 1:] - edges[:, 1] * first[:, 1:]) * np.sign(area)[:, None]
    total = np.zeros_like(unwrapped.mesh.vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], tangent)
    normal = unit(texels.interpolate(normals, faces))
    along = texels.interpolate(unit(total), faces)
    along = unit(along - (along * normal).sum(-1, keepdims=True) * normal)
    # In a texture whose v points down, a chart that is not mirrored has the opposite orientation.
    mirrored = np.where(area[texels.face] > 0, -1.0, 1.0)[:, None]
    return np.stack([along, mirrored * np.cross(normal, along), normal], axis=1)


def ambient_occlusion(field: Field, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Compute the cosine-weighted fraction of the sky that surface points see: [P], in [0, 1].

    Each point casts 64 rays, traced through the distance on a coarse grid.
    """
    grid = voxel_centres(_OCCLUSION_GRID, torch.zeros(()))
    distances = torch.cat([field.signed_distance(part) for part in grid.reshape(-1, 3).split(_AT_ONCE)])
    volume = distances.reshape(1, 1, *grid.shape[:3])
    place, normal = (torch.from_numpy(x).float() for x in (points, normals))
    start = place + _OCCLUSION_OFFSET * normal
    seen = torch.zeros(len(place))
    for index in range(_OCCLUSION_RAYS):
        # The normal plus a point of the unit sphere is distributed as the cosine.
        height = 1 - 2 * (index + 0.5) / _OCCLUSION_RAYS
        azimuth = index * torch.pi * (3 - 5**0.5)
        level = (1 - height**2) ** 0.5
        offset = place.new_tensor([level * np.cos(azimuth), height, level * np.sin(azimuth)])
        seen += _unoccluded(volume, start, F.normalize(normal + 0.999 * offset, dim=-1))
    return np.asarray((seen / _OCCLUSION_RAYS).numpy())


def _unoccluded(volume: Tensor, start: Tensor, directions: Tensor) -> Tensor:
    """Return 1 for rays that leave without meeting the surface, else 0: [P]."""
    step = _OCCLUSION_REACH / _OCCLUSION_STEPS
    free = torch.ones(len(start))
    going = torch.arange(len(start))
    along = torch.zeros(len(start), 1)
    for _ in range(_OCCLUSION_STEPS):
        place = start[going] + along * directions[going]
        distance = sample_volume(volume, place)
        blocked = distance[:, 0] <= 0
        free[going[blocked]] = 0
        on = (~blocked & (place.abs().amax(-1) < HALF_SIZE)).nonzero()[:, 0]
        if not len(on):
            break
        along = along[on] + distance[on].clamp(min=step)
        going = going[on]
    return free


def _surface(
    field: Field, points: np.ndarray, normals: np.ndarray, detail: Detail | None
) -> dict[str, np.ndarray]:
    """Evaluate the field at points moved to its surface and seen from straight above."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("albedo", "metallic", "roughness", "normal")}
    place, normal = (torch.from_numpy(x).float() for x in (points, normals))
    places = []
    for part, up in zip(place.split(_AT_ONCE), normal.split(_AT_ONCE), strict=True):
        moved = part
        for _ in range(_PULLS):
            moved = moved - field.signed_distance(moved).clamp(-_FARTHEST_PULL, _FARTHEST_PULL) * up
        places.append(moved)
        appearance = field.appearance(moved, up)
        for name, values in found.items():
            values.append(getattr(appearance, name))
    result = {name: torch.cat(values) for name, values in found.items()}
    if detail is not None:
        result["albedo"] = detail(torch.cat(places), normal, result["albedo"])
    return {name: values.double().numpy() for name, values in result.items()}
