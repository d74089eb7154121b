import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.optics.color import srgb_to_linear
from clearpane.separation import removal
from clearpane.separation.layers import Layers
from clearpane.separation.removal import remove_reflection, separate_full_range


class Attenuate:
    """A stand-in: T has 70 % of the light and R the rest."""

    def __init__(self):
        self.seen = []

    def separate(self, image, *, quality="fast", confidence=False):
        assert image.dtype == np.float32
        self.seen.append((image, quality))
        linear = np.clip(image, 0, 1) ** 2.4
        return Layers((0.7 * linear) ** (1 / 2.4), (0.3 * linear) ** (1 / 2.4))


def column(*values):
    return np.repeat(np.asarray(values, np.float32)[:, None, None], 3, axis=2)


def test_ordinary_pictures_go_straight_through():
    image = column(0, 0.2, 1)
    separator = Attenuate()
    layers = separate_full_range(separator, image, "best")
    assert separator.seen[0][0] is image
    assert separator.seen[0][1] == "best"
    assert np.array_equal(layers.transmission, Attenuate().separate(image).transmission)


def test_highlights_keep_their_intensity_and_are_shared_as_the_clipped_ones():
    image = column(0.5, 1.0, 4.0)
    layers = separate_full_range(Attenuate(), image)
    light = srgb_to_linear(image)[:, 0, 0]
    assert srgb_to_linear(layers.transmission)[2, 0, 0] == pytest.approx(
        light[2] * srgb_to_linear(layers.transmission)[1, 0, 0], rel=1e-4
    )
    assert srgb_to_linear(layers.reflection)[2, 0, 0] == pytest.approx(
        light[2] * srgb_to_linear(layers.reflection)[1, 0, 0], rel=1e-4
    )
    ordinary = Attenuate().separate(np.clip(image, 0, 1))
    assert np.array_equal(layers.transmission[:2], ordinary.transmission[:2])


def test_a_wide_picture_is_neither_changed_nor_copied_for_the_separator():
    image = column(-0.5, 0.5, 4.0)
    separator = Attenuate()
    separate_full_range(separator, image)
    assert separator.seen[0][0] is image
    assert np.array_equal(image, column(-0.5, 0.5, 4.0))


def test_both_ends_of_the_range_are_continuous():
    layers = separate_full_range(Attenuate(), column(-1e-4, 0, 1, 1.0001))
    for layer in (layers.transmission, layers.reflection):
        assert layer[0] == pytest.approx(layer[1], abs=1e-3)
        assert layer[2] == pytest.approx(layer[3], abs=1e-3)


def test_colours_outside_the_gamut_stay_in_the_transmission():
    layers = separate_full_range(Attenuate(), column(-0.1, 0.5))
    assert layers.transmission[0] == pytest.approx(-0.1, abs=1e-6)
    assert layers.reflection[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named(bad):
    with pytest.raises(ClearpaneError, match="NaN or infinity"):
        separate_full_range(Attenuate(), column(0.1, bad))


def test_integer_arrays_are_scaled():
    expected = remove_reflection(column(0, 51 / 255, 1), separator=Attenuate())
    for values in (np.asarray([0, 51, 255], np.uint8), np.asarray([0, 51 * 257, 65535], np.uint16)):
        image = np.repeat(values[:, None, None], 3, axis=2)
        result = remove_reflection(image, separator=Attenuate())
        assert result.transmission == pytest.approx(expected.transmission, abs=1e-6)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 3), np.int64)]
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ClearpaneError, match="expected"):
        remove_reflection(array, separator=Attenuate())


def test_a_file_is_read_and_the_default_separator_loaded(tmp_path, monkeypatch):
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    monkeypatch.setattr(removal, "load_separator", Attenuate)
    result = remove_reflection(tmp_path / "photo.png")
    assert result.transmission == pytest.approx(
        remove_reflection(values, separator=Attenuate()).transmission, abs=1e-6
    )
    with pytest.raises(ClearpaneError, match="nowhere"):
        remove_reflection(str(tmp_path / "nowhere.png"))
