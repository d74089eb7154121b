"""Views that come later: what is kept of the earlier ones, how it is stored, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clearpane.app.cli import main
from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.capture.cropping import Capture, load_capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.capture.transforms import read_transforms
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.weights_file import load_lirm, save_lirm
from clearpane.reconstruction.progressive import ObjectState, Rounds, load_state, save_state

from .capture.test_cropping import CENTRE, RADIUS, write_ball
from .conftest import TINY, orbit, sphere_views

CONFIG = replace(TINY, blocks=1, evidence=24, view_features=4)
PLACEMENT = Placement(np.asarray([1.0, 2.0, 0.1]), np.eye(3)[[1, 2, 0]], 0.7)


def capture(cameras: Cameras) -> Capture:
    """A ball from some sides."""
    pictures, masks = sphere_views(cameras)
    return Capture(pictures, masks, cameras, tuple(map(str, range(len(pictures)))), PLACEMENT)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clearpane.reconstruction.lirm.observing._SIDE", 32)
        patch.setattr("clearpane.reconstruction.field.evidence._DEPTH_SIDE", 32)
        patch.setattr("clearpane.reconstruction.fitting.starting.EVIDENCE_SIDE", 40)
        yield


@pytest.fixture(scope="module")
def lirm(tmp_path_factory: pytest.TempPathFactory) -> Lirm:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lirm") / "tiny.safetensors"
    save_lirm(path, CONFIG, Lirm(CONFIG).state_dict())
    return load_lirm(path)


@pytest.fixture(scope="module")
def states(lirm: Lirm) -> list[ObjectState]:
    """After three, six and nine views, in rounds of three."""
    cameras, made = orbit(9), []
    for first in (0, 3, 6):
        earlier = made[-1] if made else None
        made.append(Rounds(lirm, earlier).observe(capture(cameras[first : first + 3])).state)
    return made


def off(state: ObjectState, lirm: Lirm) -> float:
    """Return the distance of the predicted surface from the ball's, near the ball, in metres."""
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points = points[(points.norm(dim=-1) - 0.35).abs() < 0.1]
    (field,) = lirm.fields(state.memory)
    with torch.no_grad():
        wrong = field.signed_distance(points) - (points.norm(dim=-1, keepdim=True) - 0.35)
    return float(wrong.abs().mean())


def test_later_views_improve_the_object_as_much_as_all_at_once(lirm: Lirm, states: list[ObjectState]) -> None:
    errors = [off(state, lirm) for state in states]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]
    at_once = Rounds(lirm).observe(capture(orbit(9))).state
    assert [state.views for state in states] == [3, 6, 9] and at_once.views == 9
    for name in ("hull", "distance", "masks"):  # LIRM takes eight views at once, then one
        there, rounds = (getattr(s.memory.evidence[0], name) for s in (at_once, states[-1]))
        torch.testing.assert_close(there, rounds)
    assert errors[2] == pytest.approx(off(at_once, lirm), rel=1e-3)


def test_a_state_comes_back_from_its_file_whose_size_is_always_the_same(
    tmp_path: Path, lirm: Lirm, states: list[ObjectState]
) -> None:
    paths = [tmp_path / f"{state.views}.safetensors" for state in states]
    for path, state in zip(paths, states, strict=True):
        save_state(path, state, lirm)
    assert len({path.stat().st_size for path in paths}) == 1
    read, state = load_state(paths[1], lirm), states[1]
    assert read.views == 6 and read.placement.scale == PLACEMENT.scale
    assert (read.placement.centre == PLACEMENT.centre).all()
    assert (read.placement.rotation == PLACEMENT.rotation).all()
    again = Rounds(lirm, read).observe(capture(orbit(9)[6:9])).state
    torch.testing.assert_close(again.memory.tokens, states[2].memory.tokens, rtol=0, atol=0)
    torch.testing.assert_close(again.memory.features[0], states[2].memory.features[0], rtol=0, atol=0)
    with pytest.raises(ClearpaneError, match=r"6\.safetensors: exists"):
        save_state(paths[1], state, lirm)


def test_a_network_without_evidence_keeps_its_tokens_alone(tmp_path: Path) -> None:
    lirm = Lirm(TINY).eval()
    state = Rounds(lirm).observe(capture(orbit(3))).state
    save_state(tmp_path / "a.safetensors", state, lirm)
    read = load_state(tmp_path / "a.safetensors", lirm).memory
    assert torch.equal(read.tokens, state.memory.tokens) and read.evidence == read.features == ()


def changed(path: Path, facts: dict[str, Any] | str, tensors: dict[str, Tensor]) -> None:
    """Change some of a state's description, or all of it, and some of its tensors."""
    with safe_open(path, "pt") as file:
        known = file.metadata()["object_state"]
    text = facts if isinstance(facts, str) else json.dumps({**json.loads(known), **facts})
    save_file({**load_file(path), **tensors}, path, {"object_state": text})


@pytest.mark.parametrize(
    ("facts", "tensors", "message"),
    [
        ({"version": 1}, {}, "is a state of version 1, where 2 is needed"),
        ("[]", {}, "is a state of version None"),
        ("{", {}, "description of its state is damaged"),
        ({"weights": "0" * 64}, {}, "other weights of LIRM"),
        ({"scale": -1.0}, {}, "the object's frame is damaged"),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, {}, "the object's frame is damaged"),
        ({"centre": [0.0, 1.0]}, {}, "centre"),
        ({"views": 0}, {}, "frame is damaged"),
        ({"more": 1}, {}, "there is no field 'more'"),
        ({}, {"features": torch.zeros(3)}, "its tensors are not those"),
        ({}, {"more": torch.zeros(3)}, "its tensors are not those"),
        ({}, {"tokens": torch.full((1, 112, 32), torch.nan)}, "not finite"),
    ],
)
def test_a_damaged_state_or_one_of_another_kind_is_refused(
    tmp_path: Path,
    lirm: Lirm,
    states: list[ObjectState],
    facts: dict[str, Any] | str,
    tensors: dict[str, Tensor],
    message: str,
) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, states[0], lirm)
    changed(path, facts, tensors)
    with pytest.raises(ClearpaneError, match=rf"state\.safetensors: .*{message}"):
        load_state(path, lirm)


def test_what_is_no_state_is_refused(tmp_path: Path, lirm: Lirm) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ClearpaneError, match="cannot be read as safetensors"):
        load_state(path, lirm)
    path.write_bytes(b"nothing")
    with pytest.raises(ClearpaneError, match="cannot be read as safetensors"):
        load_state(path, lirm)
    save_lirm(path, CONFIG, lirm.state_dict())
    with pytest.raises(ClearpaneError, match="holds no state of an object"):
        load_state(path, lirm)


def test_views_of_another_place_are_refused_by_name(lirm: Lirm, states: list[ObjectState]) -> None:
    views = capture(orbit(3, seed=1))
    moved = views.cameras.camera_to_world.clone()
    moved[1, :3, 3] += torch.tensor([0.0, 0.6, 0.3])
    away = replace(views.cameras, camera_to_world=moved)
    with pytest.raises(ClearpaneError, match=r"^1: .* where the earlier views show no object"):
        Rounds(lirm, states[1]).observe(replace(views, cameras=away))
    assert Rounds(lirm, states[1]).observe(views).state.views == 9


def test_the_command_saves_a_state_and_later_improves_the_object(
    tmp_path: Path, lirm: Lirm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("trimesh", "skimage", "xatlas", "fast_simplification"):
        pytest.importorskip(package)
    monkeypatch.setattr("clearpane.app.reconstruct_object._SHEET_SIDE", 24)
    monkeypatch.setattr("clearpane.reconstruction.fitting.sky_visibility._STEPS", 2)
    for name, few in (("_OCCLUSION_GRID", 16), ("_OCCLUSION_RAYS", 2)):
        monkeypatch.setattr(f"clearpane.reconstruction.asset.baking.{name}", few)
    path = write_ball(tmp_path / "views", views=6)
    document = json.loads(path.read_text())
    for name, frames in (("first", [0, 2, 5]), ("later", [1, 3, 4])):
        part = {**document, "frames": [document["frames"][i] for i in frames]}
        path.with_name(f"{name}.json").write_text(json.dumps(part))
    path.unlink()
    weights, state = tmp_path / "tiny.safetensors", tmp_path / "state.safetensors"
    save_lirm(weights, CONFIG, lirm.state_dict())
    seen = load_capture(read_transforms(path.with_name("first.json")), 32)
    save_state(state, Rounds(lirm).observe(seen).state, lirm)
    first = _widest(state)
    quick = ["--time-limit", "0", "--side", "32", "--resolution", "24", "--texture", "32", "--faces", "400"]
    quick += ["--weights", str(weights)]

    def run(views: str, *more: str | Path) -> int:
        named = ["reconstruct", str(tmp_path / views), "--output", str(tmp_path / "ball.glb")]
        return main([*named, *quick, *map(str, more)])

    later = tmp_path / "later.safetensors"
    assert run("views/later.json", "--update", state, "--save-state", later) == 0
    assert load_state(later, lirm).views == 6 and later.stat().st_size == state.stat().st_size
    assert _widest(later) < 0.95 * first
    vertices = load_asset(tmp_path / "ball.glb").mesh.vertices - CENTRE[[0, 2, 1]] * [1, 1, -1]
    assert np.linalg.norm(vertices, axis=1).mean() == pytest.approx(RADIUS, rel=0.15)

    shutil.copytree(tmp_path / "views" / "train", tmp_path / "plain")
    (tmp_path / "ball.glb").unlink()
    (tmp_path / "ball_views.jpg").unlink()
    before = {p.name for p in tmp_path.iterdir()}
    capsys.readouterr()
    for arguments, message in (
        (("views/later.json", "--update", tmp_path / "no.safetensors"), "cannot be read as safe"),
        (("views/later.json", "--save-state", state), "exists already; --overwrite replaces it"),
        (("views/later.json", "--save-state", tmp_path / "a.bin"), "ends in .safetensors"),
        (("plain", "--update", state), "the new views have no camera poses"),
    ):
        assert run(*arguments) in (1, 2)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and message in lines[0]
    assert {p.name for p in tmp_path.iterdir()} == before


def _widest(state: Path) -> float:
    """The farthest that a state's hull reaches from its middle, voxels."""
    inside = (load_file(state)["evidence.hull"] > 0.5).nonzero().float()
    return float((inside - inside.mean(0)).norm(dim=-1).max())
