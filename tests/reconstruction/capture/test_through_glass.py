"""Photographs through glass: reflections taken out at one exposure, and what goes wrong, in one line."""

from pathlib import Path

import numpy as np
import pytest

from clearpane.app.cli import main
from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.capture.cropping import Capture, load_capture
from clearpane.reconstruction.capture.through_glass import GlassRemoval, brightness_gain, cut_by_frame
from clearpane.reconstruction.capture.transforms import read_transforms

from .test_cropping import write_ball

SCENE = np.random.default_rng(0).uniform(0.1, 0.6, (24, 32, 3))
REFLECTION = np.zeros_like(SCENE)
REFLECTION[:, 16:] = 0.2


def shown(light: np.ndarray) -> np.ndarray:
    return np.asarray(linear_to_srgb(light.clip(0, 1)), np.float32)


@pytest.mark.parametrize("gain", [0.9, 1.3])
def test_the_gain_is_read_where_little_is_reflected(gain: float) -> None:
    photograph = shown(SCENE + REFLECTION)
    # Half of the reflection stays in the scene: it must not count.
    scene = shown(gain * (SCENE + 0.5 * REFLECTION))
    found = brightness_gain(photograph, scene, shown(0.5 * REFLECTION))
    assert found == pytest.approx(gain, rel=1e-3)
    black = np.zeros_like(photograph)
    assert brightness_gain(black, black, black) == 1


def test_all_photographs_get_one_exposure() -> None:
    gains = iter([0.8, 1.2, 1.3, 0.6])
    glass = GlassRemoval(lambda pixels: (shown(next(gains) * SCENE), shown(REFLECTION)))
    paths = [Path(f"{view}.png") for view in range(4)]
    clean = [glass.separated(shown(SCENE + REFLECTION), path) for path in paths]
    glass.leave_out(paths[3])
    for scene, path in zip(clean[:3], paths[:3], strict=True):
        np.testing.assert_allclose(srgb_to_linear(glass.exposed(scene, path)), 1.2 * SCENE, atol=1e-3)


def test_light_that_the_model_keeps_is_not_clipped_on_the_way_to_the_common_exposure() -> None:
    bright = SCENE / SCENE.max()
    glass = GlassRemoval(lambda pixels: (shown(0.7 * bright), np.zeros_like(pixels)))
    path = Path("one.png")
    scene = glass.separated(shown(bright), path)
    np.testing.assert_allclose(srgb_to_linear(glass.exposed(scene, path)), 0.7 * bright, atol=1e-3)


def test_a_model_that_fails_names_the_photograph(tmp_path: Path) -> None:
    def fail(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ClearpaneError("too small for this model")

    with pytest.raises(ClearpaneError, match=r"0000\.png: too small for this model"):
        load_capture(read_transforms(write_ball(tmp_path)), 32, remover=fail)


def test_an_object_that_the_edge_cuts_in_most_photographs_is_warned_of() -> None:
    whole, cut = np.zeros((8, 8)), np.zeros((8, 8))
    whole[2:6, 2:6] = cut[2:6, 5:] = 1
    assert cut_by_frame([whole, whole, cut, cut]) == ()
    (warning,) = cut_by_frame([whole, cut, cut])
    assert warning.startswith("in 2 of 3 photographs the object reaches the picture's edge")


def test_the_command_takes_reflections_out_and_weighs_the_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Capture] = []
    monkeypatch.setattr("clearpane.reconstruction.fitting.agreement._HULL_SIDE", 24)

    def stop(capture: Capture, *_: object) -> None:
        seen.append(capture)
        raise ClearpaneError("far enough")

    monkeypatch.setattr("clearpane.reconstruction.reconstruct.fit_capture", stop)
    path = write_ball(tmp_path / "views")
    arguments = ["reconstruct", str(path), "--output", str(tmp_path / "a.glb"), "--side", "32"]
    for extra in ([], ["--through-glass"]):
        assert main([*arguments, *extra]) == 1
    plain, through_glass = seen
    assert plain.weights is None and through_glass.weights is not None
    assert through_glass.weights.shape == plain.masks.shape and through_glass.names == plain.names
    difference = (through_glass.pictures - plain.pictures).abs()
    assert 0 < difference.mean() < 0.1 and (through_glass.masks == plain.masks).all()


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_ball(tmp_path / "views")
    (tmp_path / "empty").mkdir()
    cases = {
        ("--model", "panel"): "--model belongs to --through-glass",
        ("--through-glass", "--model", str(tmp_path / "empty")): "empty",
        ("--through-glass", "--model", "panel"): "--model panel: name the directory of its weights",
    }
    for arguments, message in cases.items():
        assert main(["reconstruct", str(path), "--output", str(tmp_path / "a.glb"), *arguments]) != 0
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and message in lines[0], lines
    assert {p.name for p in tmp_path.iterdir()} == {"views", "empty"}
