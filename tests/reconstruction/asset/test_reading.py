"""Assets read back, and GLB files of other programs, made here by trimesh."""

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.geometry.mesh import Mesh, face_areas
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset import atlas
from clearpane.reconstruction.asset import reading as reading_asset
from clearpane.reconstruction.asset.asset import Asset, save_asset
from clearpane.reconstruction.asset.reading import load_asset

trimesh = pytest.importorskip("trimesh")
SIZE = 16


def square(**visual: Any) -> Any:
    """Two triangles that face +z, with texture coordinates from below, as trimesh counts."""
    mesh = trimesh.Trimesh(
        [[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    uv = visual.pop("uv", [[0.0, 0], [1, 0], [1, 1], [0, 1]])
    material = trimesh.visual.material.PBRMaterial(**visual)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.asarray(uv, float), material=material)
    return mesh


def plain_box(colour: tuple[int, int, int], roughness: float) -> Any:
    box = trimesh.creation.box((1, 1, 1))
    box.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*colour, 255], metallicFactor=0.0, roughnessFactor=roughness
        )
    )
    return box


def written(path: Path, *meshes: Any, transforms: Any = None) -> Path:
    scene = trimesh.Scene()
    for mesh, transform in zip(meshes, transforms or [np.eye(4)] * len(meshes), strict=True):
        scene.add_geometry(mesh, transform=transform)
    path.write_bytes(scene.export(file_type="glb"))
    return path


def colours_at(asset: Asset, points: np.ndarray) -> np.ndarray:
    """The albedo at the vertices nearest to points: [P, 3]."""
    near = np.linalg.norm(asset.mesh.vertices[:, None] - points, axis=-1).argmin(0)
    size = len(asset.albedo)
    column, row = np.clip((asset.coordinates[near] * size).astype(int), 0, size - 1).T
    return asset.albedo[row, column]


def test_what_was_saved_is_read_back_to_eight_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    normal_map = random.normal(size=(SIZE, SIZE, 3)) * 0.2 + [0, 0, 1]
    normal_map /= np.linalg.norm(normal_map, axis=-1, keepdims=True)
    asset = Asset(
        Mesh(random.normal(size=(6, 3)), np.asarray([[0, 1, 2], [3, 4, 5]])),
        random.random((6, 2)),
        np.repeat([[0.0, 0.6, 0.8]], 6, axis=0),
        random.random((SIZE, SIZE, 3)),
        *random.random((2, SIZE, SIZE)),
        normal_map,
        random.random((SIZE, SIZE)),
    )
    save_asset(asset, tmp_path / "a.glb")
    found = load_asset(tmp_path / "a.glb")
    np.testing.assert_allclose(found.mesh.vertices, asset.mesh.vertices, rtol=1e-6)
    np.testing.assert_array_equal(found.mesh.faces, asset.mesh.faces)
    np.testing.assert_allclose(found.coordinates, asset.coordinates, atol=1e-6)
    np.testing.assert_allclose(found.normals, asset.normals, atol=1e-6)
    np.testing.assert_allclose(found.albedo, asset.albedo, atol=0.006)
    for name in ("metallic", "roughness", "occlusion"):
        np.testing.assert_allclose(getattr(found, name), getattr(asset, name), atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(found.normal_map, asset.normal_map, atol=0.01)


def test_bytes_and_streams_are_read_as_files_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.glb", plain_box((255, 0, 0), 0.25))
    expected, data = load_asset(path), path.read_bytes()
    with path.open("rb") as stream:
        for found in (load_asset(str(path)), load_asset(data), load_asset(BytesIO(data)), load_asset(stream)):
            for name in ("coordinates", "normals", "albedo", "roughness"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            np.testing.assert_array_equal(found.mesh.vertices, expected.mesh.vertices)
        assert not stream.closed
    for damaged in (data[:40], data[: len(data) // 2]):
        with pytest.raises(ClearpaneError, match=r"^the asset: truncated or damaged GLB file[^\n]*$"):
            load_asset(damaged)


def test_meshes_stand_where_their_nodes_put_them_and_keep_their_colours(tmp_path: Path) -> None:
    moved, mirrored = np.eye(4), np.diag([-2.0, 1, 1, 1])
    moved[0, 3], mirrored[1, 3] = 5, 5
    path = written(
        tmp_path / "a.glb",
        plain_box((255, 0, 0), 0.25),
        plain_box((0, 0, 255), 0.75),
        transforms=[moved, mirrored],
    )
    asset = load_asset(path)
    assert asset.mesh.vertices.min(0) == pytest.approx([-1, -0.5, -0.5])
    assert asset.mesh.vertices.max(0) == pytest.approx([5.5, 5.5, 0.5])
    corners = np.asarray([[5.5, 0.5, 0.5], [1.0, 5.5, 0.5]])
    np.testing.assert_allclose(colours_at(asset, corners), [[1, 0, 0], [0, 0, 1]], atol=1e-6)
    assert set(np.round(np.unique(asset.roughness), 2)) >= {0.25, 0.75}
    # Also of the mirrored box, triangles and normals face outwards; without given normals edges are sharp.
    triangles = asset.mesh.vertices[asset.mesh.faces]
    outward = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    middles = np.where(triangles.mean(1)[:, :1] > 3, [[5.0, 0, 0]], [[0.0, 5, 0]])
    assert ((outward * (triangles.mean(1) - middles)).sum(-1) > 0).all()
    normals = asset.normals[asset.mesh.faces[:, 0]]
    assert ((outward * normals).sum(-1) / np.linalg.norm(outward, axis=-1) > 0.999).all()
    assert face_areas(asset.mesh).sum() == pytest.approx(6 + 10)


def test_textures_of_different_sizes_become_one_and_factors_multiply(tmp_path: Path) -> None:
    base = np.zeros((4, 4, 3), np.uint8)
    base[:2, :2] = 255
    other = np.full((8, 8, 3), 128, np.uint8)
    mesh = square(
        baseColorTexture=Image.fromarray(base),
        metallicRoughnessTexture=Image.fromarray(other),
        baseColorFactor=[255, 102, 0, 255],
        roughnessFactor=0.5,
    )
    asset = load_asset(written(tmp_path / "a.glb", mesh))
    assert asset.albedo.shape == (8, 8, 3) and asset.roughness.shape == (8, 8)
    np.testing.assert_allclose(asset.albedo[0, 0], [1, 0.4, 0], atol=1e-3)
    np.testing.assert_allclose(asset.roughness, 0.5 * 128 / 255, atol=1e-3)
    np.testing.assert_allclose(asset.metallic, 128 / 255, atol=1e-3)
    np.testing.assert_allclose(asset.normal_map[3, 3], [0, 0, 1])
    np.testing.assert_allclose(colours_at(asset, np.asarray([[-1.0, 1, 0]]))[0], [1, 0.4, 0], atol=1e-3)


def test_a_repeated_texture_is_written_out(tmp_path: Path) -> None:
    base = np.zeros((4, 4, 3), np.uint8)
    base[:, :2, 0], base[:, 2:, 2] = 255, 255
    mesh = square(
        baseColorTexture=Image.fromarray(base), uv=[[-1.0, 0], [2, 0], [2, 1], [-1, 1]], metallicFactor=0.0
    )
    asset = load_asset(written(tmp_path / "a.glb", mesh))
    assert asset.coordinates.min() >= 0 and asset.coordinates.max() <= 1
    row = asset.albedo[len(asset.albedo) // 2]
    assert np.abs(np.diff((row[:, 0] > 0.5).astype(int))).sum() == 5
    left, right = colours_at(asset, np.asarray([[-1.0, 0, 0], [1, 0, 0]]))
    assert left[0] > 0.9 and right[2] > 0.9


def test_colours_of_vertices_become_a_texture(tmp_path: Path) -> None:
    pytest.importorskip("xatlas")
    ball = trimesh.creation.icosphere(1)
    shades = np.clip((ball.vertices + 1) / 2, 0, 1)
    ball.visual.vertex_colors = np.column_stack([shades, np.ones(len(shades))])
    asset = load_asset(written(tmp_path / "a.glb", ball))
    assert len(asset.albedo) >= 64
    found = colours_at(asset, asset.mesh.vertices)
    assert np.abs(found - (asset.mesh.vertices + 1) / 2).max() < 0.1


def test_textures_are_read_no_larger_than_they_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five materials in an atlas of 64: cells of 64 // 3 - 4 texels, whatever size the files have.
    monkeypatch.setattr(atlas, "_LARGEST", 64)
    seen: list[tuple[int, ...]] = []

    def spied(parts: list[atlas.Part]) -> Any:
        seen.extend(part.surface.shape for part in parts)
        return atlas.joined(parts)

    monkeypatch.setattr(reading_asset, "joined", spied)
    shades, places = (0, 60, 120, 180, 240), [np.eye(4) for _ in range(5)]
    meshes = []
    for shade, place in zip(shades, places, strict=True):
        place[0, 3] = shade
        checks = np.zeros((128, 256, 3), np.uint8)  # finer than a cell: of the mean light
        checks[::2], checks[..., 2] = 255, shade
        meshes.append(square(baseColorTexture=Image.fromarray(checks), metallicFactor=0.0))
    meshes[1].visual.uv *= 2
    asset = load_asset(written(tmp_path / "a.glb", *meshes, transforms=places))
    assert seen == [(9, 17, 17)] * 5 and asset.albedo.shape == (63, 63, 3)
    corners = np.asarray([[shade - 1.0, -1, 0] for shade in shades])
    found = colours_at(asset, corners)
    np.testing.assert_allclose(found[:, 2], srgb_to_linear(np.asarray(shades) / 255), atol=1e-5)
    np.testing.assert_allclose(found[:, 0], 0.5, atol=0.1)


def test_the_strength_of_normal_maps_and_occlusion_is_each_materials_own(tmp_path: Path) -> None:
    maps = {
        "normalTexture": Image.new("RGB", (4, 4), (217, 128, 217)),  # 45 degrees to the right
        "occlusionTexture": Image.new("RGB", (4, 4), (51, 0, 0)),
    }
    moved = np.eye(4)
    moved[0, 3] = 9
    good = written(
        tmp_path / "a.glb",
        square(name="same", **maps),
        square(name="same", roughnessFactor=0.5, **maps),
        transforms=[np.eye(4), moved],
    ).read_bytes()
    materials = document_of(good)["materials"]
    materials[1]["normalTexture"]["scale"], materials[1]["occlusionTexture"]["strength"] = 0.5, 0.25
    (tmp_path / "b.glb").write_bytes(_with_document(good, materials=materials))
    asset = load_asset(tmp_path / "b.glb")
    size = len(asset.occlusion)
    for x, slope, occlusion in ((0, 1.0, 0.2), (9, 0.5, 0.8)):
        corner = np.linalg.norm(asset.mesh.vertices - [x - 1, -1, 0], axis=-1).argmin()
        column, row = np.clip((asset.coordinates[corner] * size).astype(int), 0, size - 1)
        normal = asset.normal_map[row, column]
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-5)
        assert normal[0] / normal[2] == pytest.approx(slope, abs=0.01)
        assert asset.occlusion[row, column] == pytest.approx(occlusion, abs=0.01)


def test_textures_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    good = written(path, square(baseColorTexture=Image.new("RGB", (4, 4), (9, 9, 9)))).read_bytes()
    expected = load_asset(path)

    def changed(**texture: Any) -> bytes:
        materials = document_of(good)["materials"]
        materials[0]["pbrMetallicRoughness"]["baseColorTexture"] |= texture
        return _with_document(good, materials=materials, extensionsRequired=["KHR_texture_transform"])

    def transform(**entries: Any) -> dict[str, Any]:
        return {"extensions": {"KHR_texture_transform": entries}}

    cases = [
        (transform(offset=[0.5, 0]), "texture transform"),
        (transform(rotation=0.1), "texture transform"),
        (transform(scale=[2, 2]), "texture transform"),
        (transform(texCoord=1), "second set of texture coordinates"),
        ({"texCoord": 1}, "second set of texture coordinates"),
    ]
    for entries, said in cases:
        path.write_bytes(changed(**entries))
        with pytest.raises(ClearpaneError, match=said) as caught:
            load_asset(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(changed(**transform(offset=[0.0, 0.0], scale=[1.0, 1.0], rotation=0.0)))
    np.testing.assert_array_equal(load_asset(path).albedo, expected.albedo)


def test_a_bare_mesh_has_gltfs_default_material(tmp_path: Path) -> None:
    mesh = trimesh.Trimesh([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    asset = load_asset(written(tmp_path / "a.glb", mesh))
    assert asset.albedo.shape == (1, 1, 3)
    assert asset.metallic.item() == asset.roughness.item() == asset.occlusion.item() == 1.0
    np.testing.assert_allclose(asset.normals, [[0, 0, 1]] * 3, atol=1e-6)


def document_of(content: bytes) -> dict[str, Any]:
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


def _with_document(content: bytes, **entries: Any) -> bytes:
    length = int.from_bytes(content[12:16], "little")
    document = json.dumps({**document_of(content), **entries}).encode()
    document += b" " * (-len(document) % 4)
    rest = content[20 + length :]
    head = struct.pack("<4s4I", b"glTF", 2, 20 + len(document) + len(rest), len(document), 0x4E4F534A)
    return head + document + rest


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    good = written(tmp_path / "good.glb", plain_box((1, 2, 3), 0.5)).read_bytes()
    points = trimesh.Scene([trimesh.PointCloud(np.random.default_rng(0).random((5, 3)))])
    cases = {
        "cut.glb": (good[: len(good) // 2], "truncated or damaged"),
        "head.glb": (good[:30], "truncated or damaged"),
        "text.glb": (b'{"asset": {}}', "is not a GLB"),
        "empty.glb": (b"", "is not a GLB"),
        "old.glb": (good[:4] + struct.pack("<I", 1) + good[8:], "version 1"),
        "points.glb": (points.export(file_type="glb"), "no triangles"),
        "draco.glb": (
            _with_document(good, extensionsRequired=["KHR_draco_mesh_compression"]),
            "KHR_draco_mesh_compression",
        ),
    }
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ClearpaneError, match=said) as caught:
            load_asset(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ClearpaneError, match="no such file"):
        load_asset(tmp_path / "missing.glb")
