"""Photograph drawn scenes: exposure, white balance, tone, grain and JPEG.

Layers are [3, H, W] in linear light, pictures [3, H, W] sRGB in [0, 1].
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.draws import chance, log_uniform, uniform


def expose(layers: Sequence[Tensor], generator: Generator, *, pale: bool = False) -> list[Tensor]:
    """Expose as an automatic camera does: one gain for all layers brings the first to a drawn mean.

    Pale scenes are brought to brighter means than others: what is pale and dark at once is behind a veil.
    """
    mean = log_uniform(0.25, 0.5, generator) if pale else log_uniform(0.08, 0.3, generator)
    gain = min(3.0, max(0.4, mean / max(1e-3, layers[0].mean().item())))
    return [gain * layer for layer in layers]


def balance(layers: Sequence[Tensor], generator: Generator) -> list[Tensor]:
    """Change the white balance of all layers alike, by some 8 % in each channel."""
    gains = (0.08 * torch.randn(3, 1, 1, generator=generator)).exp()
    return [gains * layer for layer in layers]


def s_curve(picture: Tensor, strength: float) -> Tensor:
    """Blend sRGB values with ``3 x^2 - 2 x^3``: more contrast, or less where the strength is below 0."""
    return torch.lerp(picture, picture.square() * (3 - 2 * picture), strength)


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """Compress a picture and read it again; chroma has half the resolution up to a quality of 90."""
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling=0 if quality > 90 else 2)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255


def add_grain(picture: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise with a deviation of up to 0.02, mostly less."""
    deviation = 0.02 * uniform(0, 1, generator) ** 2
    return (picture + deviation * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def photograph(
    layers: Sequence[Tensor], generator: Generator, *, pale: bool = False
) -> tuple[list[Tensor], bool]:
    """Take a photograph of layers, the first of which is what the camera sees.

    Some are exposed automatically, 40 % balanced otherwise, a quarter goes through a tone curve; the first
    layer also gets grain and, one time in three, JPEG.

    Args:
        layers: [3, H, W] each, linear light.
        generator: Source of all randomness.
        pale: True if the scene is pale, see `expose`.

    Returns:
        The layers as sRGB pictures, and whether light still adds up in them: not after a tone curve.
    """
    if chance(0.5 if pale else 0.3, generator):
        layers = expose(layers, generator, pale=pale)
    if chance(0.4, generator):
        layers = balance(layers, generator)
    pictures = [linear_to_srgb(layer.clamp(0, 1)) for layer in layers]
    curved = chance(0.25, generator)
    if curved:
        strength = uniform(-0.3, 0.8, generator)
        pictures = [s_curve(picture, strength) for picture in pictures]
    pictures[0] = add_grain(pictures[0], generator)
    if chance(0.35, generator):
        pictures[0] = jpeg(pictures[0], round(uniform(60, 98, generator)))
    return pictures, not curved
