"""Load an HDR map and orient it as the light of an asset."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.optics.environment import halve, look_up
from clearpane.streams import Source, source_name

# Wider maps are halved: behind an object, more detail does not show.
_WIDEST = 4096


@dataclass(frozen=True, eq=False)
class Environment:
    """Hold distant light from all directions.

    Attributes:
        radiance: Equirectangular map [H, W, 3] float32, linear (`clearpane.optics.environment`).
        to_world: Rotation [3, 3] from the map's axes to the world's.
    """

    radiance: np.ndarray
    to_world: np.ndarray = field(default_factory=lambda: np.eye(3))

    def turned(self, degrees: float) -> "Environment":
        """Turn the map about the vertical axis, counter-clockwise seen from above."""
        angle = math.radians(degrees)
        sine, cosine = math.sin(angle), math.cos(angle)
        about_y = np.asarray([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        return replace(self, to_world=about_y @ self.to_world)

    def exposed(self, stops: float) -> "Environment":
        """Return the light brighter by ``stops``."""
        return replace(self, radiance=self.radiance * np.float32(2.0**stops))

    def seen(self, directions: np.ndarray) -> np.ndarray:
        """Return the radiance from directions in the world: [..., 3] -> [..., 3]."""
        return np.asarray(look_up(self.radiance, directions @ self.to_world))


def load_environment(source: Source) -> Environment:
    """Read an HDR map from a Radiance (.hdr) or OpenEXR file; maps wider than 4096 are halved.

    Args:
        source: Path, a file's bytes, or a binary stream.

    Raises:
        ClearpaneError: The file cannot be read, is not an HDR picture, is not twice as wide as high, is black
            everywhere, or holds values that are not finite.
    """
    name = source_name(source, "the environment map")
    picture = read_picture(source)
    if picture.format not in ("hdr", "exr"):
        raise ClearpaneError(
            f"{name}: is a {picture.format.upper()}, not an HDR map; name an .hdr or .exr file"
        )
    if picture.warnings:  # values that were repaired on reading: their true light is unknown
        raise ClearpaneError(f"{name}: {picture.warnings[0]}; repair the map or take another")
    radiance = np.maximum(srgb_to_linear(picture.pixels), 0).astype(np.float32)
    height, width = radiance.shape[:2]
    if abs(width / height / 2 - 1) > 0.02 or height < 2:
        raise ClearpaneError(
            f"{name}: is {width} x {height}; a map of all directions is twice as wide as high"
        )
    if not radiance.any():
        raise ClearpaneError(f"{name}: is black everywhere; take a map with light in it")
    while width > _WIDEST and height % 2 == 0 and width % 2 == 0:
        radiance = halve(radiance)
        height, width = radiance.shape[:2]
    return Environment(radiance)
