import numpy as np
import pytest

from benchmarks.common.harm import Harm, harm, summarise_harm


def test_an_untouched_picture_takes_no_harm() -> None:
    clean = np.full((10, 10, 3), 0.95, np.float32)
    assert harm(clean, clean) == Harm(100.0, 100, 0)


def test_counts_bright_pixels_that_went_dark() -> None:
    clean = np.full((10, 10, 3), 0.5, np.float32)
    clean[:4] = 0.95
    output = clean.copy()
    output[0] = 0.95 - 0.06
    output[1] = 0.95 - 0.04
    output[9] = 0.1  # dark to begin with: hurts the PSNR, is no false removal
    result = harm(output, clean)
    assert (result.bright, result.darkened) == (40, 10)
    assert result.psnr < 25


def test_luma_decides_not_a_single_channel() -> None:
    clean = np.full((4, 4, 3), 1.0, np.float32)
    output = clean.copy()
    output[..., 2] = 0.5  # 0.0722 x 0.5 < 0.05
    assert harm(output, clean).darkened == 0
    output[..., 1] = 0.5
    assert harm(output, clean).darkened == 16


def test_summary_pools_pixels_and_names_the_worst() -> None:
    summary = summarise_harm([Harm(40.0, 90, 0), Harm(20.0, 10, 5)])
    assert (summary.psnr, summary.worst_psnr) == (30.0, 20.0)
    assert summary.false_removal_rate == pytest.approx(0.05)
    assert summarise_harm([Harm(40.0, 0, 0)]).false_removal_rate is None
