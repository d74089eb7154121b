"""From noise to a picture: Euler's method along the predicted velocity."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.task_embedding import TaskEmbedding

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled.

    Attributes:
        steps: of Euler's method.
        seed: of the noise.
        guidance: what FLUX's distilled guidance is told.
    """

    steps: int = 28
    seed: int = 0
    guidance: float = DEFAULT_GUIDANCE


@dataclass(frozen=True, eq=False)
class Held:
    """Latents that are not sampled, but held.

    Attributes:
        latents: B x C x h x w, what is held.
        mask: 1 x 1 x h x w, 1 where it is held.
    """

    latents: Tensor
    mask: Tensor


def shift_sigma(sigma: T, shift: float) -> T:
    """``shift s / (1 + (shift - 1) s)``: more steps near noise (Esser et al. 2024, eq. 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_schedule(steps: int, shift: float) -> Tensor:
    """[steps + 1], the shares of noise from 1 to 0; before they are shifted 1, 1 - 1 / steps, ..."""
    sigma = torch.linspace(1, 1 / steps, steps)
    return torch.cat([shift_sigma(sigma, shift), torch.zeros(1)])


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Gaussian noise, drawn on the CPU: the same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def sample(
    backbone: Backbone,
    reference: Tensor,
    task: TaskEmbedding,
    sampling: Sampling,
    size: tuple[int, int] | None = None,
    held: Held | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Sample latents of the edited pictures, B x C x h x w.

    Args:
        reference: B x C x h' x w', latents of the pictures to edit.
        task: what to do.
        size: (h, w) of the result; the reference's if not given.
        held: a part that is known; after every step it is put back, with the noise of that step.
        on_step: called after each step; may raise to interrupt.

    Raises:
        ClearpaneError: the transformer gave a number that is not finite.
    """
    count, channels = reference.shape[:2]
    height, width = size or reference.shape[-2:]
    noise = draw_noise((count, channels, height, width), sampling.seed).to(reference)
    schedule = sigma_schedule(sampling.steps, backbone.shift(height * width // 4))
    latents = noise
    for step, (sigma, following) in enumerate(pairwise(schedule), 1):
        now = sigma.expand(count).to(latents.device)
        velocity = backbone.velocity(latents, reference, now, task, sampling.guidance)
        if not velocity.isfinite().all():
            raise ClearpaneError(
                f"sampling broke down at step {step} of {sampling.steps}: the transformer's result is not "
                "finite; its weights may be damaged, or --precision too coarse for them"
            )
        latents = (latents.float() + (following - sigma).item() * velocity.float()).to(reference.dtype)
        if held is not None:
            known = torch.lerp(held.latents.float(), noise.float(), following.item()).to(latents.dtype)
            latents = torch.where(held.mask > 0.5, known, latents)
        on_step()
    return latents
