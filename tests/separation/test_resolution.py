import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from clearpane.images.tiling import BandedPixels
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import (
    LocalCorrection,
    box_mean,
    enlarge,
    separate_at_resolution,
    separate_banded,
    separate_enlarged,
    shrink,
    working_size,
)


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    wave = 0.5 + 0.3 * np.sin(x / 17.0)[..., None] * np.cos(y / 23.0)[..., None]
    return np.clip(wave + 0.1 * rng.standard_normal((height, width, 3)), 0.05, 0.95).astype(np.float32)


@given(st.integers(16, 9000), st.integers(16, 9000))
def test_working_size_keeps_the_shape_and_the_bound(height, width):
    h, w = working_size(height, width, 250_000)
    assert h <= height and w <= width
    assert min(h, w) >= 16
    if min(h, w) > 100:
        assert h * w <= 250_000 * 1.02
        assert h / w == pytest.approx(height / width, rel=0.02)
    if height * width <= 250_000:
        assert (h, w) == (height, width)


def test_shrink_is_the_mean_over_areas():
    image = textured(48, 60)
    expected = image.reshape(12, 4, 15, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrink(image, 12, 15), expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 120), st.integers(16, 120), st.data())
def test_shrinking_and_enlarging_are_those_of_pillow(height, width, data):
    small = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    # A pixel centre on the border of two areas goes to the first; Pillow decides by rounding errors.
    for large, side in zip((height, width), small, strict=True):
        assume(not any(2 * number * large % (2 * side) == side for number in range(side)))
    image = np.random.default_rng(height * 1000 + width).random((height, width, 3), np.float32)
    pillow = [
        np.asarray(Image.fromarray(image[..., c]).resize(small[::-1], Image.Resampling.BOX)) for c in range(3)
    ]
    found = shrink(image, *small)
    np.testing.assert_allclose(found, np.stack(pillow, axis=-1), atol=1e-6)
    plane = found[..., 0]
    pillow = np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(enlarge(plane, height, width), pillow, atol=1e-6)


def test_the_fit_is_that_of_the_plain_formula_in_double_precision():
    image = np.clip(textured(120, 90) * 0.02 + 0.9, 0, 1)  # nearly flat and bright, the worst for float32
    layer = np.clip(0.6 * image + 0.1 * textured(120, 90, seed=1), 0, 1)
    i, t = image.astype(np.float64), layer.astype(np.float64)
    for flat_gain in (0.0, 1.0):
        variance = box_mean(i * i, 1) - box_mean(i, 1) ** 2
        covariance = box_mean(i * t, 1) - box_mean(i, 1) * box_mean(t, 1)
        gain = (covariance + flat_gain * 1e-4) / (variance + 1e-4)
        offset = box_mean(box_mean(t, 1) - gain * box_mean(i, 1), 1)
        found = LocalCorrection.fit(image, layer, 1, flat_gain)
        np.testing.assert_allclose(found.gain, box_mean(gain, 1), atol=2e-3)
        np.testing.assert_allclose(found.gain * i + found.offset, box_mean(gain, 1) * i + offset, atol=1e-5)


def test_bands_give_what_the_whole_picture_gives_and_only_what_is_asked_for_is_computed(monkeypatch):
    for module in ("images.tiling", "separation.resolution"):
        monkeypatch.setattr(f"clearpane.{module}.BAND_PIXELS", 5_000)
    image = textured(300, 400)
    asked = []

    def band(rows: slice) -> np.ndarray:
        asked.append(rows)
        return image[rows].copy()

    def separate(small: np.ndarray) -> Layers:
        return Layers(0.7 * small, 0.3 * small)

    fits = []
    fit = LocalCorrection.fit
    monkeypatch.setattr(LocalCorrection, "fit", lambda *values: fits.append(values) or fit(*values))
    whole = separate_at_resolution(image, separate, 10_000)
    fits.clear()
    layers = separate_banded(BandedPixels(image.shape, band), separate, 10_000)
    assert not fits and max(rows.stop - rows.start for rows in asked) < 300
    for rows in (slice(0, 7), slice(7, 200), slice(200, 300)):
        np.testing.assert_allclose(layers.transmission[rows], whole.transmission[rows], atol=1e-6)
    assert len(fits) == 1
    np.testing.assert_allclose(layers.whole().reflection, whole.reflection, atol=1e-6)


def test_a_wide_picture_gives_what_the_clipped_one_gives():
    image = textured(300, 400)
    image[40:60, 50:90] = 7.0
    image[140:160, 50:90] = -2.0

    def separate(small: np.ndarray) -> Layers:
        return Layers(0.7 * small, 0.3 * small)

    wide = separate_at_resolution(image, separate, 10_000)
    narrow = separate_at_resolution(np.clip(image, 0, 1), separate, 10_000)
    np.testing.assert_array_equal(wide.transmission, narrow.transmission)
    np.testing.assert_array_equal(wide.reflection, narrow.reflection)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_box_mean_against_a_plain_loop(height, width, radius):
    values = np.random.default_rng(height * 100 + width).random((height, width, 2))
    plain = np.empty_like(values)
    for y in range(height):
        for x in range(width):
            top, left = max(0, y - radius), max(0, x - radius)
            plain[y, x] = values[top : y + radius + 1, left : x + radius + 1].mean(axis=(0, 1))
    np.testing.assert_allclose(box_mean(values, radius), plain, atol=1e-12)


def test_a_gain_and_offset_is_found_and_applied_at_full_resolution():
    image = textured(400, 600)
    small = shrink(image, 100, 150)
    correction = LocalCorrection.fit(small, 0.8 * small + 0.05, radius=2)
    # The fit leans towards a gain of 1 by as much as a window is flat.
    assert np.abs(correction.apply(image) - (0.8 * image + 0.05)).mean() < 2e-3


def test_a_correction_that_meets_a_layer_gives_it_whatever_the_gain():
    small, layer = textured(60, 80), textured(60, 80, seed=1)
    correction = LocalCorrection.fit(small, layer, radius=2).meeting(small, layer)
    np.testing.assert_allclose(correction.apply(small), layer, atol=1e-6)


def test_a_sharp_reflection_is_taken_away_at_full_resolution():
    """Seen at half its size, a reflection with an edge every 16 pixels leaves little behind."""
    scene = shrink(textured(800, 1200), 400, 600)
    stripes = 0.2 * (np.arange(600) // 16 % 2)[None, :, None]
    image = (0.7 * scene + stripes).astype(np.float32)

    def separate(small):
        height, width = small.shape[:2]
        return Layers(shrink(0.7 * scene, height, width), small - shrink(0.7 * scene, height, width))

    result = separate_at_resolution(image, separate, 200 * 300).transmission
    assert np.square(result - 0.7 * scene).mean() < 2e-4
    away_from_edges = (np.arange(600) % 16 > 3) & (np.arange(600) % 16 < 12)
    assert np.abs(result - 0.7 * scene)[:, away_from_edges].mean() < 2e-3


def test_detail_of_the_original_survives_where_the_layer_is_the_picture_itself():
    image = textured(500, 700)
    layers = separate_at_resolution(image, lambda small: Layers(small, np.zeros_like(small)), 20_000)
    np.testing.assert_allclose(layers.transmission, image, atol=1e-3)


def test_no_band_of_rows_shows():
    """Rows are enlarged band by band: the seams between bands are as smooth as the rest."""
    rng = np.random.default_rng(0)
    gain = rng.random((20, 30, 3)).astype(np.float32)
    correction = LocalCorrection(gain, np.zeros_like(gain))
    tall = correction.apply(np.full((3000, 1500, 3), 0.5, np.float32))
    steps = np.abs(np.diff(tall, axis=0)).max(axis=(1, 2))
    band = (1 << 20) // 1500
    assert steps[band - 1 :: band].max() <= 1.05 * np.median(np.sort(steps)[-200:])


def test_a_small_picture_is_passed_straight_through():
    image = textured(40, 50)
    seen = []

    def separate(small: np.ndarray) -> Layers:
        seen.append(small)
        return Layers(small - 0.2, small + 0.2)

    layers = separate_at_resolution(image, separate, 10_000)
    assert len(seen) == 1 and seen[0] is image
    np.testing.assert_array_equal(layers.transmission, np.clip(image - 0.2, 0, 1))
    np.testing.assert_array_equal(layers.reflection, np.clip(image + 0.2, 0, 1))


def test_an_enlarged_look_keeps_the_detail_and_shrinks_the_change():
    image = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    seen = []

    def ramp(height, width):
        across, down = np.meshgrid(np.linspace(0, 0.2, width), np.linspace(0, 0.1, height))
        return np.repeat((across + down)[..., None], 3, axis=2).astype(np.float32)

    def dimmed(picture):
        seen.append(picture.shape)
        return Layers(picture - ramp(*picture.shape[:2]), ramp(*picture.shape[:2]))

    layers = separate_enlarged(image, dimmed, 1.25)
    assert seen == [(50, 75, 3)]
    np.testing.assert_allclose(layers.transmission, image - ramp(40, 60), atol=2e-3)
    np.testing.assert_allclose(layers.reflection, ramp(40, 60), atol=2e-3)


def test_detail_that_only_the_original_has_belongs_to_the_scene():
    """At the working size the picture is even, and so are its layers; its grain is no reflection."""
    rng = np.random.default_rng(0)
    grain = np.kron(np.ones((100, 150)), [[1, -1], [-1, 1]])[..., None] * rng.choice([0.1, 0.2], 3)
    image = (0.5 + grain).astype(np.float32)

    def separate(small):
        return Layers(0.8 * small, np.full_like(small, 0.1))

    layers = separate_at_resolution(image, separate, 100 * 150)
    np.testing.assert_allclose(layers.reflection, 0.1, atol=1e-4)
    np.testing.assert_allclose(layers.transmission - 0.4, grain, atol=1e-4)
