"""Comparison of ways to relight."""

import math

import numpy as np
import pytest

from benchmarks.common.measuring import describe_machine
from benchmarks.reconstruction import relighting


def test_ways_to_relight_are_compared_on_white_and_cost_what_the_first_does():
    truth = np.zeros((4, 4, 4))
    truth[1:3, 1:3] = [0.5, 0.5, 0.5, 1]
    darker = truth * [0.5, 0.5, 0.5, 1]
    assert relighting.picture_scores(truth, truth) == (100, 100)
    whole, inside = relighting.picture_scores(darker, truth)
    assert whole - inside == pytest.approx(10 * math.log10(4))  # a quarter of the pixels is the object
    plain, few, denoised, preview = relighting.ways(128).values()
    assert (plain.samples, few.samples, denoised.samples) == (128, 32, 32)
    assert denoised.denoise and preview.preview and not few.denoise
    rows = {"a": {"psnr": 30, "object": 20, "seconds": 4}, "b": {"psnr": 28, "object": 19, "seconds": 1}}
    document = {"light": "studio", "views": 2, "side": 8, "truth": 64, "materials": {"metal": rows}}
    document["machine"] = describe_machine()
    assert "| b | 28.00 | 19.00 | 0.25 |" in relighting.render(document)
