"""What an object is fitted to: colours of rays, as it radiates and as it is lit; a surface that is one."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.reconstruction.learnt_light import (
    LearntLight,
    display,
    fitted_light,
    shade_rays,
)
from clearpane.reconstruction.rendering import Field, Rendered

_MASK, _SHADING = 0.5, 0.5
# The gradient of a distance is 1 long; the surface is smooth; the normals that are shaded are the surface's.
_EIKONAL, _CURVATURE, _TIE = 0.02, 0.01, 0.05
# Most things are no metals.
_METALLIC = 0.02
_MOST_SHADED = 256
# Normals are taken over such distances, and compared with those of such neighbours, metres.
_STEP, _NEIGHBOURHOOD = 0.008, 0.02
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True, eq=False)
class TrueRays:
    """Pixels of photographs.

    Attributes:
        origins, directions: [N, 3].
        colours: sRGB on white, [N, 3].
        masks: how much of each is the object, [N, 1].
    """

    origins: Tensor
    directions: Tensor
    colours: Tensor
    masks: Tensor

    def __getitem__(self, index: Tensor) -> "TrueRays":
        return TrueRays(self.origins[index], self.directions[index], self.colours[index], self.masks[index])

    def __len__(self) -> int:
        return len(self.origins)


def ray_loss(rendered: Rendered, true: TrueRays) -> Tensor:
    """Absolute error of colours, squared error of masks."""
    colour = (rendered.appearance.colour - true.colours).abs().mean()
    return colour + _MASK * F.mse_loss(rendered.opacity, true.masks)


def surface_loss(
    field: Field, light: LearntLight | None, rendered: Rendered, true: TrueRays, generator: Generator
) -> Tensor:
    """What is asked of the surface where some of the rays meet it.

    ``(|grad s| - 1)^2``, the change of normals nearby, the angle between the surface's normal and the one
    that is shaded; and with a light, the absolute error of the shaded colours.
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
    loss = _EIKONAL * eikonal + _CURVATURE * change + _TIE * tie
    if light is None:
        return loss
    # What is behind a pixel at the rim is white.
    lit = (
        display(shade_rays(seen, rays.directions, fitted_light(light.radiance()))) * rays.masks
        + 1
        - rays.masks
    )
    shading = (lit - rays.colours).abs().mean()
    return loss + _SHADING * shading + _METALLIC * seen.appearance.metallic.mean() + light.regularity()


def distance_gradient(field: Field, points: Tensor) -> Tensor:
    """``grad s`` by differences over the corners of a tetrahedron: [P, 3] -> [P, 3].

    ``sum_i k_i s(x + h k_i) / 4 h``. Automatic differentiation would need second derivatives of look-ups,
    which PyTorch does not have; and the surface is as smooth as h.
    """
    corners = points.new_tensor(_TETRAHEDRON)
    places = (points[:, None] + _STEP * corners).reshape(-1, 3)
    distance = field.signed_distance(places).reshape(-1, 4, 1)
    return (distance * corners).sum(1) / (4 * _STEP)
