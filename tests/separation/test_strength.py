import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.images import tiling
from clearpane.separation.layers import Layers
from clearpane.separation.strength import apply_strength


@pytest.fixture
def photo():
    return np.random.default_rng(0).random((24, 36, 3), dtype=np.float32)


@pytest.fixture
def layers():
    random = np.random.default_rng(1)
    return Layers(random.random((24, 36, 3), dtype=np.float32), random.random((24, 36, 3), dtype=np.float32))


def grey(value):
    return np.full((2, 2, 3), value, np.float32)


def test_the_ends_and_the_middle_are_exact(photo, layers):
    assert np.array_equal(apply_strength(photo, layers, 0), photo)
    assert np.array_equal(apply_strength(photo, layers, 1), layers.transmission)
    assert np.array_equal(apply_strength(photo, layers, -1), layers.reflection)


@pytest.mark.parametrize("strength", [0.6, -0.6])
def test_a_mixture_may_take_the_place_of_a_layer(photo, layers, strength):
    mask = np.random.default_rng(2).random(photo.shape[:2], np.float32)
    expected = apply_strength(photo, layers, strength, mask)
    reflection = layers.reflection.copy()
    result = apply_strength(photo, layers, strength, mask, out=layers.transmission)
    assert result is layers.transmission
    assert np.array_equal(result, expected) and np.array_equal(layers.reflection, reflection)


def test_the_blend_is_linear_in_light():
    # sRGB 0.5 is 0.21404 in linear light; halfway from there to black is 0.10702, which is 0.36084 in sRGB.
    black = Layers(grey(0), grey(0))
    assert apply_strength(grey(0.5), black, 0.5) == pytest.approx(grey(0.36084), abs=1e-4)
    assert apply_strength(grey(0.5), black, -0.5) == pytest.approx(grey(0.36084), abs=1e-4)


def test_negative_strength_goes_towards_the_reflection():
    layers = Layers(transmission=grey(0), reflection=grey(1))
    assert apply_strength(grey(0.5), layers, -0.5).min() > 0.5
    assert apply_strength(grey(0.5), layers, 0.5).max() < 0.5


def test_small_strengths_are_continuous_with_the_photograph(photo, layers):
    for strength in (1e-4, -1e-4):
        assert np.abs(apply_strength(photo, layers, strength) - photo).max() < 5e-3


def test_values_beyond_the_range_survive():
    layers = Layers(grey(2), grey(0))
    assert apply_strength(grey(3), layers, 0.5).min() > 2
    below = apply_strength(grey(-0.2), Layers(grey(-0.1), grey(0)), 0.5)
    assert -0.2 < below.min() <= below.max() < -0.1


@pytest.mark.parametrize("strength", [1.0, 0.4, -0.7, -1.0])
def test_mask_leaves_the_rest_bit_for_bit(photo, layers, strength):
    mask = np.zeros(photo.shape[:2], np.float32)
    mask[5:10, 7:20] = 1
    result = apply_strength(photo, layers, strength, mask)
    assert np.array_equal(result[mask == 0], photo[mask == 0])
    unmasked = apply_strength(photo, layers, strength)
    assert result[mask == 1] == pytest.approx(unmasked[mask == 1], abs=1e-6)
    assert not np.array_equal(result[mask == 1], photo[mask == 1])


def test_grey_mask_weakens_the_strength(photo, layers):
    mask = np.full(photo.shape[:2], 0.5, np.float32)
    assert apply_strength(photo, layers, 0.8, mask) == pytest.approx(
        apply_strength(photo, layers, 0.4), abs=1e-6
    )


def test_bands_do_not_show(photo, layers, monkeypatch):
    whole = apply_strength(photo, layers, 0.3)
    monkeypatch.setattr(tiling, "BAND_PIXELS", 5 * 36)
    assert np.array_equal(apply_strength(photo, layers, 0.3), whole)


def test_precision_and_input_are_kept(photo, layers):
    before = photo.copy()
    assert apply_strength(photo, layers, 0.5, np.ones(photo.shape[:2], np.float32)).dtype == np.float32
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("strength", [1.01, -2, float("nan")])
def test_strength_out_of_range_is_named(photo, layers, strength):
    with pytest.raises(ClearpaneError, match="strength"):
        apply_strength(photo, layers, strength)


def test_mask_of_another_size_is_named(photo, layers):
    with pytest.raises(ClearpaneError, match="mask is 24 x 36 pixels and the picture 36 x 24"):
        apply_strength(photo, layers, 1, np.ones((36, 24), np.float32))
