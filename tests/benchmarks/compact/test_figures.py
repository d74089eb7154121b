"""Lengths and places in the drawn figures."""

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.compact import figures


def test_bars_are_as_long_as_the_gains():
    rows = {"do nothing": {"psnr": 20.0, "psnr_g": 21.0}, "ours": {"psnr": 22.0, "psnr_g": 20.0}}
    root = ElementTree.fromstring(figures.draw_gains({"1": rows}, "ours"))
    up, down = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("width") == "12"]
    assert float(up.get("height")) == pytest.approx(2 * float(down.get("height")), rel=0.01)
    assert float(up.get("y")) + float(up.get("height")) == pytest.approx(float(down.get("y")), abs=0.11)


def test_dots_stand_at_the_gains():

    def scores(gain):
        return {"1": {"psnr": 20 + gain, "nothing": 20.0}}

    gains = {"a": (0.2, -0.4), "b": (0.6, 0.0)}
    runs = [{"mix": mix, "train": scores(g), "val": scores(h)} for mix, (g, h) in gains.items()]
    root = ElementTree.fromstring(figures.draw_ablation(runs))
    dots = [float(c.get("cx")) for c in root.iter("{http://www.w3.org/2000/svg}circle") if c.get("r") == "4"]
    values = np.array([0.2, -0.4, 0.6, 0.0])
    slope, start = np.polyfit(values, dots, 1)
    assert slope > 0
    np.testing.assert_allclose(dots, start + slope * values, atol=0.2)
