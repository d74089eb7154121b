"""Sample a picture from noise by Euler's method along the predicted velocity."""

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
    """Settings of sampling.

    Attributes:
        steps: Number of Euler steps.
        seed: Random seed of the noise.
        guidance: Scale of FLUX's distilled guidance.

    Raises:
        ClearpaneError: The number of steps is below 1, or the seed is negative or exceeds 63 bits.
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
    """Latents that are fixed during sampling.

    Attributes:
        latents: [B, C, h, w], values to hold.
        mask: [1, 1, h, w], 1 where they are held.
    """

    latents: Tensor
    mask: Tensor


def shift_sigma(sigma: T, shift: float) -> T:
    """Return ``shift s / (1 + (shift - 1) s)``: more steps near noise (Esser et al. 2024, eq. 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_schedule(steps: int, shift: float) -> Tensor:
    """Return the sigmas from 1 to 0, [steps + 1]; before the shift 1, 1 - 1 / steps, ..."""
    sigma = torch.linspace(1, 1 / steps, steps)
    return torch.cat([shift_sigma(sigma, shift), torch.zeros(1)])


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw Gaussian noise on the CPU, so that it is the same for every device."""
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
    """Sample latents of the edited pictures, [B, C, h, w].

    Args:
        reference: [B, C, h', w'], latents of the pictures to edit.
        task: Task embedding.
        size: Size (h, w) of the result; None for the reference's.
        held: Latents of a known part; after every step they are restored, with the noise of that step.
        on_step: Function called after each step; it may raise to interrupt.

    Raises:
        ClearpaneError: The transformer returned a value that is not finite.
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
        latents: [B, C, h, w], the state after ``done`` steps.
        after_step: Function of the latents after each step and their sigma; its result replaces the latents.

    Raises:
        ClearpaneError: The transformer returned a value that is not finite.
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
        step: Number of this step, for the error message.

    Raises:
        ClearpaneError: The velocity is not finite.
    """
    now = torch.full((len(latents),), sigma, device=latents.device)
    velocity = backbone.velocity(latents, reference, now, task, sampling.guidance)
    if not velocity.isfinite().all():
        raise ClearpaneError(
            f"sampling diverged at step {step} of {sampling.steps}: the transformer's result is not "
            "finite; its weights may be damaged, or `precision` too coarse for them"
        )
    return velocity


def follow(latents: Tensor, velocity: Tensor, distance: float) -> Tensor:
    """Take an Euler step ``x + d v``, computed in float32."""
    return (latents.float() + distance * velocity.float()).to(latents.dtype)
