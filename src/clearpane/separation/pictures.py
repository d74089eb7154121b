"""The reflection out of a picture as it was read: what the commands and the page write to files."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from clearpane.images.picture import Picture
from clearpane.separation.base import Quality, Separator
from clearpane.separation.removal import separate_full_range
from clearpane.separation.strength import apply_strength, check_mask_size


@dataclass(frozen=True, eq=False)
class Edit:
    """What is wanted of a separation.

    Attributes:
        strength: from -1 to 1, see `clearpane.separation.strength`.
        mask: [H, W] float32 in [0, 1], 1 where the picture may change; None: everywhere.
        quality: of the separation.
    """

    strength: float = 1.0
    mask: np.ndarray | None = None
    quality: Quality = "fast"


def edit_picture(
    picture: Picture, separator: Separator | None, edit: Edit, kinds: Collection[str]
) -> tuple[dict[str, Picture], list[str]]:
    """Separate a picture and make the results asked for.

    Args:
        picture: the photograph, as read.
        separator: any; None leaves the picture as it is, which is what a strength of 0 asks for.
        edit: the strength, the mask and the quality.
        kinds: of "transmission" (after the strength and the mask), "reflection" and "confidence" (both whole,
            whatever the strength and the mask).

    Returns:
        The results by kind, with the photograph's metadata, and the separator's remarks.

    Raises:
        ClearpaneError: the mask's size or the strength is wrong, or the picture cannot be separated.
    """
    before = picture.pixels
    if edit.mask is not None:
        check_mask_size(edit.mask, before)
    if separator is None:
        return ({"transmission": picture} if "transmission" in kinds else {}), []
    found = separate_full_range(separator, before, edit.quality, "confidence" in kinds)
    after = apply_strength(before, found, edit.strength, edit.mask, out=found.transmission)
    layers = {"transmission": after, "reflection": found.reflection}
    results = {kind: picture.with_pixels(layers[kind]) for kind in kinds if kind in layers}
    if found.confidence is not None:
        results["confidence"] = _gray_picture(found.confidence)
    notes = list(found.notes)
    if found.reflection_note and "reflection" in kinds:
        notes.append(found.reflection_note)
    return results, notes


def _gray_picture(plane: np.ndarray) -> Picture:
    """H x W values in [0, 1] as an 8-bit grey picture."""
    pixels = np.broadcast_to(plane[..., None], (*plane.shape, 3))
    return Picture(pixels, "png", "uint8", is_gray=True)
