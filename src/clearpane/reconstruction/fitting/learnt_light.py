"""Learn the light around an object from its pictures, and shade rays under it."""

import torch
from torch import Tensor, nn

from clearpane.optics.environment import pyramid, solid_angles, texel_directions
from clearpane.optics.shading import EnvironmentLight, SurfacePoints, shade
from clearpane.reconstruction.field.directional import facing, mirror_directions
from clearpane.reconstruction.field.rendering import Rendered
from clearpane.reconstruction.fitting.sky_visibility import SkyVisibility, directed, for_lights

LIGHT_SIZE = (16, 32)
"""Rows and columns of the learnt map: finer detail shows in nothing but a mirror."""

_FACETS = 4
# A texel is 11 degrees wide: a smoother surface would show the edges of texels.
_LEAST_ROUGHNESS = 0.08
_COLOUR_WEIGHT, _SMOOTHNESS_WEIGHT = 0.02, 0.01


class LearntLight(nn.Module):
    """Learn an environment with radiance ``exp(parameters)``: [16, 32, 3], 1 everywhere at first."""

    def __init__(self) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.zeros(*LIGHT_SIZE, 3))

    def radiance(self) -> Tensor:
        """Return the linear radiance [16, 32, 3]."""
        return self.logarithm.exp()

    def regularity(self) -> Tensor:
        """Penalise coloured and uneven light: pictures alone cannot separate light from albedo."""
        chroma = self.logarithm - self.logarithm.mean(-1, keepdim=True)
        around = self.logarithm - self.logarithm.roll(1, dims=1)
        down = self.logarithm[1:] - self.logarithm[:-1]
        uneven = around.square().mean() + down.square().mean()
        return _COLOUR_WEIGHT * chroma.square().mean() + _SMOOTHNESS_WEIGHT * uneven


def fitted_light(environment: Tensor) -> EnvironmentLight[Tensor]:
    """Make a light from a coarse map [H, W, 3]: one light for each texel, none treated as a lamp."""
    height, width = environment.shape[:2]
    directions = torch.from_numpy(texel_directions(height, width)).to(environment).reshape(-1, 3)
    angles = torch.from_numpy(solid_angles(height, width)).to(environment)
    irradiance = (environment * angles[:, None, None]).reshape(-1, 3)
    return EnvironmentLight(pyramid(environment), directions, irradiance, 0)


def shade_rays(
    rendered: Rendered,
    origins: Tensor,
    directions: Tensor,
    environment: Tensor,
    sky: SkyVisibility | None = None,
) -> Tensor:
    """Shade what rays see, each ray as one surface with its mean material: linear light [N, 3].

    Args:
        rendered: Rendered rays that hit the object.
        origins, directions: Origins and unit directions of the rays [N, 3].
        environment: Radiance, linear, [16, 32, 3] or another multiple of 8 x 16.
        sky: Visibility of the environment past the object; None for an unoccluded environment.
    """
    opacity = rendered.opacity.clamp(min=1e-4)
    appearance = rendered.appearance
    points = SurfacePoints(
        facing(appearance.normal, -directions),
        -directions,
        (appearance.albedo / opacity).clamp(0, 1),
        (appearance.metallic / opacity).clamp(0, 1),
        (appearance.roughness / opacity).clamp(_LEAST_ROUGHNESS, 1),
    )
    light = fitted_light(environment)
    if sky is None:
        return shade(points, light, _FACETS)
    seen = sky.from_points((origins + rendered.depth * directions).detach())
    mirrored = directed(seen, mirror_directions(-directions, points.normal))
    return shade(points, light, _FACETS, for_lights(seen, *environment.shape[:2]), mirrored)


def display(linear: Tensor) -> Tensor:
    """Encode linear light as sRGB with a gradient everywhere; values above 1 continue in a straight line."""
    safe = linear.clamp(1e-4, 1)
    curve = 1.055 * safe ** (1 / 2.4) - 0.055
    low, high = 12.92 * linear, 1 + (1.055 / 2.4) * (linear - 1)
    return torch.where(linear <= 0.0031308, low, torch.where(linear > 1, high, curve))
