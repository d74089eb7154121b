"""Pictures through glass made by blending two pictures in linear light.

The data that the first separators were trained on; kept to measure later ones against it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.blending import Blend, gaussian_blur, half_plane_mask, smooth_mask
from clearpane.synthesis.draws import normal, uniform


@dataclass(frozen=True)
class LinearLightRanges:
    """Ranges that :func:`linear_light_blend` draws from; the defaults fit the 71 real training pairs.

    Attributes:
        exposure: Factor on the background, log-uniform; reflections show where the scene behind is dark.
        transmittance: Share of light that passes the glass, uniform.
        level: 95th percentile of the added light: (median, standard deviation of the logarithm, maximum).
        blur_sigma: Maximum defocus of the reflection in pixels, drawn as ``blur_sigma * u^1.5``: often sharp.
        highlight_gain: Maximum gain on clipped highlights of the reflected picture.
        blueness: Logarithm of blue over red in the reflection, often a sky: (mean, standard deviation).
        ghost_chance, mask_chance, edge_chance, veil_chance: Probability that each effect is applied.
        veil: Maximum uniform light (haze) added, linear.
    """

    exposure: tuple[float, float] = (0.25, 1.15)
    transmittance: tuple[float, float] = (0.75, 1.0)
    level: tuple[float, float, float] = (0.13, 0.9, 0.7)
    blur_sigma: float = 5.0
    highlight_gain: float = 6.0
    blueness: tuple[float, float] = (0.25, 0.35)
    ghost_chance: float = 0.4
    mask_chance: float = 0.5
    edge_chance: float = 0.3
    veil_chance: float = 0.4
    veil: float = 0.12


def linear_light_blend(
    background: Tensor, reflected: Tensor, generator: Generator, ranges: LinearLightRanges | None = None
) -> Blend:
    """Blend as light adds up: ``I = clip(t B + R)`` in linear light.

    R is the reflected picture with its clipped highlights restored, then tinted, defocused, doubled by the
    back of the pane, masked and scaled to a random strength, with haze; sums above 1 saturate as on a sensor.

    Against physics: no geometry. The ghost's shift, the defocus and the strength are drawn independently and
    are constant over the picture; in a real pane they depend on its thickness and the viewing angle.

    Args:
        background: Scene behind the glass [3, H, W].
        reflected: Scene in front of the glass [3, H, W].
        generator: Source of all randomness.
        ranges: Ranges of the random parameters.

    Returns:
        A blend with ``background`` B at the drawn exposure, ``transmission`` T = t B (t slightly tinted), and
        ``reflection`` all light added, including haze.
    """
    r = ranges or LinearLightRanges()
    height, width = background.shape[-2:]

    def chance(probability: float) -> bool:
        return uniform(0, 1, generator) < probability

    exposure = math.exp(uniform(math.log(r.exposure[0]), math.log(r.exposure[1]), generator))
    background_linear = (srgb_to_linear(background) * exposure).clamp(max=1)

    light = srgb_to_linear(reflected)
    light = light + uniform(0, r.highlight_gain, generator) * (light - 0.7).clamp(min=0)
    blueness = normal(*r.blueness, generator)
    light = light * torch.tensor([-blueness / 2, 0.0, blueness / 2]).exp()[:, None, None]
    sigma = r.blur_sigma * uniform(0, 1, generator) ** 1.5
    if sigma > 0.3:
        light = gaussian_blur(light, sigma)
    if chance(r.ghost_chance):
        reach = max(1, round(0.03 * min(height, width)))
        dy, dx = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        light = add_ghost(light, (dy, dx), uniform(0.3, 1.0, generator))
    # Much of what is in front of the glass is in shadow and adds nothing.
    if chance(0.5):
        light = (light - uniform(0, 0.6, generator) * light.mean()).clamp(min=0)
    if chance(r.mask_chance):
        light = light * smooth_mask(height, width, generator)
    if chance(r.edge_chance):
        light = light * half_plane_mask(height, width, generator)
    median, spread, most = r.level
    level = min(most, median * math.exp(normal(0, spread, generator)))
    peak = torch.quantile(light.flatten()[::16], 0.95).clamp(min=0.02)
    reflection_linear = light * (level / peak)
    if chance(r.veil_chance):
        veil = r.veil * uniform(0, 1, generator) ** 2
        colour = 1 + 0.3 * torch.rand(3, 1, 1, generator=generator)
        reflection_linear = reflection_linear + veil * colour * (0.5 + smooth_mask(height, width, generator))

    tint = 1 - 0.05 * torch.rand(3, 1, 1, generator=generator)
    transmission_linear = background_linear * uniform(*r.transmittance, generator) * tint
    blended = (transmission_linear + reflection_linear).clamp(0, 1)
    return Blend(
        input=linear_to_srgb(blended),
        transmission=linear_to_srgb(transmission_linear),
        reflection=linear_to_srgb(reflection_linear.clamp(0, 1)),
        background=linear_to_srgb(background_linear),
    )


def add_ghost(reflection_linear: Tensor, offset: tuple[int, int], strength: float) -> Tensor:
    """Add the reflection off the back of the pane: ``R(x) + strength R(x - offset)``, over ``1 + strength``.

    Args:
        reflection_linear: Reflection [3, H, W], linear light.
        offset: Shift of the ghost in rows and columns, pixels.
        strength: Weight of the ghost relative to the front reflection; about 0.9 for clear glass, less for
            tinted.
    """
    dy, dx = offset
    height, width = reflection_linear.shape[-2:]
    pad = max(abs(dy), abs(dx))
    padded = F.pad(reflection_linear[None], (pad, pad, pad, pad), mode="reflect")[0]
    ghost = padded[:, pad - dy : pad - dy + height, pad - dx : pad - dx + width]
    return (reflection_linear + strength * ghost) / (1 + strength)
