"""The example pictures are what they say, and the script that renders them runs."""

import importlib
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image

from clearpane.optics.color import srgb_to_linear

EXAMPLES = Path(__file__).parents[1] / "examples"
SCENES = ("shop", "painting", "window", "vase")


def test_examples_are_few_and_small() -> None:
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    expected = sorted(f"{name}_{kind}.jpg" for name in SCENES for kind in ("input", "transmission"))
    assert [picture.name for picture in pictures] == expected
    assert sum(picture.stat().st_size for picture in pictures) < 2e6


@pytest.mark.parametrize("name", SCENES)
def test_the_glass_dims_a_little_and_adds_light_in_places(name: str) -> None:
    blocks = []
    for kind in ("input", "transmission"):
        with Image.open(EXAMPLES / f"{name}_{kind}.jpg") as stored:
            assert stored.size == (1000, 750)
            light = srgb_to_linear(np.asarray(stored, np.float32) / 255)
        blocks.append(light.reshape(75, 10, 100, 10, 3).mean((1, 3, 4)))
    photo, truth = blocks
    reflected = photo - 0.92 * truth
    assert 0.03 < float((reflected > 0.02).mean()) < 0.98, "the reflection covers a part of the picture"
    # Two panes let 84 % through; edges move by a pixel or two in the glass.
    assert float((photo < 0.8 * truth - 0.01).mean()) < 0.02, "the glass takes no more than it reflects"


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch):
    mi = pytest.importorskip("mitsuba")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = mi.variant()
    mi.set_variant("scalar_rgb")  # is everywhere, and has nothing to compile
    script = importlib.import_module("render")
    monkeypatch.setattr(script, "choose_variant", lambda: None)
    yield script
    if before:
        mi.set_variant(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An environment and materials as the display case uses them, made up."""
    sky = np.zeros((16, 32, 3), np.float32) + np.linspace(1.5, 0.1, 16, dtype=np.float32)[:, None, None]
    path = tmp_path / "environments" / "st_fagans_interior_1k.hdr"
    path.parent.mkdir()
    image = oiio.ImageBuf(oiio.ImageSpec(32, 16, 3, oiio.FLOAT))
    image.set_pixels(oiio.ROI(), sky)
    assert image.write(str(path)), image.geterror()
    for name in ("rock020", "marble006"):
        folder = tmp_path / "materials" / name
        folder.mkdir(parents=True)
        for kind, colour in (
            ("albedo", (90, 85, 80)),
            ("normal", (128, 128, 255)),
            ("roughness", (120,) * 3),
        ):
            Image.new("RGB", (8, 8), colour).save(folder / f"{kind}.jpg")
    return tmp_path


def test_a_small_render_keeps_the_layers_apart(render, data: Path) -> None:
    stage = render.load_stage("vase", data)
    layers = render.render_layers(stage, render.Quality(width=32, samples=16, denoise=False))
    t, r, b = (layers[name] for name in "TRB")
    assert t.shape == r.shape == b.shape == (24, 32, 3)
    assert all(np.isfinite(layer).all() and layer.min() >= 0 for layer in (t, r, b))
    # 4.3 % at either face at normal incidence, IOR 1.52: 8 % back, 92 % through, less absorption.
    assert 0.80 < t.mean() / b.mean() < 0.97
    dark = b.mean(-1) < np.quantile(b.mean(-1), 0.3)
    assert float((t + r - b)[dark].mean()) > 0, "where the scene is dark, the glass adds light"


def test_the_script_writes_the_same_pictures_again(render, data: Path, tmp_path: Path) -> None:
    pixels = []
    for run in ("first", "second"):
        folder = tmp_path / run
        folder.mkdir()
        options = ["--data", str(data), "--scene", "vase", "--width", "32", "--samples", "4", str(folder)]
        render.main(options)
        assert sorted(p.name for p in folder.iterdir()) == ["vase_input.jpg", "vase_transmission.jpg"]
        with Image.open(folder / "vase_input.jpg") as stored:
            pixels.append(np.asarray(stored, np.int16))
    assert pixels[0].shape == (24, 32, 3)
    assert pixels[0].std() > 5
    # Several threads add up a pixel's samples in any order: the last bit, a level or two of a JPEG.
    assert abs(pixels[0] - pixels[1]).max() <= 3


def test_a_missing_folder_is_one_line(render, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        render.main(["--data", str(tmp_path / "nowhere")])
    assert "nowhere" in capsys.readouterr().err
