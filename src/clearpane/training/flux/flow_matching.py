"""Compute the loss of flow matching, and draw its sigmas."""

from typing import Literal

import torch
from torch import Generator, Tensor

from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.sampling import shift_sigma
from clearpane.separation.flux.task_embedding import TaskEmbedding

TimestepSampling = Literal["logit-normal", "uniform"]


def draw_sigma(
    count: int, shift: float, generator: Generator, timesteps: TimestepSampling = "logit-normal"
) -> Tensor:
    """Draw sigmas [count], shifted as in sampling: ``sigma = shift u / (1 + (shift - 1) u)``.

    Args:
        count: Number of sigmas.
        shift: Shift of the model's schedule.
        generator: Random generator.
        timesteps: Distribution of u: ``u = sigmoid(n), n ~ N(0, 1)`` (Esser et al. 2024, arXiv 2403.03206,
            eq. 19), which favours sigmas between noise and picture; or ``u ~ U(0, 1)``.
    """
    if timesteps == "uniform":
        u = torch.rand(count, generator=generator)
    else:
        u = torch.sigmoid(torch.randn(count, generator=generator))
    return shift_sigma(u, shift)


def flow_matching_loss(
    backbone: Backbone,
    latents: Tensor,
    reference: Tensor,
    task: TaskEmbedding,
    guidance: float,
    generator: Generator,
    weight: Tensor | None = None,
    timesteps: TimestepSampling = "logit-normal",
) -> Tensor:
    """Compute the mean squared error of the velocity at one random sigma for each picture.

    Args:
        backbone: Model whose transformer is trained.
        latents: Latents of the target pictures [B, C, h, w].
        reference: Latents of the pictures to edit [B, C, h', w'].
        task: Task embedding, one for each picture or one for all.
        guidance: Guidance scale given to the transformer.
        generator: Random generator of sigma and noise, on the CPU, so that all devices draw the same.
        weight: Weight of the error [B, 1, h, w], or broadcastable to it; 0 where the target is not known:
            there the transformer sees pure noise and contributes no loss.
        timesteps: Distribution of sigma, see `draw_sigma`.
    """
    count, _, height, width = latents.shape
    sigma = draw_sigma(count, backbone.shift(height * width // 4), generator, timesteps).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
    if weight is not None:
        # An unknown target must not be visible either, not even through noise.
        noisy = torch.where(weight > 0, noisy, noise)
    velocity = backbone.velocity(noisy, reference, sigma, task, guidance)
    error = (velocity.float() - (noise - latents).float()).square()
    if weight is None:
        return error.mean()
    weight = weight.expand_as(error)
    return (weight * error).sum() / weight.sum().clamp(min=1)


def regression_loss(
    backbone: Backbone, latents: Tensor, reference: Tensor, task: TaskEmbedding, guidance: float
) -> Tensor:
    """Compute the mean squared error of one step from the noiseless latents of the picture to edit.

    The transformer is given the reference instead of noisy latents, and ``sigma = 0``, as if no noise were
    left. Its target is ``reference - latents``, so that one step of length 1 ends at the target picture.

    The arguments are those of `flow_matching_loss`.
    """
    sigma = torch.zeros(len(latents), device=latents.device)
    velocity = backbone.velocity(reference, reference, sigma, task, guidance)
    return (velocity.float() - (reference - latents).float()).square().mean()


def distillation_loss(
    backbone: Backbone, ends: Tensor, noise: Tensor, reference: Tensor, task: TaskEmbedding, guidance: float
) -> Tensor:
    """Compute the mean squared error of one step of sampling against a teacher's many (arXiv 2209.03003).

    A transformer trained with it reaches in one step (``steps=1``) what its teacher reaches in many. No
    ground truth is needed, only photographs.

    Args:
        ends: Latents [B, C, h, w] that the teacher's sampling ended at.
        noise: Noise [B, C, h, w] that it began with.

    The other arguments are those of `flow_matching_loss`.
    """
    sigma = torch.ones(len(noise), device=noise.device)
    velocity = backbone.velocity(noise, reference, sigma, task, guidance)
    return (velocity.float() - (noise - ends).float()).square().mean()
