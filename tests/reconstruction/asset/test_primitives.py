"""Primitives of every kind of glTF 2.0, written here byte by byte, against the arrays they were made from."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.geometry.mesh import face_areas
from clearpane.reconstruction.asset.reading import load_asset

pytest.importorskip("trimesh")
# A strip of two squares in the plane z = 0, seen from +z.
STRIP = np.asarray([[0, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0], [2, 1, 0], [2, 0, 0]], "<f4")
FAN = np.asarray([[0, 0, 0], [2, 0, 0], [2, 1, 0], [1, 1.5, 0], [0, 1, 0]], "<f4")
KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


def written(path: Path, primitives: list[dict[str, Any]]) -> Path:
    data, views, accessors, described = bytearray(), [], [], []

    def add(values: np.ndarray, normalized: bool) -> int:
        data.extend(bytes(-len(data) % 4))
        rows = values.reshape(len(values), -1)
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": rows.nbytes})
        kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[rows.shape[1]]
        accessor = {"bufferView": len(views) - 1, "componentType": KINDS[values.dtype.str[1:]]}
        accessor |= {"count": len(rows), "type": kind}
        if normalized:
            accessor["normalized"] = True
        if values.dtype.kind == "f":
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        accessors.append(accessor)
        data.extend(rows.tobytes())
        return len(accessors) - 1

    for primitive in primitives:
        colour = primitive.get("colour")
        attributes = {"POSITION": add(primitive["positions"], False)}
        if colour is not None:
            attributes["COLOR_0"] = add(colour, colour.dtype.kind != "f")
        entry = {"attributes": attributes, "mode": primitive["mode"]}
        if "indices" in primitive:
            entry["indices"] = add(primitive["indices"], False)
        described.append(entry)
    data.extend(bytes(-len(data) % 4))
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": described}],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4s4I", b"glTF", 2, 28 + len(text) + len(data), len(text), 0x4E4F534A)
    path.write_bytes(head + text + struct.pack("<2I", len(data), 0x004E4942) + data)
    return path


@pytest.mark.parametrize("kind", [None, "u1", "u2", "u4"])
@pytest.mark.parametrize(("mode", "positions", "area"), [(5, STRIP, 2.0), (6, FAN, 2.5)])
def test_strips_and_fans_cover_what_they_should(
    tmp_path: Path, mode: int, positions: np.ndarray, area: float, kind: str | None
) -> None:
    indices = {} if kind is None else {"indices": np.arange(len(positions), dtype=f"<{kind}")}
    asset = load_asset(written(tmp_path / "a.glb", [{"positions": positions, "mode": mode, **indices}]))
    vertices, faces = asset.mesh.vertices, asset.mesh.faces
    assert len(faces) == len(positions) - 2
    assert float(face_areas(asset.mesh).sum()) == pytest.approx(area)
    a, b, c = (np.asarray(vertices)[np.asarray(faces)[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # all wound alike
    np.testing.assert_allclose(asset.normals, np.tile([0, 0, 1.0], (len(asset.normals), 1)), atol=1e-6)


def test_repeated_vertices_of_a_strip_make_no_triangles(tmp_path: Path) -> None:
    order = np.asarray([0, 1, 2, 3, 3, 2, 2, 3, 4, 5], "<u2")
    path = written(tmp_path / "a.glb", [{"positions": STRIP, "mode": 5, "indices": order}])
    assert float(face_areas(load_asset(path).mesh).sum()) == pytest.approx(2)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_points_and_lines_are_left_out(tmp_path: Path, mode: int) -> None:
    lines = {"positions": STRIP, "mode": mode}
    asset = load_asset(written(tmp_path / "a.glb", [lines, {"positions": FAN, "mode": 6}, lines]))
    assert float(face_areas(asset.mesh).sum()) == pytest.approx(2.5)
    with pytest.raises(ClearpaneError, match="holds no triangles"):
        load_asset(written(tmp_path / "b.glb", [lines]))


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("mode", [4, 5])
def test_vertex_colours_are_linear_and_keep_their_depth(
    tmp_path: Path, mode: int, kind: str, width: int
) -> None:
    pytest.importorskip("xatlas")
    colour = np.asarray([0.2, 0.04, 0.6, 1.0][:width])
    top = 1 if kind == "f4" else np.iinfo(kind).max
    stored = np.tile((colour * top).round() if top > 1 else colour, (6, 1)).astype(f"<{kind}")
    order = np.asarray([0, 1, 2, 2, 1, 3, 2, 3, 4, 4, 3, 5], "<u1")
    indices = {"indices": order} if mode == 4 else {}
    primitive = {"positions": STRIP, "mode": mode, "colour": stored, **indices}
    asset = load_asset(written(tmp_path / "a.glb", [primitive]))
    size = len(asset.albedo)
    column, row = np.clip((np.asarray(asset.coordinates) * size).astype(int), 0, size - 1).T
    expected = stored[0, :3] / top
    np.testing.assert_allclose(asset.albedo[row, column], np.tile(expected, (len(row), 1)), atol=2e-3)
    # The default material: white, metallic and rough.
    assert float(asset.metallic.min()) == float(asset.roughness.min()) == 1
