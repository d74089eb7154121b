"""Reflections as a pane shows them: out of focus, doubled by its back, masked, scaled and tinted.

Pictures are [3, H, W] in linear light unless said otherwise; all randomness comes from the generator
argument. The ghost shifts match those of the glass-scene renderer: at 320 pixels, a median of 0.3 pixels for
flat panes and 1.1 for double glazing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.blending import gaussian_blur, half_plane_mask, smooth_mask
from clearpane.synthesis.draws import chance, log_normal, normal, uniform


@dataclass(frozen=True)
class GhostLaw:
    """Distribution of the images off the back of one kind of pane.

    Attributes:
        share: Share of panes that are of this kind.
        median, spread: Median of the shift in pixels, and standard deviation of its logarithm.
        images: Number of images besides the one off the front.
    """

    share: float
    median: float
    spread: float
    images: int


# Single panes, double glazing, and thick or wedged glass seen from close up.
GHOSTS = (GhostLaw(0.6, 0.3, 0.8, 1), GhostLaw(0.25, 1.1, 0.8, 3), GhostLaw(0.15, 5.0, 0.6, 1))
_LARGEST_SHIFT = 14.0


def shifted(picture: Tensor, down: float, right: float) -> Tensor:
    """Shift a picture [C, H, W] by any distance in pixels, bilinear, edges reflected."""
    height, width = picture.shape[-2:]
    rows, columns = math.floor(down), math.floor(right)
    pad = max(abs(rows), abs(columns)) + 2
    padded = F.pad(picture[None], (pad,) * 4, mode="reflect")[0]

    def moved(y: int, x: int) -> Tensor:
        return padded[:, pad - y : pad - y + height, pad - x : pad - x + width]

    upper = torch.lerp(moved(rows, columns), moved(rows, columns + 1), right - columns)
    lower = torch.lerp(moved(rows + 1, columns), moved(rows + 1, columns + 1), right - columns)
    return torch.lerp(upper, lower, down - rows)


def add_ghosts(light: Tensor, generator: Generator) -> Tensor:
    """Add the images off the back of a random kind of pane, all in one direction; the mean is unchanged."""
    shares = torch.tensor([law.share for law in GHOSTS])
    law = GHOSTS[int(torch.multinomial(shares, 1, generator=generator))]
    angle, strength = uniform(0, 2 * math.pi, generator), uniform(0.5, 1.0, generator)
    total, weights = light, 1.0
    for _ in range(law.images):
        distance = min(_LARGEST_SHIFT, log_normal(law.median, law.spread, generator))
        total = total + strength * shifted(light, distance * math.sin(angle), distance * math.cos(angle))
        weights += strength
        strength *= uniform(0.5, 1, generator)
    return total / weights


def disc_blur(light: Tensor, radius: float) -> Tensor:
    """Defocus a picture [C, H, W] with a soft-edged disc of ``radius`` pixels, edges reflected."""
    reach = math.ceil(radius + 0.5)
    places = torch.arange(-reach, reach + 1, dtype=light.dtype)
    distance = (places[:, None].square() + places.square()).sqrt()
    kernel = (radius + 0.5 - distance).clamp(0, 1)
    kernel = (kernel / kernel.sum())[None, None]
    return F.conv2d(F.pad(light[:, None], (reach,) * 4, mode="reflect"), kernel)[:, 0]


def defocus(light: Tensor, most: float, generator: Generator) -> Tensor:
    """Defocus a picture [C, H, W] by a random radius of up to ``most`` pixels, biased towards small ones.

    A disc up to six pixels; beyond that, and in two cases out of five below, a Gaussian of half the radius:
    lenses with aberrations or a small aperture are softer than a disc, and a large disc is slow.
    """
    radius = most * uniform(0, 1, generator) ** 2
    if radius < 0.4:
        return light
    if radius < 6 and chance(0.6, generator):
        return disc_blur(light, radius)
    return gaussian_blur(light, radius / 2)


@dataclass(frozen=True)
class ReflectionRanges:
    """Ranges that :func:`reflected_light` draws from.

    Attributes:
        highlight_gain: Maximum gain on clipped highlights of the reflected picture.
        blueness: Logarithm of blue over red, often a sky's: (mean, standard deviation).
        defocus: Maximum radius of defocus in pixels.
        ghost_chance, shadow_chance, mask_chance, edge_chance: Probability of ghosts, of shadow (much of what
            is in front of the glass is dark), of an uneven mask, and of a window edge.
        faint, weak: Shares of reflections that are barely visible and weak; the rest have the usual strength.
        level: Usual strength, as the 95th percentile of the light: (median, standard deviation of the
            logarithm, maximum).
        veil_chance, veil: Probability of uniform light (haze), and its maximum.
        dense_chance: Share of the veils that are dense, 0.1 to 0.4.
    """

    highlight_gain: float = 8.0
    blueness: tuple[float, float] = (0.25, 0.35)
    defocus: float = 10.0
    ghost_chance: float = 0.7
    shadow_chance: float = 0.5
    mask_chance: float = 0.5
    edge_chance: float = 0.3
    faint: float = 0.08
    weak: float = 0.22
    level: tuple[float, float, float] = (0.14, 0.9, 0.8)
    veil_chance: float = 0.4
    veil: float = 0.12
    dense_chance: float = 0.12


def reflected_light(reflected: Tensor, generator: Generator, ranges: ReflectionRanges) -> Tensor:
    """Draw the light that a pane adds when it reflects a picture.

    Against physics: no geometry. Shift, defocus and strength are drawn independently and are constant over
        the picture; in a real pane they depend on its thickness and the viewing angle.

    Args:
        reflected: Scene in front of the glass [3, H, W], sRGB in [0, 1].
        generator: Source of all randomness.
        ranges: Ranges of the random parameters.

    Returns:
        R [3, H, W] in linear light, >= 0 and not clipped, including haze.
    """
    height, width = reflected.shape[-2:]
    light = srgb_to_linear(reflected)
    light = light + uniform(0, ranges.highlight_gain, generator) * (light - 0.7).clamp(min=0)
    blueness = normal(*ranges.blueness, generator)
    light = light * torch.tensor([-blueness / 2, 0.0, blueness / 2]).exp()[:, None, None]
    light = defocus(light, ranges.defocus, generator)
    if chance(ranges.ghost_chance, generator):
        light = add_ghosts(light, generator)
    if chance(ranges.shadow_chance, generator):
        light = (light - uniform(0, 0.6, generator) * light.mean()).clamp(min=0)
    if chance(ranges.mask_chance, generator):
        light = light * smooth_mask(height, width, generator)
    if chance(ranges.edge_chance, generator):
        light = light * half_plane_mask(height, width, generator)
    peak = torch.quantile(light.flatten()[::16], 0.95).clamp(min=0.02)
    light = light * (_level(ranges, generator) / peak)
    return light + _veil(height, width, generator, ranges)


def _level(ranges: ReflectionRanges, generator: Generator) -> float:
    kind = uniform(0, 1, generator)
    if kind < ranges.faint:
        return uniform(0, 0.01, generator)
    if kind < ranges.faint + ranges.weak:
        return log_normal(0.04, 0.7, generator)
    median, spread, most = ranges.level
    return min(most, log_normal(median, spread, generator))


def _veil(height: int, width: int, generator: Generator, ranges: ReflectionRanges) -> Tensor:
    """Draw haze [3, H, W], or a zero that broadcasts to it."""
    if not chance(ranges.veil_chance, generator):
        return torch.zeros(3, 1, 1)
    strength = ranges.veil * uniform(0, 1, generator) ** 2
    if chance(ranges.dense_chance, generator):
        strength = uniform(0.1, 0.4, generator)
    colour = 1 + 0.3 * torch.rand(3, 1, 1, generator=generator)
    return strength * colour * (0.5 + smooth_mask(height, width, generator))
