"""Environments that are held out, and paired gains."""

import pytest
import torch

from benchmarks.lirm import feed_forward
from benchmarks.lirm.feed_forward import check_held_out
from clearpane.errors import ClearpaneError
from clearpane.reconstruction.lirm.model import LirmConfig
from clearpane.reconstruction.lirm.weights_file import save_lirm


@pytest.fixture
def held_out(tmp_path):
    folder = tmp_path / "held-out"
    folder.mkdir()
    for name in ("urban_alley_01_1k.hdr", "venice_sunset_1k.hdr"):
        (folder / name).touch()
    return folder


def weights_under(path, *environments):
    save_lirm(path, LirmConfig(), {"weight": torch.zeros(1)}, environments)
    return path


def test_weights_that_were_trained_under_other_maps_may_be_measured(tmp_path, held_out):
    weights = weights_under(tmp_path / "weights.safetensors", "studio_1k.hdr", "held-out/venice_1k.hdr")
    check_held_out(weights, held_out)


@pytest.mark.parametrize("stored", ["venice_sunset_1k.hdr", "held-out/venice_sunset_1k.hdr"])
def test_weights_that_saw_a_held_out_map_are_refused_wherever_it_lay(tmp_path, held_out, stored):
    weights = weights_under(tmp_path / "weights.safetensors", "studio_1k.hdr", stored)
    with pytest.raises(ClearpaneError, match=r"venice_sunset_1k\.hdr"):
        check_held_out(weights, held_out)


def test_gains_are_paired_and_count_the_objects_that_lose():
    rows = {row for pair in feed_forward.COMPARED for row in pair}
    scores = [{row: {"psnr": 20.0} for row in rows} for _ in range(4)]
    for result, eight in zip(scores, (21.0, 23.0, 19.5, 22.5), strict=True):
        result["LIRM, 8 views"] = {"psnr": eight}
    first, second, *others = feed_forward.paired_gains(scores)
    assert (first["row"], first["other"]) == ("LIRM, 8 views", "LIRM, 4 views")
    assert first["mean"] == pytest.approx(1.5) and first["least"] == pytest.approx(-0.5)
    assert first["low"] < 1.5 < first["high"] and first["lose"] == 1
    assert second["mean"] == pytest.approx(-1.5) and second["lose"] == 3
    assert all(g["mean"] == pytest.approx(1.5) for g in others)
