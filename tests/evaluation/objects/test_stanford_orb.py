"""Stanford-ORB's measures against values worked out by hand."""

import math

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.evaluation.objects.stanford_orb import (
    albedo_psnr,
    depth_error,
    eroded,
    normal_error,
    picture_scores,
    ssim,
)
from clearpane.optics.color import linear_to_srgb


def square_mask(side: int = 20, margin: int = 4) -> np.ndarray:
    mask = np.zeros((side, side))
    mask[margin:-margin, margin:-margin] = 1
    return mask


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, (20, 20, 3))


def test_masks_lose_two_pixels_but_not_at_the_pictures_edge() -> None:
    assert eroded(square_mask()).sum() == (20 - 8 - 4) ** 2
    assert eroded(np.ones((6, 6))).all()


def test_a_gain_of_each_channel_is_forgiven() -> None:
    truth = picture()
    scores = picture_scores(truth * [0.5, 2.0, 0.1], truth, square_mask())
    assert scores.psnr_hdr == pytest.approx(120) and scores.ssim == pytest.approx(1)


def test_the_error_is_that_of_the_whole_picture_with_black_around() -> None:
    # Two values, half the pixels each; the result has them exchanged. By hand: the best gain is
    # 2ab / (a^2 + b^2); the inner 8 x 8 of 20 x 20 pixels count.
    a, b = 0.7, 0.8
    truth = np.full((20, 20, 3), a)
    truth[:, 10:] = b
    gain = 2 * a * b / (a * a + b * b)
    mean_square = ((gain * b - a) ** 2 + (gain * a - b) ** 2) / 2 * 64 / 400
    scores = picture_scores(truth[:, ::-1], truth, square_mask())
    shown = [float(linear_to_srgb(np.asarray(v))) for v in (a, b)]
    brightness = (shown[0] + shown[1]) / (a + b)
    assert scores.psnr_hdr == pytest.approx(-10 * math.log10(mean_square * brightness**2))
    other = [float(linear_to_srgb(np.asarray(gain * v))) for v in (b, a)]
    ldr = ((other[0] - shown[0]) ** 2 + (other[1] - shown[1]) ** 2) / 2 * 64 / 400
    assert scores.psnr_ldr == pytest.approx(-10 * math.log10(ldr))
    assert albedo_psnr(truth[:, ::-1], truth, square_mask()) == pytest.approx(-10 * math.log10(mean_square))


def test_no_result_is_worse_than_an_even_grey() -> None:
    truth = np.zeros((20, 20, 3))
    truth[::2] = 1.0
    worst = picture_scores(1 - truth, truth, square_mask())
    # (1/2)^2 wherever the mask is.
    assert worst.psnr_ldr == pytest.approx(-10 * math.log10(0.25 * 64 / 400))


def test_highlights_are_clipped() -> None:
    truth = picture()
    truth[10, 10] = 1000.0
    result = truth.copy()
    result[10, 10] = 500.0
    scores = picture_scores(result, truth, square_mask())
    assert scores.psnr_ldr > 20  # the gain is the highlight's, the picture is not lost for it


def test_normals_are_one_less_the_cosine() -> None:
    truth = np.zeros((20, 20, 3))
    truth[..., 2] = 1
    result = np.zeros((20, 20, 3))
    angle = math.radians(60)
    result[..., 2], result[..., 0] = 3 * math.cos(angle), 3 * math.sin(angle)
    assert normal_error(result, truth, square_mask()) == pytest.approx(0.5, abs=1e-5)


def test_depth_has_one_gain_for_all_views() -> None:
    masks = [square_mask(), square_mask()]
    truths = [np.full((20, 20), 2.0), np.full((20, 20), 4.0)]
    assert depth_error([t / 7 for t in truths], truths, masks) == pytest.approx(0)
    # Of 1 and 1 for 2 and 4 the best gain is 3: an error of 1 within both masks.
    ones = [np.ones((20, 20))] * 2
    assert depth_error(ones, truths, masks) == pytest.approx(64 / 400)
    assert depth_error([np.zeros((20, 20))] * 2, truths, masks) == pytest.approx(64 / 400)


def test_similarity_is_that_of_the_plain_formula() -> None:
    a, b = picture(0)[:6, :7], picture(1)[:6, :7]
    weights = np.exp(-np.asarray([1.0, 0, 1]) / 4.5)
    window = (np.outer(weights, weights) / weights.sum() ** 2)[..., None]
    padded_a, padded_b = (np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect") for x in (a, b))
    total = []
    for row in range(6):
        for column in range(7):
            x, y = (p[row : row + 3, column : column + 3] for p in (padded_a, padded_b))
            mean_x, mean_y = (window * x).sum((0, 1)), (window * y).sum((0, 1))
            deviation_x, deviation_y = x - mean_x, y - mean_y
            covariance = (window * deviation_x * deviation_y).sum((0, 1))
            spread = (window * (deviation_x**2 + deviation_y**2)).sum((0, 1))
            value = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
            total.append(value / ((mean_x**2 + mean_y**2 + 1e-4) * (spread + 9e-4)))
    assert ssim(a, b) == pytest.approx(np.mean(total))
    assert ssim(a, a) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ClearpaneError, match="sizes differ"):
        picture_scores(picture(), picture()[:10], square_mask())
    with pytest.raises(ClearpaneError, match="nothing in it"):
        normal_error(picture(), picture(), np.zeros((20, 20)))
