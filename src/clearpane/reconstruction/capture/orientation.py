"""Match EXIF orientation with given poses: find the orientation of a photograph that its camera describes.

`read_picture` turns a photograph upright. COLMAP and most other tools do not: their cameras describe the
stored pixels. Where the rotation swaps width and height, the camera's size decides, or else its principal
point; otherwise the camera is assumed to describe the stored pixels.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clearpane.images.picture import Picture
from clearpane.images.reading import picture_format, read_picture

# Formats whose readers rotate the pixels themselves: every tool sees them upright.
_ALWAYS_UPRIGHT = ("heic", "raw")
# Largest relative difference between a picture's aspect ratio and its camera's.
_ASPECT = 0.01
_SWAPPED = 5
"""First of the orientations that swap width and height."""


def stored_shape(path: Path) -> tuple[tuple[int, int], int]:
    """Return the height and width of the pixels as stored, and the EXIF orientation (1 to 8).

    Raises:
        ClearpaneError: The file is missing or is not a picture.
    """
    import OpenImageIO as oiio

    if picture_format(path) in _ALWAYS_UPRIGHT or (source := oiio.ImageInput.open(str(path))) is None:
        height, width = read_picture(path).pixels.shape[:2]
        return (height, width), 1
    try:
        spec = source.spec()
    finally:
        source.close()
    orientation = spec.get_int_attribute("Orientation", 1)
    return (spec.height, spec.width), orientation if 1 <= orientation <= 8 else 1


def camera_orientation(
    path: Path, size: Sequence[int] | None, principal: Sequence[float] | None = None
) -> tuple[tuple[int, int], int]:
    """Return the size that a camera is for, and the orientation that has to be undone to match it.

    Args:
        path: Photograph.
        size: Height and width that the camera states, or None.
        principal: Principal point (x, y) in pixels, if stated; it decides where the size does not.

    Returns:
        Height and width, and the EXIF orientation that still applies to the camera's pixels; 1 if the
        camera describes the upright picture.
    """
    if size is not None and picture_format(path) in _ALWAYS_UPRIGHT:
        return (int(size[0]), int(size[1])), 1
    stored, orientation = stored_shape(path)
    if size is None:
        upright = stored[::-1] if orientation >= _SWAPPED else stored
        if principal is not None and _centred(principal, upright) < _centred(principal, stored):
            return upright, 1
        return stored, orientation
    height, width = int(size[0]), int(size[1])
    if orientation < _SWAPPED or abs(width * stored[0] / (height * stored[1]) - 1) <= _ASPECT:
        return (height, width), orientation
    return (height, width), 1


def _centred(principal: Sequence[float], size: Sequence[int]) -> float:
    return abs(2 * principal[0] / size[1] - 1) + abs(2 * principal[1] / size[0] - 1)


def read_as_posed(path: Path, orientation: int) -> Picture:
    """Read a photograph as its camera describes it, with an orientation undone.

    Raises:
        ClearpaneError: See `read_picture`.
    """
    picture = read_picture(path)
    if orientation == 1:
        return picture
    pixels = np.ascontiguousarray(as_stored(picture.pixels, orientation))
    alpha = None if picture.alpha is None else np.ascontiguousarray(as_stored(picture.alpha, orientation))
    return replace(picture, pixels=pixels, alpha=alpha)


def as_stored(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to upright samples [H, W, ...]: the inverse of `images.reading.upright`."""
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples.swapaxes(0, 1) if orientation >= _SWAPPED else samples
