"""Edits that kontext-small is trained on: a fixed sentence each, and a function that makes its pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.blending import gaussian_blur
from clearpane.synthesis.draws import uniform

_LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]
_DARKENED = 0.3


@dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes:
        sentence: Sentence given to the model.
        make: Function from a clean picture ([3, H, W], sRGB in [0, 1]) to the input and the target.
    """

    sentence: str
    make: Callable[[Tensor, Generator], tuple[Tensor, Tensor]]


def _add_noise(picture: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    noise = uniform(0.05, 0.2, generator) * torch.randn(picture.shape, generator=generator)
    return (picture + noise).clamp(0, 1), picture


def _blur(picture: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    return gaussian_blur(picture, uniform(0.8, 2, generator)), picture


def _take_colour(picture: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    grey = (srgb_to_linear(picture) * _LUMINANCE).sum(dim=0, keepdim=True)
    return linear_to_srgb(grey).expand(3, -1, -1), picture


def _cut_hole(picture: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    height, width = picture.shape[-2:]
    h, w = (round(side * uniform(0.2, 0.5, generator)) for side in (height, width))
    top = int(torch.randint(height - h + 1, (), generator=generator))
    left = int(torch.randint(width - w + 1, (), generator=generator))
    holed = picture.clone()
    holed[:, top : top + h, left : left + w] = 1
    return holed, picture


def _darken(picture: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    return picture, linear_to_srgb(_DARKENED * srgb_to_linear(picture))


EDITS = {
    "denoise": Edit("remove the noise from this photograph.", _add_noise),
    "deblur": Edit("sharpen this blurred photograph.", _blur),
    "colourise": Edit("give this grey photograph its colours.", _take_colour),
    "fill": Edit("fill the white hole in this photograph.", _cut_hole),
    "darken": Edit("make this photograph darker.", _darken),
}
