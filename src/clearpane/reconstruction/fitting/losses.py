"""Define the losses of a fit: colours of rays, as radiance and as shaded materials; a regular surface."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.reconstruction.field.rendering import Field, Rendered
from clearpane.reconstruction.field.surface_gradient import distance_gradient
from clearpane.reconstruction.fitting.learnt_light import LearntLight, display, shade_rays
from clearpane.reconstruction.fitting.sky_visibility import SkyVisibility
from clearpane.reconstruction.fitting.true_rays import TrueRays

_MASK, _SHADING = 0.5, 0.5
# Weights: gradients of the distance have length 1; the surface is smooth; shading normals match it.
_EIKONAL, _CURVATURE, _TIE = 0.02, 0.01, 0.05
# Weights of priors: most objects are not metallic, and consist of few materials.
_METALLIC, _UNEVEN = 0.003, 0.05
_MOST_SHADED = 256
# Distance to the neighbours whose normals are compared, metres.
_NEIGHBOURHOOD = 0.02


def ray_loss(rendered: Rendered, true: TrueRays) -> Tensor:
    """Sum the absolute error of colours, times their weights, and the squared error of masks."""
    colour = (true.weights * (rendered.appearance.colour - true.colours).abs()).mean()
    return colour + _MASK * F.mse_loss(rendered.opacity, true.masks)


@dataclass(frozen=True, eq=False)
class Lighting:
    """Hold the light that materials are fitted under.

    Attributes:
        light: Learnt environment.
        sky: Visibility of the sky past the object, as last computed.
    """

    light: LearntLight
    sky: SkyVisibility


def surface_loss(
    field: Field, lighting: Lighting | None, rendered: Rendered, true: TrueRays, generator: Generator
) -> Tensor:
    """Compute the losses of the surface where some of the rays meet it.

    The losses are ``(|grad s| - 1)^2``, the change of normals over a short distance, and the angle between
    the surface normal and the shading normal; with lighting, also the absolute error of shaded colours, times
    their weights, the mean metallic, and the variances of metallic and roughness.
    """
    hit = ((rendered.opacity > 0.5) & (true.masks > 0.5))[:, 0].nonzero()[:, 0]
    hit = hit[torch.randperm(len(hit), generator=generator)[:_MOST_SHADED]]
    if not len(hit):
        return rendered.opacity.sum() * 0
    seen, rays = rendered.of(hit), true[hit]
    points = (rays.origins + seen.depth * rays.directions).detach()
    nearby = points + _NEIGHBOURHOOD * torch.randn(points.shape, generator=generator).to(points)
    gradient, near_gradient = distance_gradient(field, torch.cat([points, nearby])).chunk(2)
    normal = F.normalize(gradient, dim=-1)
    change = (normal - F.normalize(near_gradient, dim=-1)).square().sum(-1).mean()
    tie = (1 - (F.normalize(seen.appearance.normal, dim=-1) * normal).sum(-1)).mean()
    eikonal = (gradient.norm(dim=-1) - 1).square().mean()
    loss: Tensor = _EIKONAL * eikonal + _CURVATURE * change + _TIE * tie
    if lighting is None:
        return loss
    radiance = lighting.light.radiance()
    shaded = display(shade_rays(seen, rays.origins, rays.directions, radiance, lighting.sky))
    lit = shaded * rays.masks + 1 - rays.masks  # the background of a pixel at the outline is white
    shading = _SHADING * (rays.weights * (lit - rays.colours).abs()).mean()
    metallic, roughness = (x / seen.opacity for x in (seen.appearance.metallic, seen.appearance.roughness))
    uneven = metallic.var(correction=0) + roughness.var(correction=0)
    materials = _METALLIC * metallic.mean() + _UNEVEN * uneven
    with_light: Tensor = loss + shading + materials + lighting.light.regularity()
    return with_light
