"""Assets out of GLB files: ours, and other programs' metallic-roughness ones, by trimesh.

An `Asset` has one mesh and one texture of each kind; a file may have many. So all meshes, where the file's
nodes put them, become one, and their textures the cells of one (`clearpane.reconstruction.atlas`). What a
file leaves out is as glTF 2.0 has it: white, metallic 1, roughness 1, flat triangles. Transparency, emission
and animations have no place in an asset and are left out; textures are taken to repeat.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset import Asset
from clearpane.reconstruction.atlas import CHANNELS, Part, joined

_MAGIC, _JSON = b"glTF", 0x4E4F534A
_HARMLESS = ("KHR_materials_", "KHR_lights_", "EXT_texture_webp")
_FLOATS = 5126
# Kinds of textures, the place of their channels in a stack of them, and a texel of a missing one.
_ALBEDO, _METALLIC, _ROUGHNESS, _NORMAL, _OCCLUSION = slice(0, 3), 3, 4, slice(5, 8), 8
_BLANK = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0)


def load_asset(path: Path) -> Asset:
    """The object of a GLB file. Without textures it has some of a single texel.

    Base colours from factors have trimesh's 8 bits. Colours of vertices are laid into a texture, but not
    where there is a normal map, which would no longer fit.

    Raises:
        ClearpaneError: there is no such file; it is no GLB, is damaged, has no triangles, or uses an
            extension without which it cannot be read.
        MissingExtraError: trimesh, or xatlas for colours of vertices, is not installed.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("reading assets", "3d") from error
    _check_document(path)
    try:
        scene = trimesh.load_scene(path, file_type="glb")
        parts = list(_parts(trimesh, scene))
    except (ClearpaneError, MemoryError):
        raise
    except Exception as error:  # trimesh raises almost anything on a damaged file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClearpaneError(f"{path}: truncated or damaged GLB file ({reason}); get a fresh copy") from error
    if not parts:
        raise ClearpaneError(f"{path}: holds no triangles; export the object's mesh into it")
    if not all(np.isfinite(part.vertices).all() for part in parts):
        raise ClearpaneError(f"{path}: has vertices that are not numbers; export it again")
    mesh, coordinates, normals, stack = joined(parts)
    normal_map = stack[..., _NORMAL]
    return Asset(
        mesh,
        coordinates,
        normals,
        stack[..., _ALBEDO],
        stack[..., _METALLIC],
        stack[..., _ROUGHNESS],
        normal_map / np.maximum(np.linalg.norm(normal_map, axis=-1, keepdims=True), 1e-6),
        stack[..., _OCCLUSION],
    )


def _check_document(path: Path) -> None:
    """Refuse what trimesh would read wrongly, or not say clearly."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ClearpaneError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise ClearpaneError(f"{path}: cannot be read ({error.strerror or error})") from error
    if content[:4] != _MAGIC:
        raise ClearpaneError(f"{path}: is not a GLB file (binary glTF 2.0); export the object as .glb")
    try:
        _, version, _, length, kind = struct.unpack_from("<4s4I", content)
        document = json.loads(content[20 : 20 + length])
        required = [str(name) for name in document.get("extensionsRequired", [])]
        accessors = document.get("accessors", [])
        primitives = [p for mesh in document.get("meshes", []) for p in mesh["primitives"]]
        places = [p["attributes"]["TEXCOORD_0"] for p in primitives if "TEXCOORD_0" in p["attributes"]]
        short = any(accessors[place]["componentType"] != _FLOATS for place in places)
    except (struct.error, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ClearpaneError(f"{path}: truncated or damaged GLB file; get a fresh copy") from error
    if version != 2 or kind != _JSON:
        raise ClearpaneError(f"{path}: is a GLB of version {version}, not 2; export it as glTF 2.0")
    unknown = [name for name in required if not name.startswith(_HARMLESS)]
    if unknown or short:
        what = unknown[0] if unknown else "texture coordinates as integers"
        raise ClearpaneError(f"{path}: uses {what}, which is not read; export it without compression")


def _parts(trimesh: Any, scene: Any) -> Iterator[Part]:
    """The file's meshes where its nodes put them."""
    surfaces: dict[int, Tensor] = {}
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue  # lines and points
        matrix = np.asarray(matrix, np.float64)
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-30:
            continue  # scaled to nothing: how some programs hide a thing
        material = getattr(geometry.visual, "material", None)
        if id(material) not in surfaces:
            surfaces[id(material)] = _surface(material)
        yield _part(geometry, matrix, surfaces[id(material)])


def _part(geometry: Any, matrix: np.ndarray, surface: Tensor) -> Part:
    faces = np.asarray(geometry.faces, np.int64)
    vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    coordinates = getattr(geometry.visual, "uv", None)
    if coordinates is None:
        coordinates = np.full((len(vertices), 2), 0.5)
    else:
        coordinates = np.stack([coordinates[:, 0], 1 - coordinates[:, 1]], axis=-1).astype(np.float64)
    colours = _vertex_colours(geometry.visual)
    # trimesh makes up smooth normals for a mesh without any; those that it has read are in its cache.
    given = "vertex_normals" in geometry._cache
    normals = np.asarray(geometry.vertex_normals) @ np.linalg.inv(matrix[:3, :3]) if given else None
    if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored: what was outside is again
        faces = faces[:, ::-1]
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True) if normals is not None else np.zeros(1)
    if normals is None or not np.isfinite(lengths).all() or lengths.min() < 1e-12:
        corners = faces.reshape(-1)
        vertices, coordinates = vertices[corners], coordinates[corners]
        colours = None if colours is None else colours[corners]
        faces = np.arange(len(corners)).reshape(-1, 3)
        a, b, c = (vertices[faces[:, i]] for i in range(3))
        normals = np.cross(b - a, c - a).repeat(3, axis=0)
        lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    return Part(vertices, faces, normals / np.maximum(lengths, 1e-30), coordinates, surface, colours)


def _surface(material: Any) -> Tensor:
    """A material's textures, of one size, times its factors: [9, S, S]."""
    maps: list[tuple[Any, Tensor]] = []

    def pixels(name: str) -> Tensor | None:
        image = getattr(material, name, None)
        if not isinstance(image, Image.Image):
            return None
        values = np.asarray(image.convert("RGB"), np.float32) / 255
        return torch.from_numpy(values).permute(2, 0, 1)

    base = pixels("baseColorTexture")
    if base is not None:
        maps.append((_ALBEDO, srgb_to_linear(base)))
    other = pixels("metallicRoughnessTexture")
    if other is not None:
        maps += [(_METALLIC, other[2:3]), (_ROUGHNESS, other[1:2])]
    normal = pixels("normalTexture")
    if normal is not None:
        maps.append((_NORMAL, normal * 2 - 1))
    occlusion = pixels("occlusionTexture")
    if occlusion is not None:
        maps.append((_OCCLUSION, occlusion[:1]))
    size = max([1, *(n for _, texture in maps for n in texture.shape[1:])])
    stack = torch.tensor(_BLANK)[:, None, None].repeat(1, size, size)
    for place, texture in maps:
        stack[place] = _resized(texture, size)
    colour = getattr(material, "baseColorFactor", None)
    if colour is not None:
        stack[_ALBEDO] *= torch.tensor(np.asarray(colour)[:3] / 255.0).float()[:, None, None]
    for place, name in ((_METALLIC, "metallicFactor"), (_ROUGHNESS, "roughnessFactor")):
        factor = getattr(material, name, None)
        if factor is not None:
            stack[place] *= float(factor)
    assert len(stack) == CHANNELS
    return stack


def _resized(texture: Tensor, size: int) -> Tensor:
    if texture.shape[1:] == (size, size):
        return texture
    return F.interpolate(texture[None], (size, size), mode="bilinear", align_corners=False)[0]


def _vertex_colours(visual: Any) -> np.ndarray | None:
    """Linear, [V, 3]; None where there are none."""
    if visual.kind == "vertex":
        return np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255
    colours = getattr(visual, "vertex_attributes", {}).get("color")
    if colours is None:
        return None
    colours = np.asarray(colours)
    scale = np.iinfo(colours.dtype).max if colours.dtype.kind in "iu" else 1
    return np.asarray(colours[:, :3] / float(scale))
