"""Read masks that people paint: white on black, a colour on black or white, or strokes on transparency."""

from dataclasses import dataclass

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.streams import Source, source_name

_COLOURED = 0.15
_SAME = 0.12
_VISIBLE = 0.9
_NOTHING = 0.5 / 255


@dataclass(frozen=True)
class Mask:
    """A region of a picture.

    Attributes:
        weights: [H, W] float32 in [0, 1], 1 inside the region.
        reading: Description of how the file was interpreted, for the user.
    """

    weights: np.ndarray
    reading: str


def read_mask(source: Source) -> Mask:
    """Read a mask from a picture file, its bytes or a binary stream.

    White is the region, black is outside, grey lies between. In a partly transparent picture whose visible
    part has one colour, the painted region is the mask, whatever the colour. In an opaque picture painted in
    one colour on black or white, the paint is the mask. Values 0 and 1 of 255 count as black and white.

    Raises:
        ClearpaneError: The file cannot be read, has many colours, or selects nothing.
    """
    name = source_name(source, "the mask")
    picture = read_picture(source)
    weights, reading = _weights(name, picture)
    if float(weights.max()) <= _NOTHING:
        raise ClearpaneError(
            f"{name}: the mask selects nothing: it is black everywhere; paint the region white and leave the "
            "rest black, or paint the region on a transparent layer"
        )
    share = 100 * float(weights.mean(dtype=np.float64))
    return Mask(weights, f"mask read from {reading}; it selects {share:.1f} % of the picture")


def _weights(name: str, picture: Picture) -> tuple[np.ndarray, str]:
    pixels = np.clip(picture.pixels, 0, 1)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    brightness: np.ndarray = pixels.mean(axis=2, dtype=np.float32)
    alpha = picture.alpha
    if alpha is not None and float(alpha.max()) <= _NOTHING:
        return np.zeros_like(alpha), "its transparency"
    if alpha is not None and float(alpha.min()) < 1 - _NOTHING:
        visible = pixels[alpha > _VISIBLE * float(alpha.max())]
        if _is_one_colour(visible, share=1.0):  # else a small white region on black would count as one colour
            return alpha, "its transparency, the painted region"
        if (spread[alpha > _NOTHING] > _COLOURED).any():
            raise ClearpaneError(
                f"{name}: the mask has many colours; paint the region in white, or in one colour on a "
                "transparent layer"
            )
        return brightness * alpha, "its brightness times its opacity"
    if (spread > _COLOURED).any():
        return _paint(name, pixels, spread), "its colour, the painted region"
    top = float(brightness.max())
    if picture.sample_type in ("uint8", "uint16"):
        one = 1 / (255 if picture.sample_type == "uint8" else 65535)
        if 0 < top <= 1.01 * one:
            return (brightness > 0.5 * one).astype(np.float32), "its values 0 and 1"
    return brightness, "its brightness, white for the region"


def _is_one_colour(colours: np.ndarray, share: float = 0.98) -> bool:
    """Return True if a share of the colours [N, 3] agrees; the rest may be a brush's soft edge."""
    if not len(colours):
        return False
    middle = np.median(colours, axis=0)
    return float((np.abs(colours - middle).max(axis=1) <= _SAME).mean()) >= share


def _paint(name: str, pixels: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return how much of one colour lies on a plain black or white ground, in [0, 1]."""
    painted, ground = spread > 0.5 * float(spread.max()), spread <= 0.02
    if ground.any() and painted.any():
        paper, ink = np.median(pixels[ground], axis=0), np.median(pixels[painted], axis=0)
        plain = _is_one_colour(pixels[ground]) and (paper.max() < _SAME or paper.min() > 1 - _SAME)
        axis = ink - paper
        share = (pixels - paper) @ axis / max(float(axis @ axis), 1e-6)
        rest = np.abs(pixels - paper - share[..., None] * axis).max(axis=2)
        if plain and float((rest <= _SAME).mean()) > 0.98:
            weights: np.ndarray = np.clip(share, 0, 1).astype(np.float32)
            weights[weights < 1 / 255] = 0
            return weights
    raise ClearpaneError(
        f"{name}: the mask has many colours; paint the region in white on black, or in one colour"
    )
