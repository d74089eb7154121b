"""Cover a picture with square tiles that overlap, and join what was made of them without seams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tiles:
    """Square tiles.

    Attributes:
        side: Side in pixels.
        overlap: Smallest overlap of neighbouring tiles in pixels, from 1 to less than ``side``.
    """

    side: int
    overlap: int

    def starts(self, length: int) -> list[int]:
        """Return the first pixels of evenly spread tiles that cover ``length`` pixels."""
        if length <= self.side:
            return [0]
        count = -(-(length - self.overlap) // (self.side - self.overlap))
        return [round(start) for start in np.linspace(0, length - self.side, count)]

    def places(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Return the rows and columns of all tiles of a picture, from the top left to the bottom right."""
        return [
            (slice(top, top + self.side), slice(left, left + self.side))
            for top in self.starts(height)
            for left in self.starts(width)
        ]

    def map(
        self, picture: np.ndarray, make: Callable[[np.ndarray], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """Apply a function to each tile of a picture; where tiles overlap, their results are mixed.

        Args:
            picture: [H, W, 3] float32, both sides at least ``side``.
            make: Function from a tile [side, side, 3] to one or more pictures of the same shape.
        """
        height, width = picture.shape[:2]
        total: list[np.ndarray] = []
        weight = np.zeros((height, width, 1), np.float32)
        window = self._window()
        for place in self.places(height, width):
            made = make(picture[place])
            total = total or [np.zeros_like(picture) for _ in made]
            for whole, part in zip(total, made, strict=True):
                whole[place] += window * part
            weight[place] += window
        return [whole / weight for whole in total]

    def _window(self) -> np.ndarray:
        """Return weights [side, side, 1] that fall towards the edges over the overlap, never to 0."""
        distance = np.minimum(np.arange(self.side), np.arange(self.side)[::-1]) + 1
        ramp = np.minimum(distance / self.overlap, 1).astype(np.float32)
        return (ramp[:, None] * ramp)[..., None]
