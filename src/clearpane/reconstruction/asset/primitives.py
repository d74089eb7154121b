"""Convert glTF 2.0 primitives of every kind to the one kind that is read: indexed triangles with a material.

Triangle strips and fans become triangles, points and lines are left out (section 3.7.2.1 of the
specification); vertex colours of every type become floats under `COLOUR`; a primitive without a material gets
the default one.
"""

from typing import Any

import numpy as np

COLOUR = "_CLEARPANE_COLOR"
"""Attribute with linear vertex colours as floats; trimesh passes unknown attributes through unchanged."""

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_LARGEST_WIDTH = 16
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_FLOAT, _UNSIGNED = 5126, 5125
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def as_triangles(document: dict[str, Any], binary: bytes) -> bytes:
    """Rewrite the primitives of a document in place, and return the binary chunk with the data they now need.

    Raises:
        ValueError, KeyError, IndexError, TypeError: The document contradicts itself.
    """
    data = bytearray(binary)
    for mesh in document.get("meshes", []):
        kept = [p for p in mesh["primitives"] if p.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP, _FAN)]
        for primitive in kept:
            attributes = primitive["attributes"]
            if "COLOR_0" in attributes:
                colours = _normalized(document, data, attributes.pop("COLOR_0"))[:, :3]
                attributes[COLOUR] = _append(document, data, colours.astype("<f4"), "VEC3", _FLOAT)
            mode = primitive.pop("mode", _TRIANGLES)
            if mode != _TRIANGLES:
                if "indices" in primitive:
                    order = read_accessor(document, data, primitive["indices"])[:, 0].astype(np.int64)
                else:
                    order = np.arange(document["accessors"][attributes["POSITION"]]["count"])
                corners = triangles(order, mode).astype("<u4").reshape(-1, 1)
                primitive["indices"] = _append(document, data, corners, "SCALAR", _UNSIGNED)
            if "material" not in primitive:
                primitive["material"] = _default_material(document)
        mesh["primitives"] = kept
    return bytes(data)


def triangles(order: np.ndarray, mode: int) -> np.ndarray:
    """Return the triangles [T, 3] of a strip (mode 5) or fan (mode 6), without those of no area.

    A strip gives ``v_i, v_(i + 1 + i % 2), v_(i + 2 - i % 2)``; a fan ``v_(i + 1), v_(i + 2), v_0``.

    >>> triangles(np.arange(4), 5).tolist(), triangles(np.arange(4), 6).tolist()
    ([[0, 1, 2], [1, 3, 2]], [[1, 2, 0], [2, 3, 0]])
    """
    index = np.arange(max(0, len(order) - 2))
    odd = index % 2
    if mode == _STRIP:
        corners = np.stack([index, index + 1 + odd, index + 2 - odd], axis=-1)
    else:
        corners = np.stack([index + 1, index + 2, 0 * index], axis=-1)
    found = order[corners]
    a, b, c = found.T
    return np.asarray(found[(a != b) & (b != c) & (c != a)])


def check_accessors(document: dict[str, Any], size: int) -> None:
    """Raise ValueError for an accessor of more zeros than a mesh of ``size`` bytes has use for.

    Those without a buffer hold zeros, of any number: a few bytes could ask for all memory.
    """
    for accessor in document.get("accessors", []):
        count = accessor["count"] * _WIDTHS.get(accessor["type"], _LARGEST_WIDTH)
        if not 0 <= count <= size + (1 << 24):
            raise ValueError("an accessor of too many values")


def read_accessor(document: dict[str, Any], data: bytes | bytearray, number: int) -> np.ndarray:
    """Read an accessor's numbers [N, width], with its stride and its sparse values."""
    accessor = document["accessors"][number]
    width, count = _WIDTHS[accessor["type"]], int(accessor["count"])
    kind = np.dtype(_TYPES[accessor["componentType"]])
    if "bufferView" in accessor:
        values = _view(document, data, accessor, count, width, kind)
    else:
        values = np.zeros((count, width), kind)
    if "sparse" in accessor:
        sparse = accessor["sparse"]
        places = np.dtype(_TYPES[sparse["indices"]["componentType"]])
        where = _view(document, data, sparse["indices"], sparse["count"], 1, places)[:, 0]
        values = values.copy()
        values[where] = _view(document, data, sparse["values"], sparse["count"], width, kind)
    return values


def _view(
    document: dict[str, Any],
    data: bytes | bytearray,
    part: dict[str, Any],
    count: int,
    width: int,
    kind: np.dtype[Any],
) -> np.ndarray:
    view = document["bufferViews"][part["bufferView"]]
    if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
        raise ValueError("vertices outside the file")
    start = int(view.get("byteOffset", 0)) + int(part.get("byteOffset", 0))
    stride = int(view.get("byteStride", 0)) or width * kind.itemsize
    if min(start, count, stride) < 0 or start + stride * (count - 1) + width * kind.itemsize > len(data):
        raise ValueError("an accessor beyond its buffer")
    return np.ndarray((count, width), kind, bytes(data), start, (stride, kind.itemsize)).copy()


def _normalized(document: dict[str, Any], data: bytearray, number: int) -> np.ndarray:
    values = read_accessor(document, data, number)
    if values.dtype.kind == "f":
        return values.clip(0, 1)
    return values / np.float64(np.iinfo(values.dtype).max)


def _append(document: dict[str, Any], data: bytearray, values: np.ndarray, kind: str, component: int) -> int:
    data += bytes(-len(data) % 4)
    views, accessors = document["bufferViews"], document["accessors"]
    views.append({"buffer": 0, "byteOffset": len(data), "byteLength": values.nbytes})
    accessors.append(
        {
            "bufferView": len(views) - 1,
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
    )
    data += values.tobytes()
    document["buffers"][0]["byteLength"] = len(data)
    return len(accessors) - 1


def _default_material(document: dict[str, Any]) -> int:
    materials = document.setdefault("materials", [])
    if not materials or materials[-1].get("extras") != {COLOUR: "default"}:
        materials.append({"pbrMetallicRoughness": {}, "extras": {COLOUR: "default"}})
    return len(materials) - 1
