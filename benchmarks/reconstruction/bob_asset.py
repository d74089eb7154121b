"""Make the mesh bob an asset: with its own texture at a roughness of 0.3, or tri-planar metal007."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import trimesh
from torch.nn import functional as F

from clearpane.geometry.mesh import Mesh
from clearpane.images.reading import read_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.baking import vertex_normals
from clearpane.reconstruction.asset.unwrapping import UnwrappedMesh, fill_gaps, find_texels
from clearpane.synthesis.objects.materials import Material, load_materials, material_values

BobMaterial = Literal["its texture", "metal007"]
MATERIALS: tuple[BobMaterial, ...] = ("its texture", "metal007")
_ROUGHNESS = 0.3
_SIZE = 1024
# Repeats of the metal per metre of an object a metre long; its projections blend by this power.
_PERIOD, _BLEND = 0.5, 4


def bob_asset(data: Path, material: BobMaterial) -> Asset:
    """Make bob's asset in the cube: the longest side of its box is 1 metre.

    Args:
        data: Folder with objects/bob and materials.
    """
    folder = data / "objects" / "bob"
    unwrapped, normals = _bob_mesh(folder / "bob_tri.obj")
    even = np.ones((_SIZE, _SIZE))
    if material == "metal007":
        albedo, metallic, roughness = _triplanar(data / "materials", unwrapped, normals)
    else:
        own = torch.from_numpy(srgb_to_linear(read_picture(folder / "bob_diffuse.png").pixels[..., :3]))
        resized = F.interpolate(own.movedim(-1, 0)[None].float(), (_SIZE, _SIZE), mode="area")[0]
        albedo, metallic, roughness = resized.movedim(0, -1).numpy(), 0 * even, _ROUGHNESS * even
    flat = np.concatenate([np.zeros((_SIZE, _SIZE, 2)), even[..., None]], axis=-1)
    return Asset(unwrapped.mesh, unwrapped.coordinates, normals, albedo, metallic, roughness, flat, even)


def _bob_mesh(path: Path) -> tuple[UnwrappedMesh, np.ndarray]:
    """Return bob with its own texture coordinates, and normals that are smooth across their seams."""
    loaded = trimesh.load_mesh(path, process=False)
    vertices = np.asarray(loaded.vertices, np.float64)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / (high - low).max()
    faces = np.asarray(loaded.faces, np.int64)
    coordinates = np.asarray(loaded.visual.uv, np.float64)
    coordinates = np.stack([coordinates[:, 0], 1 - coordinates[:, 1]], axis=-1)
    _, first, index = np.unique(vertices.round(6), axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    normals = vertex_normals(Mesh(vertices[first], index[faces]))[index]
    return UnwrappedMesh(Mesh(vertices, faces), coordinates, index), normals


def _triplanar(
    materials: Path, unwrapped: UnwrappedMesh, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute albedo, metallic and roughness of a texture set projected along x, y and z."""
    names = sorted(p.name for p in materials.iterdir() if p.is_dir() and not p.name.startswith("."))
    texture = load_materials(materials)[names.index("metal007")]
    texels = find_texels(unwrapped, _SIZE)
    faces = unwrapped.mesh.faces
    points = texels.interpolate(unwrapped.mesh.vertices, faces)
    weights = np.abs(texels.interpolate(normals, faces)) ** _BLEND
    weights /= weights.sum(-1, keepdims=True)
    material = Material((texture,), _PERIOD, torch.zeros(2))
    place, share = (torch.from_numpy(x).float() for x in (points, weights))
    values = material_values(material, place, share, footprint=0.0).double().numpy()
    whole, filled = np.zeros((_SIZE * _SIZE, 5)), np.zeros(_SIZE * _SIZE, bool)
    whole[texels.index], filled[texels.index] = values, True
    whole = fill_gaps(whole.reshape(_SIZE, _SIZE, 5), filled.reshape(_SIZE, _SIZE))
    return whole[..., :3], whole[..., 3], whole[..., 4]
