"""Scores of panels whose contents are known."""

import numpy as np
import pytest
import torch

from benchmarks.flux import panel_scores
from benchmarks.flux.panel_cells import USUAL
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel import separator as panel_separator
from clearpane.training.flux.panel_batches import PanelPictures


class Exact:
    """A backbone whose VAE loses nothing."""

    device, multiple = torch.device("cpu"), 8

    def __init__(self):
        self.vae = torch.nn.Linear(1, 1)
        self.vae.dtype = torch.float32

    def encode(self, pictures):
        return pictures

    decode = encode


def paint(backbone, reference, task, sampling, **others):
    """A panel that shows the photograph as T and black as R."""
    photo = reference[..., : reference.shape[-1] // 3]
    return torch.cat([photo, photo, torch.zeros_like(photo)], dim=-1)


def test_a_panel_that_paints_the_photograph_keeps_all_of_it(monkeypatch):
    monkeypatch.setattr(panel_scores, "sample", paint)
    monkeypatch.setattr(panel_separator, "sample", paint)
    task = TaskEmbedding(torch.zeros(1, 1, 1), torch.zeros(1, 1))
    generator = torch.Generator().manual_seed(0)
    pictures = [
        PanelPictures(
            *(torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator) for _ in range(3))
        )
        for size in [(72, 96), (72, 96), (96, 96)]
    ]
    assert [len(batch) for batch in panel_scores.batches(pictures, USUAL)] == [2, 1]
    seen = panel_scores.score_pictures(Exact(), task, USUAL, pictures)
    assert seen["t"] == pytest.approx(seen["nothing"], rel=1e-14)
    assert panel_scores.score_ceiling(Exact(), USUAL, pictures[0]) == {"t": [100], "r": [100]}
    assert panel_scores.score_as_shown(Exact(), task, USUAL, pictures[0])["t"] == pytest.approx(
        [seen["nothing"][0]]
    )
    full = panel_scores.score_full_size(Exact(), task, USUAL, pictures)
    assert full["t"] == pytest.approx(full["nothing"], rel=1e-14)
    rows = panel_scores.score_kept(Exact(), task, USUAL, pictures)
    for name in panel_scores.LIMITS:
        if name != "applied everywhere":
            assert rows[name]["psnr"] == rows[name]["own"] == [100] * 3
            # The mean of half a picture is summed in an order that depends on the processor.
            assert rows[name]["gain"] == pytest.approx([0] * 3, abs=1e-14)
    assert max(rows["T as the VAE shows it, enlarged"]["psnr"]) < 30


def test_the_mean_over_seeds_of_a_panel_is_scored(monkeypatch):
    task = TaskEmbedding(torch.zeros(1, 1, 1), torch.zeros(1, 1))
    layer = torch.full((3, 64, 64), 102, dtype=torch.uint8)
    pictures = [PanelPictures(layer, layer, layer)]

    def paint_seed(backbone, reference, task, sampling, **others):
        assert sampling.steps == 3
        return torch.full_like(reference, 0.8 * sampling.seed)

    monkeypatch.setattr(panel_scores, "sample", paint_seed)
    one, two = (panel_scores.score_pictures(Exact(), task, USUAL, pictures, steps=3, seeds=n) for n in (1, 2))
    assert one["t"] == one["r"] == pytest.approx([-20 * np.log10(0.4)])
    assert two["t"] == two["r"] == [100]
