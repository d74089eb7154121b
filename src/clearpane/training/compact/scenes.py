"""Turn any picture into a kind of scene that may lie behind glass: pale, dark, saturated or as it is.

Pictures are [3, H, W], sRGB in [0, 1]. Whatever a network has not seen clean, it takes for haze or for a
reflection: a pale scene for a veil, a bright thing in the dark for a lamp in the room.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.synthesis.blending import smooth_mask
from clearpane.synthesis.draws import chance, uniform
from clearpane.training.pictures import deepen_shadows


@dataclass(frozen=True)
class SceneLight:
    """Exposure of a scene, and the haze that may lie in front of it.

    Attributes:
        exposure: Range of the factor on its linear light, log-uniform.
        veil_chance: Probability that the glass adds an even veil.
        pale: True if the scene is pale itself, so that veils before it are thin.
    """

    exposure: tuple[float, float]
    veil_chance: float
    pale: bool = False


def lift_blacks(picture: Tensor, generator: Generator) -> Tensor:
    """Mix with 5 to 45 % of a pale colour, as mist, prints and screens do; one time in four unevenly."""
    share = torch.tensor(uniform(0.05, 0.45, generator))
    colour = 1 - uniform(0, 0.5, generator) * torch.rand(3, 1, 1, generator=generator)
    if chance(0.25, generator):
        height, width = picture.shape[-2:]
        share = share * smooth_mask(height, width, generator)
    return torch.lerp(picture, colour.expand_as(picture), share.expand_as(picture))


def saturate(picture: Tensor, generator: Generator) -> Tensor:
    """Move the channels away from their mean by a factor of 1.1 to 2.2: skies, signs, stage lights."""
    grey = picture.mean(0, keepdim=True)
    return (grey + uniform(1.1, 2.2, generator) * (picture - grey)).clamp(0, 1)


def brighten(picture: Tensor, generator: Generator) -> Tensor:
    """Raise to a power of 0.35 to 1: high key, snow, paper."""
    return picture ** uniform(0.35, 1.0, generator)


def without_detail(picture: Tensor, generator: Generator) -> Tensor:
    """Reduce a picture [3, S, S] to 1, 2, 4 or 8 colours a side, joined smoothly: paper, walls, sky, fog.

    Natural pictures have almost no such windows, and a network that never sees one may take it for haze.
    """
    side = 2 ** int(torch.randint(4, (), generator=generator))
    colours = F.adaptive_avg_pool2d(picture[None], side)
    return F.interpolate(colours, picture.shape[-2:], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def vary_scene(picture: Tensor, generator: Generator) -> tuple[Tensor, SceneLight]:
    """Make a picture one of the kinds: just over a third pale, a third with deep shadows, the rest as it is.

    Returns:
        The picture and the light that goes with its kind.
    """
    if chance(0.15, generator):
        picture = saturate(picture, generator)
    kind = uniform(0, 1, generator)
    if kind < 0.36:
        if chance(0.3, generator):
            picture = brighten(picture, generator)
        if chance(0.85, generator):
            picture = lift_blacks(picture, generator)
        return picture, SceneLight((0.7, 1.3), veil_chance=0.2, pale=True)
    if kind < 0.68:
        return deepen_shadows(picture, generator), SceneLight((0.7, 1.4), veil_chance=0.65)
    if kind < 0.78:
        return picture, SceneLight((0.7, 1.3), veil_chance=0.25)
    return picture, SceneLight((0.25, 1.15), veil_chance=0.6)
