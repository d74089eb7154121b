import numpy as np
import pytest

from clearpane.separation.confidence import CUES, INTERCEPT, WEIGHTS, confidence_map, cues
from clearpane.separation.layers import Layers


def layers(transmission):
    return Layers(transmission.astype(np.float32), np.zeros_like(transmission, np.float32))


def flat(value):
    return np.full((24, 30, 3), value, np.float32)


def test_cues_of_flat_pictures_in_closed_form():
    found = cues(flat(0.5), layers(flat(0.6)), layers(flat(0.57)))
    expected = [np.log(0.03 + 0.01), np.log(0.1 + 0.01)]
    assert found.shape == (24, 30, len(CUES))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-4)
    score = INTERCEPT + np.dot(expected, WEIGHTS)
    believed = confidence_map(flat(0.5), layers(flat(0.6)), layers(flat(0.57)))
    np.testing.assert_allclose(believed, 1 / (1 + np.exp(-score)), atol=1e-4)
    assert believed.dtype == np.float32


@pytest.mark.parametrize("transmissions", [(0.6, 0.5, 0.3), (0.6, 0.7, 0.95)])
def test_what_changes_more_is_believed_less(transmissions):
    photo = flat(0.6)
    believed = [confidence_map(photo, layers(flat(t)), layers(flat(t)))[0, 0] for t in transmissions]
    assert 1 > believed[0] > believed[1] > believed[2] > 0


def test_what_the_mirror_image_denies_is_believed_less():
    agreed, denied = (confidence_map(flat(0.6), layers(flat(0.5)), layers(flat(t)))[0, 0] for t in (0.5, 0.4))
    assert denied < agreed


def test_a_window_reaches_no_further_than_four_pixels():
    rng = np.random.default_rng(0)
    photo, transmission = rng.random((2, 40, 40, 3))
    changed = transmission.copy()
    changed[20, 20] = 0
    before, after = (confidence_map(photo, layers(t), layers(t)) for t in (transmission, changed))
    rows, columns = np.nonzero(np.abs(before - after) > 1e-6)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 24, 16, 24)


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud])
def test_a_mirrored_picture_has_the_mirrored_map(turn):
    photo, one, two = np.random.default_rng(1).random((3, 20, 28, 3))
    plain = confidence_map(photo, layers(one), layers(two))
    np.testing.assert_allclose(
        confidence_map(turn(photo), layers(turn(one)), layers(turn(two))), turn(plain), atol=1e-6
    )
