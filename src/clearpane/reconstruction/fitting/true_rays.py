"""Take the pixels of photographs as rays: those that a fit is made to, and those that it is judged by."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import picture_rays
from clearpane.reconstruction.capture.cropping import Capture

# Blocks along a side of a view, and the share of them that is held out. A block is wide enough that what it
# shows must be learnt from other views.
_BLOCKS, _HELD_OUT = 16, 0.04


@dataclass(frozen=True, eq=False)
class TrueRays:
    """Hold pixels of photographs as rays.

    Attributes:
        origins, directions: Origins and unit directions [N, 3].
        colours: Colours on white [N, 3], sRGB.
        masks: Coverage of the pixels by the object [N, 1], in [0, 1].
        weights: Trust in the colours [N, 1], in [0, 1].
    """

    origins: Tensor
    directions: Tensor
    colours: Tensor
    masks: Tensor
    weights: Tensor

    def __getitem__(self, index: Tensor) -> "TrueRays":
        return TrueRays(
            self.origins[index],
            self.directions[index],
            self.colours[index],
            self.masks[index],
            self.weights[index],
        )

    def __len__(self) -> int:
        return len(self.origins)


def object_rays(capture: Capture) -> TrueRays:
    """Return the rays of all pixels on and around the object."""
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(capture.cameras))
    colours = capture.pictures.permute(0, 2, 3, 1).reshape(-1, 3)
    about = _about_object(capture)
    weights = torch.ones_like(capture.masks) if capture.weights is None else capture.weights
    return TrueRays(origins, directions, colours, capture.masks.reshape(-1, 1), weights.reshape(-1, 1))[about]


def held_out_pixels(capture: Capture, generator: Generator) -> Tensor:
    """Draw the pixels that no step of a fit may see, for each ray of `object_rays`: [N] bool.

    They are blocks of a sixteenth of a view's side, 4 % of those on and around the object. Single pixels
    would prove nothing, since their neighbours have nearly their colours.
    """
    views, side = len(capture.masks), capture.cameras.width
    number = torch.arange(views * _BLOCKS**2).reshape(views, 1, _BLOCKS, _BLOCKS).float()
    of_pixels = F.interpolate(number, (side, side), mode="nearest").long().reshape(-1)
    blocks, of_rays = of_pixels[_about_object(capture)].unique(return_inverse=True)
    count = max(1, round(_HELD_OUT * len(blocks)))
    drawn = torch.zeros(len(blocks), dtype=torch.bool)
    drawn[torch.randperm(len(blocks), generator=generator)[:count]] = True
    return drawn[of_rays]


def _about_object(capture: Capture) -> Tensor:
    """Return the indices of the pixels on and around the object, over all views."""
    reach = capture.cameras.width // 32
    return (F.max_pool2d(capture.masks, 2 * reach + 1, 1, reach).reshape(-1) > 0).nonzero()[:, 0]
