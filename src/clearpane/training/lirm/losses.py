"""Compute LIRM's losses: rendered patches against true ones, and distances at points.

Source: LIRM (arXiv 2504.20026), section 3.4. Three things differ. The weights of LPIPS cannot be shipped, so
gradients at several scales and SSIM replace it; they are not called LPIPS. Metallic, roughness, depth,
distance and the brightness of the albedo are supervised, since they are known for random objects. Normals
have a weight of 0.2 from the first step on, not of 1 later.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.field.rendering import Rendered
from clearpane.training.compact.losses import gradient_loss

_WINDOW = 7
# Clamp on distances, metres: accuracy matters only near the surface.
_TRUNCATION = 0.05
WEIGHTS = {
    "colour": 5.0,
    "gradients": 0.1,
    "ssim": 0.1,
    "mask": 2.0,
    "normal": 0.2,
    "albedo": 1.0,
    "brightness": 1.0,
    "material": 0.2,
    "depth": 0.2,
    # Pictures alone make the object too small: a ray that misses it does not show by how far.
    "distance": 2.0,
}
"""Weights of the parts of the loss."""
# Smallest coverage of a patch for the brightness loss: below it, the brightness means little.
_LEAST_COVERAGE = 0.01


class Patch(NamedTuple):
    """Hold a window of true `clearpane.synthesis.objects.rendering.ObjectViews`, [C, h, w] each."""

    colour: Tensor
    mask: Tensor
    depth: Tensor
    normal: Tensor
    albedo: Tensor
    metallic: Tensor
    roughness: Tensor


@dataclass(frozen=True, eq=False)
class PatchLosses:
    """Hold the parts of a patch's loss, each a scalar.

    Attributes:
        parts: Losses by name, before weighting.
    """

    parts: dict[str, Tensor]

    @property
    def weighted(self) -> dict[str, Tensor]:
        """Return each part times its weight."""
        return {name: WEIGHTS[name] * value for name, value in self.parts.items()}

    @property
    def total(self) -> Tensor:
        """Return the sum of the weighted parts."""
        return torch.stack(list(self.weighted.values())).sum()


def patch_losses(rendered: Rendered, true: Patch) -> PatchLosses:
    """Compute the losses of a patch whose rays are rendered row by row.

    The albedo is compared in linear light after the best-fitting gain of each channel. Its brightness, which
    the gain hides, has the loss ``mean over channels of (sum m (a - a*) / sum m)^2``; a* is the true albedo,
    m the true mask. Materials, normals and depth are compared as summed along the rays, within the object.
    """
    height, width = true.colour.shape[-2:]

    def picture(values: Tensor) -> Tensor:
        return values.T.reshape(-1, height, width)

    appearance = rendered.appearance
    colour, albedo = picture(appearance.colour), picture(appearance.albedo)
    inside = true.mask
    depth = picture(rendered.depth) - true.depth
    fitted = albedo * channel_gain(albedo.detach(), true.albedo)
    coverage = inside.sum().clamp(min=_LEAST_COVERAGE * height * width)
    excess = (inside * (albedo - true.albedo)).sum((-2, -1)) / coverage
    material = (picture(appearance.metallic) - true.metallic).square() + (
        picture(appearance.roughness) - true.roughness
    ).square()
    return PatchLosses(
        {
            "colour": F.mse_loss(colour, true.colour),
            "gradients": gradient_loss(colour[None], true.colour[None])[0],
            "ssim": 1 - structural_similarity(colour, true.colour),
            "mask": F.mse_loss(picture(rendered.opacity), inside),
            "normal": F.mse_loss(picture(appearance.normal), true.normal),
            "albedo": F.mse_loss(fitted, true.albedo),
            "brightness": excess.square().mean(),
            "material": material.mean(),
            "depth": (inside * depth.abs().clamp(max=0.3)).mean(),
        }
    )


def channel_gain(result: Tensor, target: Tensor) -> Tensor:
    """Fit the gain of each channel from a result to its target, [C, 1, 1]; 1 for a black result."""
    power = result.square().sum((-2, -1), keepdim=True)
    gain = (result * target).sum((-2, -1), keepdim=True) / power.clamp(min=1e-6)
    return torch.where(power > 1e-6, gain, torch.ones_like(gain))


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean SSIM of pictures [C, H, W] in [0, 1], uniform 7 x 7 windows (Wang et al., 2004)."""
    first, second = 0.01**2, 0.03**2

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values[None], _WINDOW, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + first) * (2 * covariance + second)
    return (similarity / ((mean_a**2 + mean_b**2 + first) * (variance_a + variance_b + second))).mean()


def distance_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Average the absolute error of distances [P, 1] clamped at 5 cm, in units of 5 cm, times its weight."""
    cut = _TRUNCATION
    error = predicted.clamp(-cut, cut) - true.clamp(-cut, cut)
    # A clamped point on the wrong side would have no gradient: an unclamped term keeps a little.
    return WEIGHTS["distance"] * (error.abs() + 0.1 * (predicted - true).abs()).mean() / cut
