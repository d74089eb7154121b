"""What GenSIRR's early branching gains: all candidates of each photograph are sampled to their ends.

From the pictures that their first steps promise each scorer picks one of the first k; what that one ends at
is compared with what the average one and the best one end at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from clearpane.evaluation.metrics import psnr, to_8bit
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.branching import Scorer
from clearpane.separation.flux.sampling import (
    Sampling,
    draw_noise,
    follow,
    integrate,
    latents_schedule,
    predict_velocity,
)
from clearpane.separation.flux.scorers import score_by_chance, score_by_truth
from clearpane.separation.flux.task_embedding import TaskEmbedding

CANDIDATES = (1, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class Subset:
    """Photographs and truths at the size the editor sees, N x 3 x h x w in [0, 1].

    Attributes:
        farther: [N] bool, whether what is reflected lies farther than what is behind; None: not known.
    """

    photos: Tensor
    truths: Tensor
    farther: np.ndarray | None = None


@torch.no_grad()
def sample_all(
    backbone: Backbone, photo: Tensor, task: TaskEmbedding, sampling: Sampling, count: int
) -> tuple[Tensor, Tensor]:
    """What the first step promises and what is there at the end, for the noises of ``count`` seeds.

    The same as `sample_branches` computes of each, all of them to their ends. Pictures, count x 3 x h x w.
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


def score_branches(
    backbone: Backbone, task: TaskEmbedding, sampling: Sampling, subset: Subset, scorers: dict[str, Scorer]
) -> dict[str, Any]:
    """By photograph: ``finals``, PSNR of all candidates; of each scorer ``picks`` by k, and ``correlation``.

    The correlation is Spearman's, of a scorer's values with the final PSNR over a photograph's candidates.
    The oracle's scorer is the PSNR of what is promised.
    """
    most = CANDIDATES[-1]
    finals: list[list[float]] = []
    picks: dict[str, dict[int, list[int]]] = {}
    correlations: dict[str, list[float]] = {}
    for index, (photo, truth) in enumerate(zip(subset.photos, subset.truths, strict=True)):
        # Noises of its own for each photograph: one that happens to be good must not count for all.
        own_noises = replace(sampling, seed=sampling.seed + index * most)
        promised, made = sample_all(backbone, photo, task, own_noises, most)
        wanted = _bytes(truth)
        own = [psnr(_bytes(x), wanted) for x in made]
        finals.append(own)
        others = {"chance": score_by_chance(index), "the truth": score_by_truth(truth[None])}
        for name, scorer in {**scorers, **others}.items():
            for count in CANDIDATES:
                chosen = int(scorer(promised[:count]).argmax())
                picks.setdefault(name, {k: [] for k in CANDIDATES})[count].append(chosen)
            correlation = scipy.stats.spearmanr(scorer(promised).numpy(), own).statistic
            correlations.setdefault(name, []).append(float(np.nan_to_num(correlation)))
    farther = None if subset.farther is None else subset.farther.tolist()
    return {"finals": finals, "picks": picks, "correlation": correlations, "farther": farther}


def picked(branches: dict[str, Any], scorer: str, count: int) -> np.ndarray:
    """[N], the final PSNR of what a scorer picks of the first ``count`` candidates."""
    # JSON makes strings of the numbers.
    own = {int(k): v for k, v in branches["picks"][scorer].items()}[count]
    return np.array([finals[i] for finals, i in zip(branches["finals"], own, strict=True)])


def over_candidates(branches: dict[str, Any], count: int, of: Callable[..., np.ndarray]) -> np.ndarray:
    """[N], a statistic of the final PSNR over the first ``count`` candidates."""
    return of(np.array(branches["finals"])[:, :count], axis=1)


def failures(branches: dict[str, Any], scorer: str, count: int) -> np.ndarray:
    """[N] bool: what is picked ends below the mean of the candidates."""
    return picked(branches, scorer, count) < over_candidates(branches, count, np.mean)


def _bytes(picture: Tensor) -> np.ndarray:
    return to_8bit(picture.permute(1, 2, 0).numpy())
