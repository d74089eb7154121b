"""A photograph and its layers at screen size, kept in a folder, so that a slider need not separate again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearpane.images.picture import BandedPicture
from clearpane.separation.interface import Quality
from clearpane.separation.layers import Layers
from clearpane.separation.removal import separate_full_range
from clearpane.separation.resolution import shrink, working_size
from clearpane.separation.separator import Separator
from clearpane.separation.strength import apply_strength

PREVIEW_PIXELS = 1_000_000
_NAMES = ("image", "transmission", "reflection", "confidence")


@dataclass(frozen=True, eq=False)
class Preview:
    """A photograph at screen size, with its layers.

    Attributes:
        image: [h, w, 3] float32, sRGB in [0, 1].
        layers: Layers of ``image``.
    """

    image: np.ndarray
    layers: Layers

    def edited(self, strength: float, mask: np.ndarray | None = None) -> np.ndarray:
        """Blend with the layers, see `apply_strength`: [h, w, 3] float32.

        Raises:
            ClearpaneError: the strength or the mask's size is wrong.
        """
        return apply_strength(self.image, self.layers, strength, mask)

    def save(self, folder: Path) -> None:
        """Write the pixels into a folder, in half precision, 20 bytes for each pixel."""
        arrays = (self.image, self.layers.transmission, self.layers.reflection, self.layers.confidence)
        for name, values in zip(_NAMES, arrays, strict=True):
            if values is not None:
                np.save(folder / f"{name}.npy", values.astype(np.float16))


def make_preview(
    picture: BandedPicture, separator: Separator, quality: Quality = "fast", confidence: bool = False
) -> Preview:
    """Shrink a picture to about `PREVIEW_PIXELS` and separate it.

    Raises:
        ClearpaneError: the picture cannot be separated.
    """
    rows, columns = picture.pixels.shape[:2]
    height, width = working_size(rows, columns, PREVIEW_PIXELS)
    image = shrink(picture.pixels, height, width)
    return Preview(image, separate_full_range(separator, image, quality, confidence))


def load_preview(folder: Path) -> Preview:
    """Read what `Preview.save` wrote into a folder."""
    found = {
        name: np.load(folder / f"{name}.npy", allow_pickle=False).astype(np.float32)
        for name in _NAMES
        if (folder / f"{name}.npy").exists()
    }
    layers = Layers(found["transmission"], found["reflection"], found.get("confidence"))
    return Preview(found["image"], layers)
