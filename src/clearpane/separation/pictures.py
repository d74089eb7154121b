"""Separate a picture as it was read, and make the pictures that the commands and the page write."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import numpy as np

from clearpane.images.picture import BandedPicture, Picture
from clearpane.images.tiling import PixelRows
from clearpane.separation.interface import Quality
from clearpane.separation.layers import Layers
from clearpane.separation.removal import separate_rows
from clearpane.separation.separator import Separator
from clearpane.separation.strength import apply_strength, blend_rows, check_mask_size


@dataclass(frozen=True, eq=False)
class Edit:
    """Strength, mask and quality of a separation.

    Attributes:
        strength: Strength, -1 to 1, see `clearpane.separation.strength`.
        mask: [H, W] float32 in [0, 1], 1 where the picture may change; None: everywhere.
        quality: Quality of the separation.
    """

    strength: float = 1.0
    mask: np.ndarray | None = None
    quality: Quality = "fast"


def edit_picture(
    picture: BandedPicture, separator: Separator | None, edit: Edit, kinds: Collection[str]
) -> tuple[dict[str, BandedPicture], list[str]]:
    """Separate a picture and make the results asked for.

    Args:
        picture: Photograph, as read.
        separator: Separator; None leaves the picture as it is, for a strength of 0.
        edit: Strength, mask and quality.
        kinds: Any of "transmission" (with strength and mask applied), "reflection" and "confidence" (whole,
            whatever the strength and the mask).

    Returns:
        The results by kind, with the photograph's metadata, and the separator's remarks. Their pixels may be
        computed each time they are asked for.

    Raises:
        ClearpaneError: the mask's size or the strength is wrong, or the picture cannot be separated.
    """
    before = picture.pixels
    if edit.mask is not None:
        check_mask_size(edit.mask, before)
    if separator is None:
        return ({"transmission": picture} if "transmission" in kinds else {}), []
    found = separate_rows(separator, before, edit.quality, "confidence" in kinds)
    blend: Callable[..., PixelRows] = blend_rows
    if isinstance(found, Layers):  # no third array of the picture's size
        blend = partial(apply_strength, out=found.transmission)
    layers = {
        "transmission": blend(before, found, edit.strength, edit.mask),
        "reflection": found.reflection,
    }
    results: dict[str, BandedPicture] = {
        kind: picture.with_pixels(layers[kind]) for kind in kinds if kind in layers
    }
    if found.confidence is not None:
        results["confidence"] = _gray_picture(found.confidence)
    notes = list(found.notes)
    if found.reflection_note and "reflection" in kinds:
        notes.append(found.reflection_note)
    return results, notes


def _gray_picture(plane: np.ndarray) -> Picture:
    """Return [H, W] values in [0, 1] as an 8-bit grey picture."""
    pixels = np.broadcast_to(plane[..., None], (*plane.shape, 3))
    return Picture(pixels, "png", "uint8", is_gray=True)
