"""Masks, H x W in [0, 1], that thin a reflection unevenly."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.synthesis.draws import uniform


def smooth_mask(height: int, width: int, generator: Generator) -> Tensor:
    """An uneven mask: low-frequency noise of 2 to 5 cells, stretched to [0, 1]."""
    cells = int(torch.randint(2, 6, (), generator=generator))
    noise = torch.rand(1, 1, cells, cells, generator=generator)
    mask = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)[0, 0]
    return ((mask - mask.min()) / (mask.max() - mask.min() + 1e-6)).clamp(0, 1)


def half_plane_mask(height: int, width: int, generator: Generator) -> Tensor:
    """A mask cut off along a straight, more or less soft edge, as by a window frame."""
    angle = uniform(0, 2 * math.pi, generator)
    offset = uniform(-0.35, 0.35, generator)
    softness = 10 ** uniform(-2.5, -0.5, generator)
    y = torch.linspace(-0.5, 0.5, height)[:, None]
    x = torch.linspace(-0.5, 0.5, width)[None]
    return torch.sigmoid((math.cos(angle) * x + math.sin(angle) * y - offset) / softness)


def vignette_mask(height: int, width: int, generator: Generator) -> Tensor:
    """The vignette of Zhang et al. 2018: a window, at a random place, of a broad bright spot.

    The spot is ``exp(-(x^2 + y^2) / 4)``, x and y from -3 to 3 over a square of 560 pixels; the window ends
    at least 10 pixels before the square does. For pictures above 550 pixels the square grows with them.
    """
    side = 560 * max(1.0, max(height, width) / 550)

    def profile(length: int) -> Tensor:
        start = uniform(0, side - 10 - length, generator)
        x = (start + 0.5 + torch.arange(length)) * (6 / side) - 3
        return torch.exp(-(x**2) / 4)

    return profile(height)[:, None] * profile(width)[None]
