"""Read assets from GLB files: ours, and metallic-roughness ones of other programs, with trimesh.

An `Asset` has one mesh and one texture of each kind; a file may have many. All meshes are transformed by the
file's nodes and merged into one, and their textures become the cells of an atlas
(`clearpane.reconstruction.asset.atlas`). Missing properties take glTF 2.0's defaults: white, metallic 1,
roughness 1, flat triangles. Transparency, emission and animations are dropped; textures are assumed to
repeat.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.mesh import unit
from clearpane.json_files import parse_untyped
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.atlas import CHANNELS, Part, cell_side, joined, scaled
from clearpane.reconstruction.asset.embedding import embed_files
from clearpane.reconstruction.asset.primitives import COLOUR, as_triangles, check_accessors
from clearpane.streams import Content, Source, content_of

_MAGIC, _JSON, _BINARY = b"glTF", 0x4E4F534A, 0x004E4942
_HARMLESS = ("KHR_materials_", "KHR_lights_", "EXT_texture_webp", "KHR_texture_transform")
_FLOATS = 5126
# A texture transform that changes nothing.
_STILL = {"offset": [0, 0], "rotation": 0, "scale": [1, 1]}
# Channels of each kind of texture in a stack, and the value of a texel whose texture is missing.
_ALBEDO, _METALLIC, _ROUGHNESS, _NORMAL, _OCCLUSION = slice(0, 3), 3, 4, slice(5, 8), 8
_BLANK = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0)
# Decoding of a file's 256 levels, and the channels of the stack that each channel of a file fills.
_PLAIN = np.arange(256, dtype=np.float32) / 255
_LIGHT, _SIGNED = np.asarray(srgb_to_linear(_PLAIN)), 2 * _PLAIN - 1
_TEXTURES = {
    "baseColorTexture": [(channel, channel, _LIGHT) for channel in range(3)],
    "metallicRoughnessTexture": [(2, _METALLIC, _PLAIN), (1, _ROUGHNESS, _PLAIN)],
    "normalTexture": [(channel, _NORMAL.start + channel, _SIGNED) for channel in range(3)],
    "occlusionTexture": [(0, _OCCLUSION, _PLAIN)],
}


def load_asset(source: Source) -> Asset:
    """Read the object of a GLB file. An object without textures gets textures of a single texel.

    Base colour factors are read at trimesh's 8 bits. Vertex colours are baked into a texture, except where
    there is a normal map, which would no longer fit.

    Args:
        source: Path, bytes or binary stream. Only a file can refer to textures that lie beside it.

    Raises:
        ClearpaneError: The file does not exist, is no GLB, is damaged or has no triangles; it requires an
            unknown extension, or uses a texture transform or a second set of texture coordinates.
        MissingExtraError: Trimesh is not installed, or xatlas, which vertex colours need.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("reading assets", "3d") from error
    given = content_of(source, "the asset")
    document, materials = _read_document(given)
    try:
        scene = trimesh.load_scene(BytesIO(document), file_type="glb")
        parts = list(_parts(trimesh, scene, materials))
    except (ClearpaneError, MemoryError):
        raise
    except Exception as error:  # trimesh raises almost anything on a damaged file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClearpaneError(
            f"{given}: truncated or damaged GLB file ({reason}); get a fresh copy"
        ) from error
    if not parts:
        raise ClearpaneError(f"{given}: holds no triangles; export the object's mesh into it")
    if not all(np.isfinite(x).all() for part in parts for x in (part.vertices, part.coordinates)):
        raise ClearpaneError(f"{given}: has vertices that are not numbers; export it again")
    mesh, coordinates, normals, stack = joined(parts)
    return Asset(
        mesh,
        coordinates,
        normals,
        stack[..., _ALBEDO],
        stack[..., _METALLIC],
        stack[..., _ROUGHNESS],
        unit(stack[..., _NORMAL]),
        stack[..., _OCCLUSION],
    )


def _read_document(given: Content) -> tuple[bytes, list[dict[str, Any]]]:
    """Return a GLB file whose materials are named by their numbers, and its materials.

    A file that trimesh would read wrongly, or refuse with an unclear message, is refused here.
    """
    try:
        content = given.read()
    except FileNotFoundError as error:
        raise ClearpaneError(f"{given}: no such file; check the name") from error
    except OSError as error:
        raise ClearpaneError(f"{given}: cannot be read ({error.strerror or error})") from error
    if content[:4] != _MAGIC:
        raise ClearpaneError(f"{given}: is not a GLB file (binary glTF 2.0); export the object as .glb")
    try:
        _, version, _, length, kind = struct.unpack_from("<4s4I", content)
        if version != 2 or kind != _JSON:
            raise ClearpaneError(f"{given}: is a GLB of version {version}, not 2; export it as glTF 2.0")
        document = parse_untyped(content[20 : 20 + length])
        problem = _problem(document)
        rest = content[20 + length :]
        binary = rest[8 : 8 + struct.unpack_from("<I", rest)[0]] if len(rest) >= 8 else b""
        check_accessors(document, len(binary))
        embed_files(document, binary, given)
        if problem is None and len(rest) >= 8:
            binary = as_triangles(document, binary)
            binary += bytes(-len(binary) % 4)
            rest = struct.pack("<2I", len(binary), _BINARY) + binary
        materials = document.get("materials", [])
        for index, material in enumerate(materials):
            material["name"] = str(index)
        text = json.dumps(document).encode()
    except (
        struct.error,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ClearpaneError(f"{given}: truncated or damaged GLB file; get a fresh copy") from error
    if problem is not None:
        raise ClearpaneError(f"{given}: uses {problem}")
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4s4I", _MAGIC, 2, 20 + len(text) + len(rest), len(text), _JSON)
    return head + text + rest, materials


def _problem(document: dict[str, Any]) -> str | None:
    """Describe a feature of the file that is not supported, and the remedy; None if there is none."""
    unknown = [str(n) for n in document.get("extensionsRequired", []) if not str(n).startswith(_HARMLESS)]
    if unknown:
        return f"{unknown[0]}, which is not read; export it without compression"
    primitives = [p for mesh in document.get("meshes", []) for p in mesh["primitives"]]
    places = [p["attributes"]["TEXCOORD_0"] for p in primitives if "TEXCOORD_0" in p["attributes"]]
    if any(document["accessors"][place]["componentType"] != _FLOATS for place in places):
        return "texture coordinates as integers, which are not read; export it without compression"
    used = {p["material"] for p in primitives if "material" in p}
    for material in (document["materials"][index] for index in sorted(used)):
        for texture in ({**material.get("pbrMetallicRoughness", {}), **material}.get(n) for n in _TEXTURES):
            change = (texture or {}).get("extensions", {}).get("KHR_texture_transform", {})
            if any(change.get(name, still) != still for name, still in _STILL.items()):
                return (
                    "a texture transform (KHR_texture_transform), which is not read; apply it, export again"
                )
            if change.get("texCoord", (texture or {}).get("texCoord", 0)) != 0:
                return "a second set of texture coordinates, which is not read; export it with one"
    return None


def _parts(trimesh: Any, scene: Any, materials: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """Yield the file's meshes, transformed by its nodes."""
    placed = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue  # lines and points
        matrix = np.asarray(matrix, np.float64)
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-30:
            continue  # scaled to nothing: some programs hide objects this way
        placed.append((geometry, matrix, getattr(geometry.visual, "material", None)))
    used = {getattr(material, "name", None): material for _, _, material in placed}
    largest = cell_side(len(used))
    surfaces = {
        name: _surface(material, {} if name is None else materials[int(name)], largest)
        for name, material in used.items()
    }
    for geometry, matrix, material in placed:
        yield _part(geometry, matrix, surfaces[getattr(material, "name", None)])


def _part(geometry: Any, matrix: np.ndarray, surface: Tensor) -> Part:
    faces = np.asarray(geometry.faces, np.int64)
    vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    coordinates = getattr(geometry.visual, "uv", None)
    if coordinates is None:
        coordinates = np.full((len(vertices), 2), 0.5)
    else:
        coordinates = np.stack([coordinates[:, 0], 1 - coordinates[:, 1]], axis=-1).astype(np.float64)
    colours = geometry.vertex_attributes.get(COLOUR)  # linear, [V, 3]
    colours = None if colours is None else np.asarray(colours, np.float64)
    # trimesh invents smooth normals for a mesh without any; those that it has read are in its cache.
    given = "vertex_normals" in geometry._cache
    normals = np.asarray(geometry.vertex_normals) @ np.linalg.inv(matrix[:3, :3]) if given else None
    if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored: reverse the winding so that outside stays outside
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


def _surface(material: Any, said: Mapping[str, Any], largest: int) -> Tensor:
    """Return a material's textures times its factors, of one size and at most ``largest``: [9, S, S].

    Args:
        said: Material as the file states it, for properties that trimesh does not read.
    """
    images = {name: getattr(material, name, None) for name in _TEXTURES}
    given = {name: image for name, image in images.items() if isinstance(image, Image.Image)}
    size = min(largest, max([1, *(n for image in given.values() for n in image.size)]))
    stack = torch.tensor(_BLANK)[:, None, None].repeat(1, size, size)
    for name, image in given.items():
        image = image.convert("RGB")
        for channel, place, values in _TEXTURES[name]:
            levels = torch.from_numpy(values[np.asarray(image.getchannel(channel))])
            stack[place] = scaled(levels[None], (size, size))[0]
    stack[_NORMAL][:2] *= float(said.get("normalTexture", {}).get("scale", 1))
    strength = float(said.get("occlusionTexture", {}).get("strength", 1))
    stack[_OCCLUSION] = 1 + strength * (stack[_OCCLUSION] - 1)
    colour = getattr(material, "baseColorFactor", None)
    if colour is not None:
        stack[_ALBEDO] *= torch.tensor(np.asarray(colour)[:3] / 255.0).float()[:, None, None]
    for place, name in ((_METALLIC, "metallicFactor"), (_ROUGHNESS, "roughnessFactor")):
        factor = getattr(material, name, None)
        if factor is not None:
            stack[place] *= float(factor)
    assert len(stack) == CHANNELS
    return stack
