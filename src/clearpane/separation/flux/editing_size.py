"""Size at which an editor works on a photograph."""

import math
from dataclasses import dataclass

from clearpane.separation.resolution import working_size

# Largest area relative to ``side * side`` if the short side is set: photographs wider than 2:1 get less.
_WIDEST = 2


@dataclass(frozen=True)
class EditingSize:
    """Rule for the size at which an editor works.

    Attributes:
        side: Side in pixels.
        enlarge: False to shrink photographs to the area of ``side * side`` pixels, never enlarging them; True
            to bring their short side to ``side``, also by enlarging, up to twice that area.
    """

    side: int
    enlarge: bool = False

    @property
    def pixels(self) -> int:
        """Largest area in pixels."""
        return self.side**2 * (_WIDEST if self.enlarge else 1)

    @property
    def square(self) -> int:
        """Side in pixels of the square with the largest area."""
        return round(math.sqrt(self.pixels))

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Return the size, in proportion, for a photograph of ``height x width`` pixels."""
        scale = min(self.side / min(height, width), (self.pixels / (height * width)) ** 0.5)
        if self.enlarge and scale > 1:
            return round(height * scale), round(width * scale)
        pixels = round(height * width * scale**2) if self.enlarge else self.pixels
        return working_size(height, width, pixels)
