"""Measure what a separator does to pictures without reflections."""

from dataclasses import dataclass

import numpy as np

from clearpane.evaluation.metrics import psnr
from clearpane.images.picture import to_8bit

BRIGHT = 0.9
DARKENED = 0.05
_LUMA = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Harm:
    """Hold the harm done to one clean picture.

    Attributes:
        psnr: PSNR of the output against the picture itself, dB, 8 bits; 100 for an unchanged picture.
        bright: Number of bright pixels: luma above 0.9 in the picture.
        darkened: Number of bright pixels that lost more than 0.05 of luma, as if they were a reflection.
    """

    psnr: float
    bright: int
    darkened: int


@dataclass(frozen=True)
class HarmSummary:
    """Hold the harm over a set of clean pictures.

    Attributes:
        psnr: Mean PSNR over the pictures, dB.
        worst_psnr: Lowest PSNR of a picture, dB.
        false_removal_rate: Darkened over bright pixels, all pictures pooled, in [0, 1]; None without bright
            pixels.
    """

    psnr: float
    worst_psnr: float
    false_removal_rate: float | None


def harm(output: np.ndarray, clean: np.ndarray) -> Harm:
    """Compare a separator's transmission with the clean picture it was given.

    Both are [H, W, 3], floating point, sRGB in [0, 1].

    Luma is 0.2126 R + 0.7152 G + 0.0722 B of the sRGB values.
    """
    before, after = clean @ _LUMA, output @ _LUMA
    bright = before > BRIGHT
    darkened = bright & (before - after > DARKENED)
    return Harm(psnr(to_8bit(output), to_8bit(clean)), int(bright.sum()), int(darkened.sum()))


def summarise_harm(harms: list[Harm]) -> HarmSummary:
    """Pool the harm of one or more pictures."""
    values = [h.psnr for h in harms]
    bright = sum(h.bright for h in harms)
    rate = sum(h.darkened for h in harms) / bright if bright else None
    return HarmSummary(float(np.mean(values)), min(values), rate)
