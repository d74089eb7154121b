"""Assets opened by others: trimesh, the Khronos validator where it is installed, Mitsuba."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.geometry.mesh import Mesh
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.asset.asset import Asset, check_asset_path, save_asset

from ..khronos import check_with_khronos

trimesh = pytest.importorskip("trimesh")
SIZE = 16


@pytest.fixture
def asset() -> Asset:
    """A square that faces +z; its texture is red in the upper left corner."""
    vertices = np.asarray([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    coordinates = np.asarray([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    albedo = np.full((SIZE, SIZE, 3), 0.2)
    albedo[: SIZE // 2, : SIZE // 2] = [0.9, 0.05, 0.05]
    flat = np.zeros((SIZE, SIZE, 3))
    flat[..., 2] = 1
    return Asset(
        Mesh(vertices, np.asarray([[0, 1, 2], [0, 2, 3]])),
        coordinates,
        np.repeat([[0.0, 0, 1]], 4, axis=0),
        albedo,
        np.full((SIZE, SIZE), 0.25),
        np.full((SIZE, SIZE), 0.75),
        flat,
        np.full((SIZE, SIZE), 0.5),
    )


def test_a_glb_holds_what_gltf_wants_where_it_wants_it(asset: Asset, tmp_path: Path) -> None:
    path = tmp_path / "square.glb"
    save_asset(asset, path)
    (mesh,) = trimesh.load(path).geometry.values()
    np.testing.assert_allclose(mesh.vertices, asset.mesh.vertices)
    assert (mesh.face_normals @ [0, 0, 1] > 0.99).all()
    material = mesh.visual.material
    base = np.asarray(material.baseColorTexture.convert("RGB"))
    red = np.round(255 * np.asarray(linear_to_srgb(np.asarray([0.9, 0.05, 0.05]))))
    assert base[0, 0].tolist() == red.tolist() and base[-1, -1].max() < 130
    other = np.asarray(material.metallicRoughnessTexture)
    assert other[3, 3, 1] == 191 and other[3, 3, 2] == 64
    assert np.asarray(material.normalTexture)[0, 0].tolist() == [128, 128, 255]
    assert np.asarray(material.occlusionTexture)[0, 0, 0] == 128
    # trimesh counts from below: the corner at (-1, 1) is the texture's upper left one.
    corner = np.abs(mesh.vertices - [-1, 1, 0]).sum(-1).argmin()
    np.testing.assert_allclose(mesh.visual.uv[corner], [0, 1])


def test_the_file_itself_counts_texture_rows_from_the_top(asset: Asset, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "square.glb")
    content = (tmp_path / "square.glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    document = json.loads(content[20 : 20 + length])
    primitive = document["meshes"][0]["primitives"][0]
    view = document["bufferViews"][document["accessors"][primitive["attributes"]["TEXCOORD_0"]]["bufferView"]]
    start = 20 + length + 8 + view.get("byteOffset", 0)
    found = np.frombuffer(content[start : start + view["byteLength"]], "<f4").reshape(-1, 2)
    np.testing.assert_allclose(found, asset.coordinates, atol=1e-6)
    assert document["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 1.0


def test_a_stream_gets_the_glb_that_a_file_gets(asset: Asset, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "square.glb")
    stream = io.BytesIO()
    save_asset(asset, stream)
    assert stream.getvalue() == (tmp_path / "square.glb").read_bytes() and not stream.closed
    with (
        (tmp_path / "square.ply").open("wb") as file,
        pytest.raises(ClearpaneError, match=r"ply: a stream gets"),
    ):
        save_asset(asset, file)


def test_the_khronos_validator_finds_no_error(asset: Asset, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "square.glb")
    check_with_khronos(tmp_path / "square.glb")


def test_obj_and_ply_keep_form_and_colour(asset: Asset, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "a square.obj")
    names = {"a square.obj", "a_square.mtl", "a_square_albedo.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    mesh = trimesh.load(tmp_path / "a square.obj", force="mesh")
    assert len(mesh.faces) == 2 and mesh.visual.uv is not None
    assert np.asarray(mesh.visual.material.image)[0, 0, 0] > 200
    save_asset(asset, tmp_path / "square.ply")
    coloured = trimesh.load(tmp_path / "square.ply")
    corner = np.abs(coloured.vertices - [-1, 1, 0]).sum(-1).argmin()
    assert coloured.visual.vertex_colors[corner, 0] > 200


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_a_folder_of_photographs_stays_whatever_is_written(asset: Asset, tmp_path: Path, suffix: str) -> None:
    photographs = tmp_path / "duck"
    photographs.mkdir()
    (photographs / "IMG_1.jpg").write_text("mine")
    save_asset(asset, tmp_path / f"duck{suffix}", overwrite=True)
    assert [p.read_text() for p in photographs.iterdir()] == ["mine"]
    for part in ("goose.glb", "goose.obj", "goose_albedo.png", "goose.mtl"):
        (tmp_path / part).mkdir()
    with pytest.raises(ClearpaneError, match=r"goose\.obj: is a folder, which no asset replaces"):
        save_asset(asset, tmp_path / "goose.obj", overwrite=True)
    (tmp_path / "goose.obj").rmdir()
    with pytest.raises(ClearpaneError, match=r"goose\.mtl: is a folder, which no asset replaces"):
        save_asset(asset, tmp_path / "goose.obj", overwrite=True)


def test_paths_are_checked_before_there_is_an_asset(tmp_path: Path) -> None:
    check_asset_path(tmp_path / "duck.obj")
    assert not any(tmp_path.iterdir())
    (tmp_path / "duck_albedo.png").write_text("mine")
    with pytest.raises(ClearpaneError, match=r"duck_albedo\.png: exists already; allow overwriting"):
        check_asset_path(tmp_path / "duck.obj")
    check_asset_path(tmp_path / "duck.obj", overwrite=True)
    check_asset_path(tmp_path / "duck.glb")
    with pytest.raises(ClearpaneError, match=r"there is no folder .*none; make it first"):
        check_asset_path(tmp_path / "none" / "duck.glb")
    with pytest.raises(ClearpaneError, match=r"is written as \.glb"):
        check_asset_path(tmp_path / "duck")


def test_nothing_is_overwritten_and_other_endings_are_refused(asset: Asset, tmp_path: Path) -> None:
    path = tmp_path / "square.glb"
    path.write_text("mine")
    with pytest.raises(ClearpaneError):
        save_asset(asset, path)
    assert path.read_text() == "mine"
    save_asset(asset, path, overwrite=True)
    assert path.read_bytes()[:4] == b"glTF"
    with pytest.raises(ClearpaneError, match=r"is written as \.glb, \.obj, \.ply"):
        save_asset(asset, tmp_path / "square.fbx")
