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

    Raises:
        ClearpaneError: there is no step, or a seed is negative or of more than 63 bits.
    """

    steps: int = 28
    seed: int = 0
    guidance: float = DEFAULT_GUIDANCE

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ClearpaneError(f"{self.steps} steps: give 1 or more")
        if not 0 <= self.seed < 2**63:
            raise ClearpaneError(f"seed {self.seed}: give 0 to {2**63 - 1}")


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
    """Return the sigmas from 1 to 0, [steps + 1]; before the shift 1, 1 - 1 / steps, ..."""
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
    shape = (*reference.shape[:2], *(size or reference.shape[-2:]))
    noise = draw_noise(shape, sampling.seed).to(reference)

    def after_step(latents: Tensor, sigma: float) -> Tensor:
        on_step()
        if held is None:
            return latents
        known = torch.lerp(held.latents.float(), noise.float(), sigma).to(latents.dtype)
        return torch.where(held.mask > 0.5, known, latents)

    return integrate(backbone, noise, reference, task, sampling, after_step=after_step)


@torch.no_grad()
def integrate(
    backbone: Backbone,
    latents: Tensor,
    reference: Tensor,
    task: TaskEmbedding,
    sampling: Sampling,
    done: int = 0,
    after_step: Callable[[Tensor, float], Tensor] = lambda latents, sigma: latents,
) -> Tensor:
    """Follow the velocity to the end of the schedule.

    Args:
        latents: B x C x h x w, where ``done`` steps have led.
        after_step: is given the latents after each step and their share of noise; its result goes on.

    Raises:
        ClearpaneError: the transformer gave a number that is not finite.
    """
    schedule = latents_schedule(backbone, latents, sampling)
    for step, (sigma, following) in enumerate(pairwise(schedule[done:]), done + 1):
        velocity = predict_velocity(backbone, latents, reference, task, sampling, sigma, step)
        latents = after_step(follow(latents, velocity, following - sigma), following)
    return latents


def latents_schedule(backbone: Backbone, latents: Tensor, sampling: Sampling) -> list[float]:
    """Return the sigmas for latents of this size: `sigma_schedule`, shifted by their number of tokens."""
    height, width = latents.shape[-2:]
    return sigma_schedule(sampling.steps, backbone.shift(height * width // 4)).tolist()


def predict_velocity(
    backbone: Backbone,
    latents: Tensor,
    reference: Tensor,
    task: TaskEmbedding,
    sampling: Sampling,
    sigma: float,
    step: int,
) -> Tensor:
    """Predict the velocity at one sigma, for all pictures of a batch.

    Args:
        step: the number of this step, for what is told when it fails.

    Raises:
        ClearpaneError: it is not finite.
    """
    now = torch.full((len(latents),), sigma, device=latents.device)
    velocity = backbone.velocity(latents, reference, now, task, sampling.guidance)
    if not velocity.isfinite().all():
        raise ClearpaneError(
            f"sampling broke down at step {step} of {sampling.steps}: the transformer's result is not "
            "finite; its weights may be damaged, or `precision` too coarse for them"
        )
    return velocity


def follow(latents: Tensor, velocity: Tensor, distance: float) -> Tensor:
    """Euler's step ``x + d v``, computed in float32."""
    return (latents.float() + distance * velocity.float()).to(latents.dtype)
