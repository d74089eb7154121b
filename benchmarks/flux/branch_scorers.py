"""Scorers that only benchmarks use: chance, and the truth."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.separation.gensirr.branching import Scorer


def score_by_chance(seed: int) -> Scorer:
    """Any of them; the same one for the same seed."""
    return lambda pictures: torch.rand(len(pictures), generator=torch.Generator().manual_seed(seed))


def score_by_truth(truth: Tensor) -> Scorer:
    """The one nearest to the truth, 1 x 3 x H x W: the PSNR in dB. For evaluation only."""
    return lambda pictures: (
        -10 * F.mse_loss(pictures, truth.expand_as(pictures), reduction="none").mean(dim=(1, 2, 3)).log10()
    )
