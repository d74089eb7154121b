"""Write textured objects as glTF 2.0 (GLB), OBJ and PLY, with trimesh.

glTF's conventions: y up, metres, texture rows from the top; base colour as sRGB, everything else as plain
numbers; roughness in the green channel, metallic in the blue one, occlusion in the red one; normals in the
tangent space of the texture.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.files import atomic_path
from clearpane.geometry.mesh import Mesh
from clearpane.optics.color import linear_to_srgb
from clearpane.streams import Target, atomic_target, source_name

FORMATS = (".glb", ".obj", ".ply")


@dataclass(frozen=True, eq=False)
class Asset:
    """Hold a mesh and its materials as textures, all of one size.

    Attributes:
        mesh: Triangles; vertices along seams are repeated, once for each chart.
        coordinates: Texture coordinates of the vertices [V, 2], in [0, 1], from the texture's upper left
            corner.
        normals: Unit normals of the vertices [V, 3].
        albedo: Linear base colour [S, S, 3].
        metallic, roughness: Material parameters [S, S], in [0, 1].
        normal_map: Unit normals in tangent space [S, S, 3]; z points away from the surface.
        occlusion: Unoccluded fraction of the sky [S, S], in [0, 1].

    >>> triangle = Mesh(np.eye(3), np.asarray([[0, 1, 2]]))
    >>> up, plain = np.full((3, 3), 3**-0.5), np.full((2, 2), 0.5)
    >>> normal_map = np.broadcast_to([0.0, 0.0, 1.0], (2, 2, 3))
    >>> albedo = np.full((2, 2, 3), 0.5)
    >>> asset = Asset(triangle, np.eye(3, 2), up, albedo, plain, plain, normal_map, plain)
    >>> len(asset.mesh.faces), asset.albedo.shape
    (1, (2, 2, 3))
    """

    mesh: Mesh
    coordinates: np.ndarray
    normals: np.ndarray
    albedo: np.ndarray
    metallic: np.ndarray
    roughness: np.ndarray
    normal_map: np.ndarray
    occlusion: np.ndarray


def save_asset(asset: Asset, target: Target, overwrite: bool = False) -> None:
    """Write an asset, each file whole or not at all, in the format that the file's name ends in.

    ``duck.glb`` is one file with all textures. The other formats cannot hold all of them: ``duck.obj`` has
    the base colour beside it, as ``duck.mtl`` and ``duck_albedo.png`` (spaces in these names become ``_``),
    and ``duck.ply`` stores it at the vertices. No folder is ever replaced.
    A binary stream gets a GLB.

    Args:
        asset: Asset to write.
        target: Path or binary stream; see `clearpane.streams.Target`.
        overwrite: True to replace existing files.

    Raises:
        ClearpaneError: See `check_asset_path`; or a file or the stream cannot be written.
        MissingExtraError: Trimesh is not installed.

    >>> import io
    >>> triangle = Mesh(np.eye(3), np.asarray([[0, 1, 2]]))
    >>> up, plain = np.full((3, 3), 3**-0.5), np.full((2, 2), 0.5)
    >>> colour = np.full((2, 2, 3), 0.5)
    >>> file = io.BytesIO()
    >>> save_asset(Asset(triangle, np.eye(3, 2), up, colour, plain, plain, colour, plain), file)
    >>> file.getvalue()[:4]
    b'glTF'
    """
    path = Path(target) if isinstance(target, str | os.PathLike) else None
    kind = Path(source_name(target, "the asset")).suffix.lower() or ".glb"
    if path is not None:
        check_asset_path(path, overwrite)
    elif kind != ".glb":
        raise ClearpaneError(f"{source_name(target, 'the asset')}: a stream gets a GLB; give a path")
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("writing meshes", "3d") from error
    if path is not None and kind == ".obj":
        _save_obj(trimesh, asset, path, overwrite)
        return
    if kind == ".ply":
        content = _coloured(trimesh, asset).export(file_type="ply", vertex_normal=True)
    else:
        content = _textured(trimesh, asset).export(file_type="glb", include_normals=True)
    with atomic_target(target, "the asset", overwrite) as temporary:
        temporary.write_bytes(content)


def _save_obj(trimesh: Any, asset: Asset, path: Path, overwrite: bool) -> None:
    library, texture = _beside_obj(path)
    text, files = trimesh.exchange.obj.export_obj(
        _textured(trimesh, asset, texture.stem),
        include_normals=True,
        return_texture=True,
        mtl_name=library.name,
    )
    for name, data in {**files, path.name: text.encode()}.items():  # the mesh last: it names the rest
        with atomic_path(path.with_name(name), overwrite=overwrite) as temporary:
            temporary.write_bytes(data)


def check_asset_path(path: Path, overwrite: bool = False) -> None:
    """Refuse a path that `save_asset` cannot write to, before hours are spent on the asset.

    Raises:
        ClearpaneError: The suffix is not supported; the parent folder is missing; a file that would be
            written exists and may not be overwritten, or is a folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise ClearpaneError(f"{path}: an asset is written as {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ClearpaneError(f"{path}: there is no folder {path.parent}; make it first")
    beside = _beside_obj(path) if path.suffix.lower() == ".obj" else ()
    for target in (path, *beside):
        if target.is_dir():
            raise ClearpaneError(f"{target}: is a folder, which no asset replaces; choose another name")
        if os.path.lexists(target) and not overwrite:
            raise ClearpaneError(
                f"{target}: exists already; allow overwriting (`overwrite`) or choose another name"
            )


def _beside_obj(path: Path) -> tuple[Path, Path]:
    """Name the material file and the texture of an OBJ; its syntax has no room for spaces in their names."""
    stem = "_".join(path.stem.split())
    return path.with_name(f"{stem}.mtl"), path.with_name(f"{stem}_albedo.png")


def _textured(trimesh: Any, asset: Asset, name: str = "object") -> Any:
    """Make trimesh's mesh with glTF's material; its texture coordinates count from the lower left corner."""
    material = trimesh.visual.material.PBRMaterial(
        name=name,
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
    """Make trimesh's mesh with the base colour at its vertices."""
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
