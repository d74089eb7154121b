"""The whole road: photographs of a ball on disk become an asset where the ball was."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app.cli import main
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.failures.detectors import Detection
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.fitting import starting
from clearpane.reconstruction.fitting.schedule import STEPS
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm

from .capture.test_cropping import CENTRE, RADIUS, write_ball
from .khronos import check_with_khronos

for package in ("trimesh", "skimage", "xatlas", "fast_simplification"):
    pytest.importorskip(package)
QUICK = ("--quality", "draft", "--side", "48", "--resolution", "32", "--texture", "64", "--faces", "600")


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "EVIDENCE_SIDE", 40)
    monkeypatch.setattr("clearpane.app.reconstruct_object._SHEET_SIDE", 48)
    monkeypatch.setitem(STEPS, "draft", 10)


def reconstruct(*arguments: str | Path) -> int:
    return main(["reconstruct", *map(str, arguments)])


def test_a_ball_comes_back_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views = write_ball(tmp_path / "views")
    output = tmp_path / "ball.glb"
    assert reconstruct(views.parent, "--output", output, *QUICK) == 0
    printed = capsys.readouterr()
    assert f"{output}" in printed.out and "8 views" in printed.out and "dB" in printed.out
    assert "in 10 steps" in printed.out and "s left" in printed.err
    asset = load_asset(output)
    assert 100 < len(asset.mesh.faces) <= 600
    # z was up in the photographs' world; glTF's up is y.
    centre = CENTRE[[0, 2, 1]] * [1, 1, -1]
    low, high = asset.mesh.vertices.min(0), asset.mesh.vertices.max(0)
    np.testing.assert_allclose((low + high) / 2, centre, atol=0.15)
    np.testing.assert_allclose(high - low, 2 * RADIUS, rtol=0.2)
    # It is coloured by its normal, in the photographs' axes: what is up is blue.
    outward = (asset.mesh.vertices - centre) / RADIUS
    size = len(asset.albedo)
    column, row = np.clip((asset.coordinates * size).astype(int), 0, size - 1).T
    blue = asset.albedo[row, column, 2]
    assert np.corrcoef(blue, outward[:, 1])[0, 1] > 0.6
    with Image.open(tmp_path / "ball_views.jpg") as sheet:
        assert sheet.size == (4 * 48, 4 * 48)
    assert {p.name for p in tmp_path.iterdir()} == {"views", "ball.glb", "ball_views.jpg"}
    check_with_khronos(output)


def test_what_cannot_be_is_said_in_one_line_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = write_ball(tmp_path / "views")
    there = tmp_path / "there.glb"
    there.write_bytes(b"mine")
    document = json.loads(views.read_text())
    document["frames"] = document["frames"][:1]
    single = views.with_name("single.json")
    single.write_text(json.dumps(document))
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    cases = {
        (views, "--output", tmp_path / "ball.stl"): "an asset is written as",
        (views, "--output", there): "exists already; allow overwriting",
        (views, "--output", tmp_path / "no" / "ball.glb"): "there is no folder",
        (tmp_path / "nothing", "--output", tmp_path / "a.glb"): "no such file or folder",
        (single, "--output", tmp_path / "a.glb"): "at least two photographs",
        (views, "--output", tmp_path / "a.glb", "--time-limit", "-1"): "give a time of 0 seconds or more",
        (views, "--output", tmp_path / "a.glb", "--side", "8"): "--side 8: give 32 or more",
        (views, "--output", tmp_path / "a.glb", "--weights", tmp_path / "no.safetensors"): "safetensors",
        (views, "--output", tmp_path / "a.glb", "--masks", tmp_path / "no-masks"): "no-masks",
    }
    before = {p.name for p in tmp_path.iterdir()}
    for arguments, message in cases.items():
        assert reconstruct(*arguments) in (1, 2)
        printed = capsys.readouterr()
        lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and message in lines[0], printed.err
    assert {p.name for p in tmp_path.iterdir()} == before
    assert there.read_bytes() == b"mine"


def test_ctrl_c_ends_the_fit_and_the_asset_and_its_failures_are_of_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = write_ball(tmp_path / "views")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clearpane.reconstruction.fitting.refine.ray_loss", interrupted)
    failure = Detection("leakage", 0.4, 0.2, "thin parts have 40%; fit longer (`quality=fine`)")
    monkeypatch.setattr("clearpane.reconstruction.reconstruct.find_failures", lambda *_: [failure])
    assert reconstruct(views, "--output", tmp_path / "ball.glb", *QUICK) == 130
    printed = capsys.readouterr()
    assert "warning: interrupted" in printed.err and "8 views" in printed.out
    warning = f"warning: {views}: thin parts have 40%; fit longer (--quality fine)"
    assert printed.err.splitlines().count(warning) == 1
    hull = load_asset(tmp_path / "ball.glb")
    # Nothing was fitted: the visual hull, matt, of no metal, with its own normals.
    assert hull.metallic.mean() < 0.1
    assert hull.normal_map[..., 2].mean() > 0.9


@pytest.mark.parametrize("failing", ["bake_asset", "in_photographs_world"])
def test_an_end_while_it_is_baked_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    views = write_ball(tmp_path / "views")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"clearpane.reconstruction.reconstruct.{failing}", interrupted)
    assert reconstruct(views, "--output", tmp_path / "ball.glb", *QUICK, "--time-limit", "0") == 130
    assert {p.name for p in tmp_path.iterdir()} == {"views"}


def test_what_lirm_makes_of_the_views_is_an_asset_in_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(capture: Capture, lirm: Lirm, seed: int) -> HexaplaneField:
        seen.append(lirm.config)
        return starting.start_from_lirm(capture, lirm, seed)

    monkeypatch.setattr("clearpane.reconstruction.reconstruct.start_from_lirm", spy)
    views = write_ball(tmp_path / "views")
    output = tmp_path / "ball.glb"
    assert reconstruct(views, "--output", output, *QUICK, "--time-limit", "0", "--weights", "lirm-small") == 0
    placed = load_asset(output).mesh.vertices - CENTRE[[0, 2, 1]] * [1, 1, -1]
    assert np.linalg.norm(placed, axis=1).mean() == pytest.approx(RADIUS, rel=0.1)
    assert seen == [LIRM_SMALL]


def test_a_full_disk_is_one_line_and_no_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = write_ball(tmp_path / "views")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert reconstruct(views, "--output", tmp_path / "ball.glb", *QUICK, "--time-limit", "0") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "ball.glb" in lines[0]
    assert {p.name for p in tmp_path.iterdir()} == {"views"}
