"""Compute the losses of the embedded separator. Pictures are [B, 3, H, W], sRGB in [0, 1]."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.optics.color import srgb_to_linear


@dataclass(frozen=True)
class Batch:
    """Batch of crops for one step.

    Attributes:
        input: I, [B, 3, H, W].
        target: B, the scene without the glass.
        reflection: R; black for real pairs, where it is not known.
        transmittance: [B, 3], t of I = t B + R in linear light; NaN where that is not known or does not hold.
        real: [B], true for real pairs.
    """

    input: Tensor
    target: Tensor
    reflection: Tensor
    transmittance: Tensor
    real: Tensor


def best_shift(result: Tensor, target: Tensor, reach: int = 2) -> Tensor:
    """Shift each target by up to ``reach`` pixels to where it fits the result best (least absolute error).

    Forgives the small misregistration of real pairs. [B, 3, H, W] -> the same, edges repeated.
    """
    height, width = target.shape[-2:]
    padded = F.pad(target, (reach,) * 4, mode="replicate")
    best, least = target, torch.full((len(target),), math.inf)
    with torch.no_grad():
        for dy in range(2 * reach + 1):
            for dx in range(2 * reach + 1):
                shifted = padded[..., dy : dy + height, dx : dx + width]
                error = (shifted - result).abs().mean(dim=(1, 2, 3))
                better = error < least
                least = torch.where(better, error, least)
                best = torch.where(better[:, None, None, None], shifted, best)
    return best


def gradient_loss(result: Tensor, target: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute error of neighbours' differences, summed over ``scales`` resolutions. Returns [B]."""
    total = result.new_zeros(len(result))
    for scale in range(scales):
        if scale:
            result, target = F.avg_pool2d(result, 2), F.avg_pool2d(target, 2)
        error = result - target
        total = (
            total
            + error.diff(dim=-1).abs().mean(dim=(1, 2, 3))
            + error.diff(dim=-2).abs().mean(dim=(1, 2, 3))
        )
    return total


def separation_loss(transmission: Tensor, reflection: Tensor, batch: Batch) -> Tensor:
    """Compute the loss of one batch.

    On all pictures ``|T - B| + 2 e + 0.06 log(1 + e / 3e-4)``, e the mean squared error of the crop, and the
    gradients; on synthetic ones also ``0.3 |R - R*|`` and, where t is known and I is not saturated,
    ``0.2 |t B + R - I|`` in linear light. The logarithm is, up to 35 dB, the PSNR that results are measured
    by: a picture that is nearly right already weighs more, so that it is left alone.
    """
    target, real = batch.target, batch.real.nonzero()[:, 0]
    if len(real):
        target = target.index_copy(0, real, best_shift(transmission[real], target[real]))
    error = transmission - target
    squared = error.square().mean(dim=(1, 2, 3))
    loss = error.abs().mean(dim=(1, 2, 3)) + 2 * squared + 0.06 * torch.log1p(squared / 3e-4)
    loss = loss + gradient_loss(transmission, target)
    known = ~batch.real
    if known.any():
        own = (reflection - batch.reflection)[known].abs().mean(dim=(1, 2, 3))
        loss = loss.index_add(0, known.nonzero()[:, 0], 0.3 * own)
    lawful = known & ~batch.transmittance.isnan().any(dim=1)
    if lawful.any():
        photo, gain = batch.input[lawful], batch.transmittance[lawful][..., None, None]
        passed, added = (srgb_to_linear(x[lawful].clamp(0, 1)) for x in (transmission, reflection))
        residual = (gain * passed + added - srgb_to_linear(photo)).abs() * (photo < 0.98)
        loss = loss.index_add(0, lawful.nonzero()[:, 0], 0.2 * residual.mean(dim=(1, 2, 3)))
    return loss.mean()
