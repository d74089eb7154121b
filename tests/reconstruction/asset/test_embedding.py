"""GLB files that name others: only from their own folder, and only pictures of glTF's formats."""

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.asset.reading import load_asset

pytest.importorskip("trimesh")
CORNERS = np.asarray([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
PLACES = np.asarray([[0, 0], [1, 0], [0, 1]], "<f4")
ORDER = np.asarray([0, 1, 2], "<u4")


def picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(stream, kind)
    return stream.getvalue()


def write_glb(path: Path, image: dict[str, Any], uri: str | None = None, **accessor: Any) -> Path:
    """A textured triangle; ``uri`` names a file for its numbers."""
    binary = CORNERS.tobytes() + PLACES.tobytes() + ORDER.tobytes()
    views = [
        (0, CORNERS.nbytes),
        (CORNERS.nbytes, PLACES.nbytes),
        (CORNERS.nbytes + PLACES.nbytes, ORDER.nbytes),
    ]
    buffer = {"byteLength": len(binary)} | ({} if uri is None else {"uri": uri})
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [image],
        "buffers": [buffer],
        "bufferViews": [{"buffer": 0, "byteOffset": at, "byteLength": n} for at, n in views],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", **accessor},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5125, "count": 3, "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = b"" if uri is not None else struct.pack("<2I", len(binary), 0x004E4942) + binary
    head = struct.pack("<4s4I", b"glTF", 2, 20 + len(text) + len(body), len(text), 0x4E4F534A)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head + text + body)
    if uri is not None and not uri.startswith("data:") and ".." not in uri:
        (path.parent / uri).write_bytes(binary)
    return path


def embedded(content: bytes) -> dict[str, Any]:
    return {"uri": f"data:image/png;base64,{base64.b64encode(content).decode()}"}


@pytest.mark.parametrize("name", ["red.png", "a%20red.png", "./textures/../red.png"])
def test_pictures_beside_the_file_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "textures").mkdir()
    for place in ("red.png", "a red.png"):
        (tmp_path / place).write_bytes(picture())
    asset = load_asset(write_glb(tmp_path / "a.glb", {"uri": name}))
    np.testing.assert_allclose(asset.albedo.reshape(-1, 3).mean(0), [1, 0, 0], atol=1e-6)


def test_numbers_beside_the_file_are_read(tmp_path: Path) -> None:
    asset = load_asset(write_glb(tmp_path / "a.glb", embedded(picture()), "a.bin"))
    np.testing.assert_array_equal(asset.mesh.vertices[asset.mesh.faces[0]], CORNERS)


@pytest.mark.parametrize(
    "name", ["../secret.png", "..%2Fsecret.png", "{}/secret.png", "link.png", "file://{}/secret.png"]
)
def test_what_lies_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    name = name.format(tmp_path)
    for path in (
        write_glb(tmp_path / "in" / "a.glb", {"uri": name}),
        write_glb(tmp_path / "in" / "b.glb", embedded(picture()), "../x.bin"),
    ):
        if not (path.parent / "link.png").is_symlink():
            (path.parent / "link.png").symlink_to(tmp_path / "secret.png")
        with pytest.raises(
            ClearpaneError, match=r"names .*(lies outside its folder|is not there); export it"
        ):
            load_asset(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError, match=r"names no\.png, which is not there"):
        load_asset(write_glb(tmp_path / "a.glb", {"uri": "no.png"}))


def test_pictures_of_other_kinds_are_not_handed_to_pillow(tmp_path: Path) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n"
    for content in (postscript, picture("BMP")):
        with pytest.raises(ClearpaneError, match="its image 0 is no PNG, JPEG or WebP"):
            load_asset(write_glb(tmp_path / "a.glb", embedded(content)))


@pytest.mark.parametrize("count", [2**31, 2**62, -1])
def test_no_memory_is_taken_for_a_count_alone(tmp_path: Path, count: int) -> None:
    path = write_glb(tmp_path / "a.glb", embedded(picture()), count=count)
    with pytest.raises(ClearpaneError, match="truncated or damaged GLB file"):
        load_asset(path)


def test_deep_nesting_is_damage(tmp_path: Path) -> None:
    text = b'{"a": ' + b"[" * 100_000 + b" "
    head = struct.pack("<4s4I", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A)
    (tmp_path / "a.glb").write_bytes(head + text)
    with pytest.raises(ClearpaneError, match="truncated or damaged GLB file"):
        load_asset(tmp_path / "a.glb")
