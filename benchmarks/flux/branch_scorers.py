"""Scorers for benchmarks only: random choice, and the ground truth."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.separation.gensirr.branching import Scorer


def score_by_chance(seed: int) -> Scorer:
    """Score at random; the same seed gives the same scores."""
    return lambda pictures: torch.rand(len(pictures), generator=torch.Generator().manual_seed(seed))


def score_by_truth(truth: Tensor) -> Scorer:
    """Score by PSNR in dB against the ground truth [1, 3, H, W]. For evaluation only."""
    return lambda pictures: (
        -10 * F.mse_loss(pictures, truth.expand_as(pictures), reduction="none").mean(dim=(1, 2, 3)).log10()
    )
