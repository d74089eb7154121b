"""GenSIRR's depth-guided early branching (DEBS, arXiv 2512.06358, stage III): choose the initial noise.

Some noises lead to the scene behind the glass, others to the mirrored one. For each of k noises one step is
taken, the clean picture that it predicts is decoded and scored, and only the best is sampled to the end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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

Scorer = Callable[[Tensor], Tensor]
"""Score of candidates: [k, 3, H, W], sRGB in [0, 1] -> [k], higher is better."""


@dataclass(frozen=True, eq=False)
class Branches:
    """Candidates of the early branching, and the choice.

    Attributes:
        pictures: [k, 3, H, W], sRGB in [0, 1], the clean pictures that the first step predicts.
        scores: [k], see `Scorer`.
        chosen: Index of the best candidate; its noise has the seed ``sampling.seed + chosen``.
    """

    pictures: Tensor
    scores: Tensor
    chosen: int


@torch.no_grad()
def sample_branches(
    backbone: Backbone,
    reference: Tensor,
    task: TaskEmbedding,
    sampling: Sampling,
    candidates: int,
    scorer: Scorer,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Branches]:
    """Sample the latents of one edited picture from the best of several noises.

    With v the velocity at the first step, where s = 1 and x_1 is noise, the predicted picture is ``D(x_1 -
    v)``. The first steps of all candidates are one batch, and the chosen one's is also the first of its
    sampling: k candidates cost k - 1 additional steps, k decodings and k scores.

    Args:
        reference: [1, C, h, w], latents of the picture to edit.
        task: Task embedding.
        sampling: Settings; the seed is the first candidate's, the next candidates use the following seeds.
        candidates: Number of candidates k; with 1, the candidate is still decoded and scored.
        scorer: Function that scores candidates; the first of equal ones is chosen.
        on_step: Function called after each step; it may raise to interrupt.

    Returns:
        The latents, as `sample` returns them for the chosen seed, and the candidates.

    Raises:
        ClearpaneError: The transformer returned a value that is not finite.
    """
    seeds = range(sampling.seed, sampling.seed + candidates)
    noise = torch.cat([draw_noise(tuple(reference.shape), seed) for seed in seeds]).to(reference)
    first, second, *_ = latents_schedule(backbone, noise, sampling)
    references = reference.expand(candidates, -1, -1, -1)
    velocity = predict_velocity(backbone, noise, references, task, sampling, first, 1)
    pictures = backbone.decode(follow(noise, velocity, -first)).float().clamp(0, 1)
    scores = scorer(pictures)
    chosen = int(scores.argmax())
    latents = follow(noise, velocity, second - first)[chosen : chosen + 1]
    on_step()

    def after_step(latents: Tensor, sigma: float) -> Tensor:
        on_step()
        return latents

    latents = integrate(backbone, latents, reference, task, sampling, 1, after_step)
    return latents, Branches(pictures, scores, chosen)
