"""Measure GenSIRR's early branching: all candidates of each photograph are sampled to the end.

From the pictures that the first steps predict, each scorer picks one of the first k candidates; its final
picture is compared with the average and the best one. The scorers' values and the quality of all final
pictures are stored, so that other choices need no further sampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from benchmarks.flux.branch_scorers import score_by_chance, score_by_truth
from clearpane.evaluation.metrics import psnr, psnr_after_gain, ssim
from clearpane.images.picture import to_8bit
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.sampling import (
    Sampling,
    draw_noise,
    follow,
    integrate,
    latents_schedule,
    predict_velocity,
)
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr.branching import Scorer
from clearpane.separation.gensirr.scorers import standardised

CANDIDATES = (1, 4, 8, 16)
METRICS = {"psnr": psnr, "psnr_g": psnr_after_gain, "ssim": ssim}
# Rules, and the values they use: several are standardised over the candidates and added.
SCORERS = {
    "depth": ("depth",),
    "depth and edges": ("depth", "edges"),
    "residual reflection": ("residual reflection",),
    "chance": ("chance",),
    "the truth": ("the truth",),
}


@dataclass(frozen=True, eq=False)
class Subset:
    """Photographs and ground truths at the editor's size, [N, 3, h, w] in [0, 1].

    Attributes:
        farther: [N] bool, True where the reflected scene is farther away than the background; None if
            unknown.
    """

    photos: Tensor
    truths: Tensor
    farther: np.ndarray | None = None


@torch.no_grad()
def sample_all(
    backbone: Backbone, photo: Tensor, task: TaskEmbedding, sampling: Sampling, count: int
) -> tuple[Tensor, Tensor]:
    """Return the first step's prediction and the final picture for ``count`` seeds of noise.

    `sample_branches` computes the same, but continues only one. Pictures [count, 3, h, w].
    """
    reference = backbone.encode(photo[None])
    seeds = range(sampling.seed, sampling.seed + count)
    latents = torch.cat([draw_noise(tuple(reference.shape), seed) for seed in seeds]).to(reference)
    references = reference.expand(count, -1, -1, -1)
    first, second, *_ = latents_schedule(backbone, latents, sampling)
    velocity = predict_velocity(backbone, latents, references, task, sampling, first, 1)
    ends = integrate(backbone, follow(latents, velocity, second - first), references, task, sampling, done=1)
    promised, made = (backbone.decode(x).clamp(0, 1) for x in (follow(latents, velocity, -first), ends))
    return promised, made


def quality(made: Tensor, truths: Tensor) -> dict[str, list[float]]:
    """Compute the metrics by picture, at 8 bits, of pictures [N, 3, h, w] in [0, 1]."""
    pairs = [[to_8bit(x.permute(1, 2, 0).numpy()) for x in pair] for pair in zip(made, truths, strict=True)]
    return {name: [float(metric(*pair)) for pair in pairs] for name, metric in METRICS.items()}


def score_branches(
    backbone: Backbone,
    task: TaskEmbedding,
    sampling: Sampling,
    subset: Subset,
    scorers: dict[str, Scorer],
    most: int | None = None,
) -> dict[str, Any]:
    """Return by photograph and candidate ``finals``, the final metrics, and ``values`` of each scorer.

    A random scorer and the PSNR of the prediction are added to the scorers.

    Args:
        most: Number of candidates; the last of `CANDIDATES` by default.
    """
    most = most or CANDIDATES[-1]
    finals: dict[str, list[list[float]]] = {name: [] for name in METRICS}
    values: dict[str, list[list[float]]] = {}
    for index, (photo, truth) in enumerate(zip(subset.photos, subset.truths, strict=True)):
        # Each photograph has its own noises: one that happens to be good must not count for all.
        own_noises = replace(sampling, seed=sampling.seed + index * most)
        promised, made = sample_all(backbone, photo, task, own_noises, most)
        for name, row in quality(made, truth.expand_as(made)).items():
            finals[name].append(row)
        others = {"chance": score_by_chance(index), "the truth": score_by_truth(truth[None])}
        for name, scorer in {**scorers, **others}.items():
            values.setdefault(name, []).append(scorer(promised).tolist())
    farther = None if subset.farther is None else subset.farther.tolist()
    return {"finals": finals, "values": values, "farther": farther}


def scores(branches: dict[str, Any], scorer: str, count: int) -> Tensor:
    """Return the values [N, count] by which a scorer chooses among the first ``count`` candidates."""
    own = [torch.tensor(branches["values"][name])[:, :count] for name in SCORERS[scorer]]
    if len(own) == 1:
        return own[0]
    return torch.stack([sum(standardised(row) for row in rows) for rows in zip(*own, strict=True)])


def picked(branches: dict[str, Any], scorer: str, count: int, metric: str = "psnr") -> np.ndarray:
    """Return the final quality [N] of a scorer's choice among the first ``count`` candidates."""
    chosen = scores(branches, scorer, count).argmax(dim=1).numpy()
    return np.take_along_axis(np.array(branches["finals"][metric]), chosen[:, None], axis=1)[:, 0]


def correlations(branches: dict[str, Any], scorer: str) -> np.ndarray:
    """Compute Spearman's correlation [N] of a scorer's values with the final PSNR, per photograph."""
    finals = branches["finals"]["psnr"]
    values = scores(branches, scorer, len(finals[0])).numpy()
    rows = [scipy.stats.spearmanr(x, y).statistic for x, y in zip(values, finals, strict=True)]
    return np.nan_to_num(np.array(rows))


def over_candidates(
    branches: dict[str, Any], count: int, of: Callable[..., np.ndarray], metric: str = "psnr"
) -> np.ndarray:
    """Compute a statistic [N] of the final quality over the first ``count`` candidates."""
    return of(np.array(branches["finals"][metric])[:, :count], axis=1)


def failures(branches: dict[str, Any], scorer: str, count: int) -> np.ndarray:
    """Return [N] bool, True where the chosen candidate ends below the mean of the candidates."""
    return picked(branches, scorer, count) < over_candidates(branches, count, np.mean)
