import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from clearpane.evaluation import metrics
from clearpane.images.picture import to_8bit


def picture(seed: int, height: int = 47, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def similar(image: np.ndarray, seed: int = 9) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((20, 20, 3), 100, np.uint8)
    result = truth.copy()
    result[..., 0] += 51  # 0.2 in one of three channels: MSE 0.04 / 3
    assert metrics.psnr(result, truth) == pytest.approx(10 * np.log10(75), abs=1e-9)
    by_channel = (10 * np.log10(25) + 2 * metrics.PSNR_LIMIT) / 3
    assert metrics.psnr_by_channel(result, truth) == pytest.approx(by_channel, abs=1e-9)


def test_psnr_agrees_with_scikit_image() -> None:
    truth = picture(0)
    result = similar(truth)
    assert metrics.psnr(result, truth) == pytest.approx(peak_signal_noise_ratio(truth, result), abs=1e-9)


def test_floats_and_bytes_give_the_same() -> None:
    truth = picture(1)
    result = similar(truth)
    for metric in (metrics.psnr, metrics.psnr_after_gain, metrics.ssim, metrics.lmse, metrics.ncc):
        assert metric(result / 255.0, truth / 255.0) == pytest.approx(metric(result, truth), abs=1e-12)


def test_identical_pictures_are_perfect() -> None:
    truth = picture(2)
    assert metrics.psnr(truth, truth) == metrics.psnr_after_gain(truth, truth) == 100.0
    assert metrics.ssim(truth, truth) == pytest.approx(1.0)
    assert metrics.ncc(truth, truth) == pytest.approx(1.0)
    assert metrics.lmse(truth, truth) == pytest.approx(0.0, abs=1e-12)


def test_the_gain_undoes_another_exposure_of_each_channel() -> None:
    truth = picture(3) / 255.0 * 0.5
    result = truth * np.array([0.5, 1.5, 0.9])
    assert metrics.psnr(result, truth) < 25
    assert metrics.psnr_after_gain(result, truth) == 100.0


def test_the_gain_does_not_undo_haze_but_the_line_does() -> None:
    truth = picture(4) / 255.0
    result = 0.5 * truth + 0.4
    assert metrics.psnr_after_gain(result, truth) < 25
    assert metrics.psnr(metrics.with_gain_and_offset(result, truth), truth) == 100.0


def test_what_the_gain_lifts_above_white_is_clipped() -> None:
    truth = np.ones((20, 20, 3))
    result = np.full((20, 20, 3), 0.5)
    result[:10] = 0.25
    # g = (0.5 + 0.25) / (0.25 + 0.0625) = 2.4: the halves become 1.2, clipped to 1, and 0.6.
    assert np.unique(metrics.with_gain(result, truth)) == pytest.approx([0.6, 1.0])
    assert metrics.psnr_after_gain(result, truth) == pytest.approx(-10 * np.log10(0.16 / 2))


def test_a_black_result_stays_black_and_a_flat_one_becomes_the_mean() -> None:
    truth = picture(5)
    black = np.zeros_like(truth)
    assert not metrics.with_gain(black, truth).any()
    for flat in (black, np.full_like(truth, 7)):
        line = metrics.with_gain_and_offset(flat, truth)
        assert line[3, 4] == pytest.approx(truth.mean(axis=(0, 1)) / 255)


@given(st.integers(0, 2**32 - 1))
def test_a_gain_never_lowers_psnr(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, result = rng.random((2, 21, 23, 3))
    assert metrics.psnr_after_gain(result, truth) >= metrics.psnr(result, truth) - 1e-9


@pytest.mark.parametrize("shape", [(47, 64), (7, 9), (30, 21)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, int]) -> None:
    truth = picture(6, *shape)
    result = similar(truth)
    slow = np.mean([structural_similarity(truth[..., c], result[..., c], data_range=255) for c in range(3)])
    assert metrics.ssim(result, truth) == pytest.approx(slow, abs=1e-10)


def test_lmse_agrees_with_a_loop_over_the_windows() -> None:
    truth = picture(7, 57, 44)
    result = similar(truth)
    result[:25, :25] = 0
    error = total = 0.0
    for c in range(3):
        for i in range(0, 57 - 20 + 1, 10):
            for j in range(0, 44 - 20 + 1, 10):
                t = truth[i : i + 20, j : j + 20, c].astype(float)
                x = result[i : i + 20, j : j + 20, c].astype(float)
                gain = (t * x).sum() / (x * x).sum() if x.any() else 0.0
                error += ((t - gain * x) ** 2).sum()
                total += (t * t).sum()
    assert metrics.lmse(result, truth) == pytest.approx(error / total, abs=1e-12)


def test_lmse_forgives_a_gain_and_a_black_result_scores_one() -> None:
    truth = picture(8) / 255.0
    assert metrics.lmse(truth * 0.3, truth) == pytest.approx(0.0, abs=1e-12)
    assert metrics.lmse(np.zeros_like(truth), truth) == pytest.approx(1.0)
    assert metrics.lmse(truth, np.zeros_like(truth)) == 0.0


def test_ncc_is_the_correlation() -> None:
    truth = picture(10)
    result = similar(truth)
    assert metrics.ncc(result, truth) == pytest.approx(np.corrcoef(result.ravel(), truth.ravel())[0, 1])
    assert metrics.ncc(255 - truth, truth) == pytest.approx(-1.0)
    assert metrics.ncc(np.full_like(truth, 7), truth) == 0.0


def test_quantising_rounds_and_clips() -> None:
    image = np.array([[[-0.1, 0.4 / 255, 0.6 / 255], [0.5, 254.6 / 255, 1.7]]], np.float32)
    assert to_8bit(image).tolist() == [[[0, 0, 1], [128, 255, 255]]]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one shape"):
        metrics.psnr(picture(0), picture(0, 40))
    with pytest.raises(ValueError, match="7 x 7"):
        metrics.ssim(picture(0, 6), picture(0, 6))
    with pytest.raises(ValueError, match="20 x 20"):
        metrics.lmse(picture(0, 19), picture(0, 19))
