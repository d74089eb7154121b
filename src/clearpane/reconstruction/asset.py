"""A textured object and its files: glTF 2.0 (GLB), OBJ and PLY, written by trimesh.

glTF's conventions: y up, metres, texture rows from the top; base colour as sRGB, everything else as plain
numbers; roughness in the green channel, metallic in the blue one, occlusion in the red one; normals in the
tangent space of the texture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images.writing import atomic_folder, atomic_path
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.mesh import Mesh

FORMATS = (".glb", ".obj", ".ply")


@dataclass(frozen=True, eq=False)
class Asset:
    """A mesh with its materials as textures, all of one size.

    Attributes:
        mesh: vertices along seams are there once for each chart.
        coordinates: of its vertices, [V, 2] in [0, 1], from the texture's upper left corner.
        normals: of its vertices, unit length, [V, 3].
        albedo: linear, [S, S, 3].
        metallic, roughness: [S, S].
        normal_map: in tangent space, unit length, [S, S, 3]; z is away from the surface.
        occlusion: how much of the sky is not hidden, [S, S].
    """

    mesh: Mesh
    coordinates: np.ndarray
    normals: np.ndarray
    albedo: np.ndarray
    metallic: np.ndarray
    roughness: np.ndarray
    normal_map: np.ndarray
    occlusion: np.ndarray


def save_asset(asset: Asset, path: Path, overwrite: bool = False) -> None:
    """Write an asset, whole or not at all, in the format that the file's name ends in.

    ``.glb`` is one file with all textures. ``.obj`` and ``.ply`` have no place for all of them: the first
    becomes a folder of that name with the mesh, its material file and the base colour; the second has the
    base colour at its vertices.

    Raises:
        ClearpaneError: another ending, a file that is there, or one that cannot be written.
        MissingExtraError: trimesh is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise ClearpaneError(f"{path}: an asset is written as {', '.join(FORMATS)}")
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("writing meshes", "3d") from error
    match path.suffix.lower():
        case ".glb":
            content = _textured(trimesh, asset).export(file_type="glb", include_normals=True)
            with atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(content)
        case ".obj":
            text, files = trimesh.exchange.obj.export_obj(
                _textured(trimesh, asset), include_normals=True, return_texture=True, mtl_name="material.mtl"
            )
            with atomic_folder(path.with_suffix(""), overwrite=overwrite) as folder:
                (folder / path.name).write_text(text, encoding="utf-8")
                for name, data in files.items():
                    (folder / name).write_bytes(data)
        case _:
            content = _coloured(trimesh, asset).export(file_type="ply", vertex_normal=True)
            with atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(content)


def _textured(trimesh: Any, asset: Asset) -> Any:
    """trimesh's mesh with glTF's material; its texture coordinates count from the lower left corner."""
    material = trimesh.visual.material.PBRMaterial(
        name="object",
        baseColorTexture=_image(linear_to_srgb(np.clip(asset.albedo, 0, 1))),
        metallicRoughnessTexture=_image(
            np.stack([np.zeros_like(asset.roughness), asset.roughness, asset.metallic], axis=-1)
        ),
        normalTexture=_image(asset.normal_map / 2 + 0.5),
        occlusionTexture=_image(np.repeat(asset.occlusion[..., None], 3, axis=-1)),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    coordinates = np.stack([asset.coordinates[:, 0], 1 - asset.coordinates[:, 1]], axis=-1)
    return trimesh.Trimesh(
        asset.mesh.vertices,
        asset.mesh.faces,
        vertex_normals=asset.normals,
        visual=trimesh.visual.TextureVisuals(uv=coordinates, material=material),
        process=False,
    )


def _coloured(trimesh: Any, asset: Asset) -> Any:
    """trimesh's mesh with the base colour at its vertices."""
    size = len(asset.albedo)
    column, row = np.clip((asset.coordinates * size).astype(np.int64), 0, size - 1).T
    colours = np.asarray(_image(linear_to_srgb(np.clip(asset.albedo, 0, 1))))[row, column]
    return trimesh.Trimesh(
        asset.mesh.vertices,
        asset.mesh.faces,
        vertex_normals=asset.normals,
        vertex_colors=colours,
        process=False,
    )


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(255 * np.clip(values, 0, 1)).astype(np.uint8))
