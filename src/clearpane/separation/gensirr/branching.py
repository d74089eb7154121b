"""GenSIRR's depth-guided early branching (DEBS, arXiv 2512.06358, stage III): which noise to start from.

Some noises lead to the scene behind the glass, others to the mirrored one. From k of them one step is taken,
the clean picture that each promises is decoded and scored, and only the best is sampled to its end.
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
"""How good candidates are: k x 3 x H x W, sRGB in [0, 1] -> [k], higher is better."""


@dataclass(frozen=True, eq=False)
class Branches:
    """What was chosen from.

    Attributes:
        pictures: k x 3 x H x W, sRGB in [0, 1], the clean pictures that the first step promised.
        scores: [k], see `Scorer`.
        chosen: the index of the best; its noise is that of the seed ``sampling.seed + chosen``.
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
    """Sample the latents of one edited picture from the best of some noises.

    With v the velocity at the first step, where s = 1 and x_1 is noise, the promised picture is
    ``D(x_1 - v)``. The first steps of all candidates are one batch, and that of the chosen one is the first
    of its sampling: k candidates cost k - 1 steps more than one, k decodings and their scores.

    Args:
        reference: 1 x C x h x w, latents of the picture to edit.
        task: what to do.
        sampling: its seed is the first candidate's, the next ones follow it.
        candidates: k; 1 decodes and scores too.
        scorer: which is best; of equal ones the first.
        on_step: called after each step; may raise to interrupt.

    Returns:
        The latents, as `sample` gives them for the chosen seed, and what was chosen from.

    Raises:
        ClearpaneError: the transformer gave a number that is not finite.
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
