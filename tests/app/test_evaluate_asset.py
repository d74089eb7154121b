"""The command ``clearpane evaluate-asset``: test views drawn here, of an asset that is known."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clearpane.app.cli import main
from clearpane.evaluation.objects import scoring as object_scoring
from clearpane.evaluation.objects.scoring import mesh_distance
from clearpane.geometry.cameras import Cameras, look_at, pinhole_intrinsics
from clearpane.geometry.mesh import Mesh, surface_points
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import texel_directions
from clearpane.reconstruction.asset.asset import Asset, save_asset
from clearpane.reconstruction.relighting.lighting import Environment
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.reconstruction.relighting.surface_view import SurfaceViews

trimesh = pytest.importorskip("trimesh")
SIDE = 40
# From glTF's axes to those of a world whose z is up, and from OpenCV's camera to OpenGL's.
TO_WORLD = np.asarray([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
TO_OPENGL = np.diag([1.0, -1, -1, 1])


def make_asset() -> Asset:
    """An egg with a texture, one half dark; nowhere the same from two sides."""
    rows = 16
    polar, around = np.meshgrid(
        np.linspace(0, math.pi, rows + 1), np.linspace(0, 2 * math.pi, 2 * rows + 1), indexing="ij"
    )
    points = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    ).reshape(-1, 3)
    corner = (np.arange(rows)[:, None] * (2 * rows + 1) + np.arange(2 * rows)).reshape(-1, 1)
    under = 2 * rows + 1
    steps = np.asarray([[0, under, under + 1], [0, under + 1, 1]])
    faces = np.concatenate([corner + step for step in steps])
    size = np.asarray([0.5, 0.8, 0.4])
    normals = points / size / np.linalg.norm(points / size, axis=-1, keepdims=True)
    flat = np.zeros((16, 16, 3))
    flat[..., 2] = 1
    albedo = np.full((16, 16, 3), [0.6, 0.4, 0.2])
    albedo[:, :8] *= 0.3
    even = np.ones((16, 16))
    coordinates = np.stack([around / (2 * math.pi), polar / math.pi], axis=-1).reshape(-1, 2)
    mesh = Mesh(points * size + [0.2, 0.1, 0], faces)
    return Asset(mesh, coordinates, normals, albedo, 0 * even, 0.5 * even, flat, even)


def make_light() -> Environment:
    directions = texel_directions(32, 64)
    level = np.exp(1.5 * (directions @ [0.6, 0.5, 0.6] - 0.4))
    return Environment((level[..., None] * [1.0, 0.8, 0.6]).astype(np.float32))


def exr(path: Path, linear: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(linear_to_srgb(np.broadcast_to(linear, (*linear.shape[:2], 3))), np.float32)
    write_picture(path, Picture(pixels, "exr", "float"))


def array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values.astype(np.float32))


def draw_truth(pictures: Path, maps: Path, names: tuple[str, str, str]) -> None:
    """Three test views with everything, larger than they are measured at."""
    asset, light = make_asset(), make_light()
    eyes = torch.tensor([[0.3, 0.8, 2.2], [2.0, 1.0, 0.2], [-0.8, -0.6, -2.1]], dtype=torch.float64)
    poses = look_at(eyes, torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64))
    cameras = Cameras(poses, pinhole_intrinsics(50, 2 * SIDE, 2 * SIDE).expand(3, 4), 2 * SIDE, 2 * SIDE)
    surfaces, frames = SurfaceViews(asset), []
    shots = relight(asset, light, cameras, RelightSettings(preview=True))
    for view, picture in enumerate(shots):
        name, pose = f"{view:04d}", poses[view].numpy()
        seen = surfaces.see(cameras, view)
        exr(pictures / "test" / f"{name}.exr", picture[..., :3])
        (pictures / "test_mask").mkdir(exist_ok=True)
        mask = np.repeat(seen.mask[..., None], 3, axis=-1).astype(np.float32)
        write_picture(pictures / "test_mask" / f"{name}.png", Picture(mask, "png", "uint8", is_gray=True))
        # The surroundings as a panorama about the camera: its middle is where the camera looks.
        ahead = texel_directions(64, 128) * [-1, -1, 1]
        exr(maps / "env_map" / f"{name}.exr", light.seen(ahead @ pose[:3, :3].T))
        exr(maps / names[0] / f"{name}.exr", seen.albedo)
        array(maps / names[1] / f"{name}.npy", seen.normal @ pose[:3, :3] * [1, -1, -1])
        array(maps / names[2] / f"{name}.npy", seen.depth)
        matrix = np.eye(4)
        matrix[:3] = TO_WORLD @ (pose @ TO_OPENGL)[:3]
        frames.append({"file_path": f"test/{name}", "transform_matrix": matrix.tolist()})
    angle = math.radians(50)
    (pictures / "transforms_test.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``truth`` in our layout with a scan, ``asset.glb``, and ``light.exr``."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_truth(folder / "truth", folder / "truth", ("albedo", "normal", "depth"))
    save_asset(make_asset(), folder / "asset.glb")
    shutil.copy(folder / "asset.glb", folder / "truth" / "mesh.glb")
    exr(folder / "light.exr", make_light().radiance)
    return folder


@pytest.fixture
def here(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*options: str) -> int:
    return main(["evaluate-asset", *options, "--size", str(SIDE)])


def means(*options: str) -> dict[str, float]:
    assert evaluate(*options, "--json", "scores.json", "--overwrite") == 0
    return json.loads(Path("scores.json").read_text())["means"]


def test_the_true_asset_in_each_views_own_light(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = means("asset.glb", "truth", "--preview")
    assert set(found) == {
        "psnr_hdr",
        "psnr_ldr",
        "ssim",
        "albedo_psnr",
        "normal_error",
        "depth_error",
        "chamfer",
    }
    assert found["psnr_hdr"] > 38 and found["psnr_ldr"] > 38 and found["ssim"] > 0.98
    assert found["albedo_psnr"] > 38 and found["normal_error"] < 2e-3
    assert found["depth_error"] < 1e-4 and found["chamfer"] < 0.2
    scores = json.loads(Path("scores.json").read_text())
    assert sorted(scores["views"]) == ["0000", "0001", "0002"]
    printed = capsys.readouterr().out
    assert "truth: 3 test views" in printed and "PSNR-H" in printed and "Chamfer" in printed


def test_another_asset_scores_worse_where_it_differs(here: Path) -> None:
    asset = make_asset()
    true = means("asset.glb", "truth", "--preview")
    save_asset(replace(asset, albedo=asset.albedo[:, ::-1]), here / "painted.glb")
    painted = means("painted.glb", "truth", "--preview")
    assert painted["albedo_psnr"] < true["albedo_psnr"] - 10 and painted["psnr_ldr"] < true["psnr_ldr"] - 5
    assert painted["normal_error"] == pytest.approx(true["normal_error"])
    larger = replace(asset, mesh=Mesh(asset.mesh.vertices * 1.1, asset.mesh.faces))
    save_asset(larger, here / "larger.glb")
    assert means("larger.glb", "truth", "--preview")["chamfer"] > 5 * true["chamfer"]


def test_one_light_for_all_views_serves_where_they_have_none(here: Path) -> None:
    shutil.rmtree("truth/env_map")
    named = means("asset.glb", "truth", "--preview", "--environment", "light.exr")
    assert named["psnr_hdr"] > 38
    without = means("asset.glb", "truth", "--preview")
    assert "psnr_hdr" not in without and without["albedo_psnr"] == named["albedo_psnr"]


def test_path_traced_pictures_are_near_too(here: Path) -> None:
    pytest.importorskip("mitsuba")
    assert means("asset.glb", "truth/transforms_test.json", "--samples", "32")["psnr_ldr"] > 28


def test_stanford_orbs_own_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures, maps = Path("blender_HDR/egg_scene001"), Path("ground_truth/egg_scene001")
    draw_truth(pictures, maps, ("pseudo_gt_albedo", "surface_normal", "z_depth"))
    asset = make_asset()
    save_asset(asset, tmp_path / "asset.glb")
    (maps / "mesh_blender").mkdir()
    scan = trimesh.Trimesh(asset.mesh.vertices @ TO_WORLD.T, asset.mesh.faces, process=False)
    scan.export(maps / "mesh_blender" / "mesh.obj")
    found = means("asset.glb", str(pictures), "--preview")
    assert found["psnr_hdr"] > 38 and found["albedo_psnr"] > 38 and found["chamfer"] < 0.2
    assert found["normal_error"] < 2e-3 and found["depth_error"] < 1e-4


def test_finished_pictures_of_another_program(here: Path) -> None:
    Path("made").mkdir()
    for view in range(3):
        shutil.copy(f"truth/test/{view:04d}.exr", f"made/{view:04d}.exr")
    shutil.copytree("truth/depth", "made/depth")
    found = means("made", "truth")
    assert found == {
        "psnr_hdr": pytest.approx(120),
        "psnr_ldr": pytest.approx(120),
        "ssim": pytest.approx(1),
        "depth_error": pytest.approx(0, abs=1e-12),
    }


def test_a_result_that_leaves_views_out_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("made").mkdir()
    for view in range(3):
        shutil.copy(f"truth/test/{view:04d}.exr", f"made/{view:04d}.exr")
    shutil.copytree("truth/normal", "made/normal")
    Path("made/normal/0001.npy").unlink()
    assert evaluate("made", "truth") == 1
    assert "made/normal: has no map of 0001;" in capsys.readouterr().err
    Path("truth/normal/0001.npy").unlink()  # what the truth does not have need not be there
    assert "normal_error" in means("made", "truth")
    capsys.readouterr()
    Path("made/0000.exr").unlink()
    Path("made/0002.exr").unlink()
    assert evaluate("made", "truth") == 1
    assert "made: has no picture of 0000, 0002;" in capsys.readouterr().err


def test_masks_of_the_truth_are_read_as_those_of_photographs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_gray = means("asset.glb", "truth", "--preview")
    for path in (here / "truth" / "test_mask").iterdir():  # the mask as the file's alpha
        mask = read_picture(path).pixels[..., 0]
        plain = Picture(np.ones((*mask.shape, 3), np.float32), "png", "uint8", alpha=mask)
        write_picture(path, plain, WriteOptions(overwrite=True))
    assert means("asset.glb", "truth", "--preview") == pytest.approx(from_gray)
    shutil.rmtree(here / "truth" / "test_mask")
    path = here / "truth" / "test" / "0000.exr"
    opaque = np.ones((2 * SIDE, 2 * SIDE), np.float32)
    full = Picture(read_picture(path).pixels, "exr", "float", alpha=opaque)
    write_picture(path, full, WriteOptions(overwrite=True))
    capsys.readouterr()
    assert evaluate("asset.glb", "truth", "--preview") == 1
    assert "0000.exr: has no mask" in capsys.readouterr().err


def test_pictures_of_low_range_have_no_psnr_of_high_range(here: Path) -> None:
    for view in range(3):
        path = here / "truth" / "test" / f"{view:04d}.exr"
        values = np.full((2 * SIDE, 2 * SIDE, 3), 0.5, np.float32)
        write_picture(path.with_suffix(".png"), Picture(values, "png", "uint8"))
        path.unlink()
    assert "psnr_hdr" not in means("asset.glb", "truth", "--preview")


@pytest.mark.parametrize(
    ("spoil", "options", "code", "said"),
    [
        (lambda: None, ["asset.glb", "nowhere"], 1, "nowhere"),
        (lambda: Path("truth/transforms_test.json").unlink(), ["asset.glb", "truth"], 1, "transforms"),
        (lambda: shutil.rmtree("truth/test_mask"), ["asset.glb", "truth"], 1, "has no mask"),
        (lambda: Path("made").mkdir(), ["made", "truth"], 1, "made: has no picture of 0000, 0001, 0002"),
        (lambda: Path("made").mkdir(), ["made", "truth", "--preview"], 2, "need an asset"),
        (lambda: np.save("truth/depth/0001.npy", np.zeros(3)), ["asset.glb", "truth"], 1, "0001.npy"),
        (lambda: Path("s.json").touch(), ["asset.glb", "truth", "--json", "s.json"], 1, "s.json: exists"),
        (lambda: None, ["asset.glb", "truth", "--samples", "0"], 2, "--samples 0"),
    ],
)
def test_bad_input_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], spoil, options: list[str], code: int, said: str
) -> None:
    spoil()
    extra = [] if options[0] == "made" else ["--preview"]
    assert evaluate(*options, *extra) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and said in captured.err


def test_distorted_test_views_and_nothing_in_common_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "truth" / "transforms_test.json"
    content = json.loads(file.read_text())
    for name in ("env_map", "albedo", "normal", "depth"):
        shutil.rmtree(here / "truth" / name)
    (here / "truth" / "mesh.glb").unlink()
    assert evaluate("asset.glb", "truth", "--preview") == 1
    assert "nothing in common" in capsys.readouterr().err
    file.write_text(json.dumps({**content, "k1": 0.1}))
    assert evaluate("asset.glb", "truth", "--preview") == 1
    assert "undistort" in capsys.readouterr().err


def test_distance_of_shifted_squares_is_what_it_is_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices = np.asarray([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    square = Mesh(vertices, np.asarray([[0, 1, 2], [0, 2, 3]]))
    moved = Mesh(vertices + np.asarray([0, 0, 0.1]), square.faces)
    assert mesh_distance(square, moved) == pytest.approx(2000 * 0.01, rel=0.01)
    few = [surface_points(mesh, 500, seed) for mesh, seed in ((square, 0), (moved, 1))]
    squares = np.square(few[0][:, None] - few[1]).sum(-1)
    monkeypatch.setattr(object_scoring, "_POINTS", 500)
    plain = 2000 * (squares.min(0).mean() + squares.min(1).mean()) / 2
    assert mesh_distance(square, moved) == pytest.approx(plain)
