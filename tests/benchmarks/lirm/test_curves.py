"""Curves of a run, read and drawn."""

from xml.etree import ElementTree

import pytest
from torch.utils.tensorboard import SummaryWriter

from benchmarks.lirm import curves
from clearpane.errors import ClearpaneError


def test_the_curves_of_a_run_are_read_from_its_folder_and_drawn(tmp_path):

    assert curves.smoothed([(1, 2.0), (2, 4.0), (3, 9.0)], 2) == [(2, 3.0)]
    with pytest.raises(ClearpaneError, match="holds no run"):
        curves.read_curves(tmp_path)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 201):
            writer.add_scalar("loss", 1 / step, step)
            for part in curves._PARTS:
                writer.add_scalar(f"loss/{part}", 1.0 if step <= 100 else 0.0, step)
        for step, value in ((1, 20.0), (100, 21.0), (200, 24.0)):
            writer.add_scalar("validation/psnr", value, step)
    curves.measure(curves.Options(tmp_path, tmp_path))
    svg = ElementTree.parse(tmp_path / "lirm_training.svg")
    lines = [e.get("points").split() for e in svg.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 1 + len(curves._PARTS)
    earlier = curves.read_curves(tmp_path)
    del earlier["loss/brightness"]
    assert curves.draw(earlier).count("<polyline") == len(curves._PARTS)
    x, y = zip(*(map(float, point.split(",")) for point in lines[0]), strict=True)
    # 4 dB and 200 steps fill the panel; a quarter of the first is reached half-way along the second.
    assert (y[0] - y[1]) / (y[0] - y[2]) == pytest.approx(0.25, abs=0.01)
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(0.5, abs=0.01)
    for line in lines[1:]:
        (_, before), (_, after) = (map(float, point.split(",")) for point in line)
        assert after - before == pytest.approx(170, abs=0.2)
