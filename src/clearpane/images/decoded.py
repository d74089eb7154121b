"""Content of a file as its decoder returns it, before colours and orientation are handled."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from clearpane.images.descriptions import Description

CheckSize = Callable[[int, int], None]
"""Function of a width and a height, called before decoding; raises if the picture is too large."""


@dataclass
class Decoded:
    """Content of a file, before colours and orientation are handled.

    Attributes:
        samples: [H, W, C] uint8, uint16, float16 or float32, as stored.
        has_alpha: True if the last channel is alpha.
        premultiplied: True if the colours are multiplied by alpha.
        linear: True if the samples are linear light with sRGB primaries.
        orientation: EXIF orientation, 1 to 8, not yet applied.
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
    """Return True if a header entry describes the picture, not its storage."""
    stored = (
        "oiio:",
        "openexr:",
        "tiff:",
        "compression",
        "planarconfig",
        "screenWindow",
        "PixelAspectRatio",
    )
    described = isinstance(value, (str, int, float)) or name == "chromaticities"
    return described and not name.startswith(stored)
