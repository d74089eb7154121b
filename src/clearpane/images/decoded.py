"""A file's content as a decoder leaves it, before colours and orientation are dealt with."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from clearpane.images.descriptions import Description

CheckSize = Callable[[int, int], None]
"""Given a width and a height before anything is decoded; raises when the picture is too large."""


@dataclass
class Decoded:
    """A file's content, before colours and orientation are dealt with.

    Attributes:
        samples: H x W x C uint8, uint16, float16 or float32, as stored.
        has_alpha: the last channel is alpha.
        premultiplied: the colours are multiplied by alpha.
        linear: the samples are linear light with sRGB primaries.
        orientation: EXIF orientation, 1 to 8, still to be applied.
    """

    samples: np.ndarray
    has_alpha: bool = False
    premultiplied: bool = False
    linear: bool = False
    orientation: int = 1
    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    attributes: dict[str, object] = field(default_factory=dict)
    lossless: bool = True
    description: Description = field(default_factory=Description)
    warnings: list[str] = field(default_factory=list)


def is_header_text(name: str, value: object) -> bool:
    """Return whether a header entry describes the picture rather than how it is stored."""
    stored = (
        "oiio:",
        "openexr:",
        "tiff:",
        "compression",
        "planarconfig",
        "screenWindow",
        "PixelAspectRatio",
        "DateTime",
    )
    described = isinstance(value, (str, int, float)) or name == "chromaticities"
    return described and not name.startswith(stored)
