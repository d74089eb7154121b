"""Test the computations of the bias benchmark."""

import numpy as np
import pytest

from benchmarks.compact.bias import PANES, SCENES, Pane, bias_table, fitted, measure_cell, photograph
from clearpane.optics.color import srgb_to_linear
from clearpane.separation.layers import Layers


class Darker:
    """A separator that takes a tenth of red away."""

    def separate(self, image):
        return Layers(image - np.array([0.1, 0, 0], np.float32), np.zeros_like(image))


def test_light_adds_up_behind_a_pane():
    scene, mirrored = np.full((4, 6, 3), 0.5, np.float32), np.full((4, 6, 3), 0.6, np.float32)
    seen = srgb_to_linear(photograph(scene, mirrored, Pane("a", reflection=0.2, veil=0.05)))
    expected = 0.92 * srgb_to_linear(scene) + 0.05 + 0.2 * srgb_to_linear(mirrored)
    np.testing.assert_allclose(seen, expected, atol=5e-3)
    np.testing.assert_allclose(photograph(scene, mirrored, PANES[0]), scene, atol=2e-3)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_stay_in_range(name):
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    scene = SCENES[name](picture)
    assert scene.shape == picture.shape and scene.min() >= 0 and scene.max() <= 1


def test_pictures_are_repeated_and_cut_to_a_size():
    picture = np.arange(12.0).reshape(2, 2, 3)
    tall = fitted(picture, 5, 1)
    assert tall.shape == (5, 1, 3)
    np.testing.assert_array_equal(tall[:, 0], picture[[0, 1, 0, 1, 0], 0])


def test_a_cell_tells_which_channel_is_too_dark():
    pictures = [np.full((16, 16, 3), value, np.float32) for value in (0.4, 0.6)]
    cell = measure_cell(pictures, SCENES["as it is"], PANES[0], Darker())
    assert cell["bias"] == pytest.approx([-0.1, 0, 0], abs=1e-3)
    assert cell["psnr"] == pytest.approx(10 * np.log10(3 / 0.01), abs=0.3)
    row = {"scene": "as it is", "pane": PANES[0].name, **cell}
    assert "| **24" in bias_table([row]) and "**-0.1" in bias_table([row])
    behind = {**row, "pane": "R 0.2", "nothing": 20.0}
    assert "| 24" in bias_table([behind]) and "+4." in bias_table([behind])
