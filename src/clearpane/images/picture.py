"""Picture as the rest of the package uses it: pixels, and what is needed to write them to a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np

from clearpane.images.descriptions import Description
from clearpane.images.tiling import PixelRows, whole

SampleType = Literal["uint8", "uint16", "half", "float"]


@dataclass(frozen=True)
class BandedPicture:
    """Picture read from a file, upright and in sRGB, with pixels in memory or computed when needed.

    Attributes:
        pixels: [H, W, 3] float32, sRGB-encoded, in bands of rows. Values lie in [0, 1], except that colours
            outside sRGB (wide-gamut profiles) and light above white (EXR, HDR) go below 0 and above 1, along
            the sRGB curve extended with odd symmetry.
        format: Format of the file: jpeg, png, tiff, webp, exr, hdr, heic or raw.
        sample_type: Sample type of the file.
        alpha: H x W float32 in [0, 1], or None. The pixels are not multiplied by it.
        is_gray: True if the file had a single colour channel; the three equal ones are written as one.
        exif: EXIF block, a TIFF stream without the prefix ``Exif`` and zeros. Orientation is 1, thumbnail
            is gone.
        icc_profile: Profile of the file, to which the pixels are converted back on writing; None: sRGB.
        xmp: XMP packet.
        attributes: Header entries of EXR and HDR files.
        lossless: True if the file was stored without loss (there are two kinds of WebP).
        source: File that was read, which writing never overwrites; None for bytes and streams.
        warnings: Sentences for the user on what was left out on reading.
        description: IPTC records, resolution and texts.
    """

    pixels: PixelRows
    format: str
    sample_type: SampleType
    alpha: np.ndarray | None = None
    is_gray: bool = False
    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    lossless: bool = True
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    description: Description = field(default_factory=Description)

    def __post_init__(self) -> None:
        if len(self.pixels.shape) != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"pixels: expected H x W x 3, got {self.pixels.shape}")
        if self.alpha is not None and self.alpha.shape != self.pixels.shape[:2]:
            raise ValueError(f"alpha: expected {self.pixels.shape[:2]}, got {self.alpha.shape}")

    def with_pixels(self, pixels: PixelRows) -> Self:
        """Return a copy with other pixels of the same height and width; metadata and alpha are kept.

        A grey picture stays grey: the mean of the channels is written if they differ.
        """
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"pixels: expected {self.pixels.shape}, got {pixels.shape}")
        return replace(self, pixels=pixels)

    def whole(self) -> "Picture":
        """Return the same picture with all of its pixels in memory."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Picture(**{**values, "pixels": whole(self.pixels)})


@dataclass(frozen=True)
class Picture(BandedPicture):
    """Picture with all of its pixels in memory, an array [H, W, 3].

    >>> picture = Picture(np.full((2, 3, 3), 0.25, np.float32), "png", "uint16")
    >>> picture.with_pixels(2 * picture.pixels).pixels[0, 0].tolist()
    [0.5, 0.5, 0.5]
    """

    pixels: np.ndarray


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Quantise sRGB in [0, 1] to uint8, rounding to the nearest level; uint8 passes through."""
    if image.dtype == np.uint8:
        return image
    result: np.ndarray = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return result
