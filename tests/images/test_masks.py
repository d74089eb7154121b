"""Masks as people paint them, compared with the region that was painted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.masks import read_mask

CASES = Path(__file__).parents[1] / "data" / "cases"
REGION = np.zeros((40, 60), np.float32)
REGION[10:25, 12:30] = 1
REGION[10:25, 30] = 0.5


def painted(ink, paper, region=REGION):
    """A layer of ink over opaque paper."""
    ink, paper = np.array(ink, np.float32), np.array(paper, np.float32)
    return np.rint(paper + region[..., None] * (ink - paper)).astype(np.uint8)


def layer(ink, region=REGION):
    """Ink on a transparent layer; what is transparent is black."""
    alpha = np.rint(region * 255).astype(np.uint8)
    return np.dstack([np.where(alpha[..., None] > 0, np.array(ink, np.uint8), 0).astype(np.uint8), alpha])


@pytest.mark.parametrize("name", ["m_blackpaint", "m_redpaint"])
def test_the_cases_are_the_region_painted_into_alpha(name):
    with Image.open(CASES / f"{name}.png") as image:
        expected = np.asarray(image)[..., 3] / 255
    mask = read_mask(CASES / f"{name}.png")
    np.testing.assert_allclose(mask.weights, expected, atol=1e-6)
    assert "transparency" in mask.reading and "%" in mask.reading


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (10, 120, 200), (128, 128, 128)])
def test_strokes_of_any_colour_on_transparency(tmp_path, ink):
    Image.fromarray(layer(ink)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_mask(tmp_path / "a.png").weights, REGION, atol=1 / 400)


@pytest.mark.parametrize("paper", [(0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("ink", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)])
def test_one_colour_on_black_or_white(tmp_path, ink, paper):
    Image.fromarray(painted(ink, paper)).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    np.testing.assert_allclose(mask.weights, REGION, atol=0.01)
    assert "colour" in mask.reading


def test_white_on_black_and_grey_between(tmp_path):
    Image.fromarray(painted((255,) * 3, (0,) * 3)).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    np.testing.assert_allclose(mask.weights, REGION, atol=1 / 400)
    assert "brightness" in mask.reading


def test_black_and_white_on_a_layer_with_a_hole(tmp_path):
    rgba = np.dstack([painted((255,) * 3, (0,) * 3), np.full(REGION.shape, 255, np.uint8)])
    rgba[:5, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_mask(tmp_path / "a.png").weights, REGION, atol=1 / 400)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_values_of_0_and_1(tmp_path, mode):
    values = (REGION > 0.6).astype(np.uint8)
    Image.fromarray(values * (255 if mode == "1" else 1)).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").weights, values)


@pytest.mark.parametrize("kind", ["black", "clear"])
def test_a_mask_that_selects_nothing_is_an_error(tmp_path, kind):
    picture = np.zeros((40, 60, 3 if kind == "black" else 4), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(ClearpaneError, match="selects nothing"):
        read_mask(tmp_path / "a.png")


def test_a_photograph_is_no_mask(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    with pytest.raises(ClearpaneError, match="many colours"):
        read_mask(tmp_path / "a.png")


def test_a_small_white_region_on_opaque_black_beside_a_hole(tmp_path):
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[10:, :, 3] = 255
    rgba[50:55, 50:55, :3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").weights, rgba[..., 0] / np.float32(255))
