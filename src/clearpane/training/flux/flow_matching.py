"""Flow matching: how the noise of a training step is drawn, and the loss."""

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
    """Shares of noise s, shifted as in sampling: ``s = shift u / (1 + (shift - 1) u)``. Returns [count].

    Args:
        timesteps: ``u = sigmoid(n), n ~ N(0, 1)`` (Esser et al. 2024, arXiv 2403.03206, eq. 19), which asks
            most between noise and picture; or ``u ~ U(0, 1)``.
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
    """Mean squared error of the velocity at one random s for each picture.

    Args:
        backbone: whose transformer is trained.
        latents: B x C x h x w, of the pictures to make.
        reference: B x C x h' x w', of the pictures to edit.
        task: what to do, for each picture or for all.
        guidance: what the transformer is told.
        generator: draws s and the noise, on the CPU: the same on every device.
        weight: B x 1 x h x w, or what expands to it; 0 where the picture to make is not known: there the
            transformer sees noise alone, and nothing is asked of it.
        timesteps: how s is drawn, see `draw_sigma`.
    """
    count, _, height, width = latents.shape
    sigma = draw_sigma(count, backbone.shift(height * width // 4), generator, timesteps).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
    if weight is not None:
        # What is not known must not be seen either, not even through noise.
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
    """Mean squared error of one step from the noiseless latents of the picture to edit.

    The transformer is given the reference in the place of noisy latents, and told that no noise is left,
    ``s = 0``; what it predicts is to be ``reference - latents``, so that one step of length 1 ends at the
    picture to make.

    Args: as for `flow_matching_loss`.
    """
    sigma = torch.zeros(len(latents), device=latents.device)
    velocity = backbone.velocity(reference, reference, sigma, task, guidance)
    return (velocity.float() - (reference - latents).float()).square().mean()
