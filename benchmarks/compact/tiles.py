"""Large pictures in overlapping tiles whose weights add up to one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A window of a picture: rows ``top`` to ``bottom``, columns ``left`` to ``right``, ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The index of the tile's pixels in an H x W x C array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def tile_windows(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Cover a picture with tiles of ``tile`` x ``tile`` pixels, row by row.

    Neighbours share at least ``overlap`` pixels and are spread evenly; along a side not longer than ``tile``
    there is a single one as long as the side.

    Raises:
        ValueError: a size below 1, or ``overlap`` outside 0 <= overlap <= tile / 2.
    """
    if min(height, width, tile) < 1:
        raise ValueError(f"sizes must be positive, got {height} x {width}, tile {tile}")
    if not 0 <= 2 * overlap <= tile:
        raise ValueError(f"overlap must be between 0 and half the tile ({tile}), got {overlap}")
    return [
        Tile(top, bottom, left, right)
        for top, bottom in _spans(height, tile, overlap)
        for left, right in _spans(width, tile, overlap)
    ]


class TileBlender:
    """Puts processed tiles together, seamlessly.

    Each tile is weighted with a separable raised cosine, w(x) = sin^2(pi x / 2) with x from 0 to 1 across an
    overlap, and the weights are divided by their sum. Tiles that were not changed give the picture back.

    Args:
        height, width, tile, overlap: as for `tile_windows`.
        channels: of the result.
    """

    def __init__(self, height: int, width: int, tile: int, overlap: int, channels: int = 3) -> None:
        self.tiles = tile_windows(height, width, tile, overlap)
        self._rows = _ramps(_spans(height, tile, overlap), height)
        self._columns = _ramps(_spans(width, tile, overlap), width)
        self._sum = np.zeros((height, width, channels), np.float32)
        self._added: set[Tile] = set()

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def add(self, tile: Tile, values: np.ndarray) -> None:
        """Add a tile's values, h x w x C.

        Raises:
            ValueError: the values have another shape, the tile is not one of these, or was added already.
        """
        shape = (tile.bottom - tile.top, tile.right - tile.left, self._sum.shape[2])
        if values.shape != shape:
            raise ValueError(f"expected {shape}, got {values.shape}")
        if tile in self._added or tile not in self.tiles:
            raise ValueError(f"{tile} is not a tile that is still missing")
        self._added.add(tile)
        weight = self._rows[tile.top, tile.bottom][:, None] * self._columns[tile.left, tile.right]
        self._sum[tile.window] += weight[..., None] * values

    def result(self) -> np.ndarray:
        """Return the picture, [H, W, C] float32.

        Raises:
            ValueError: not every tile has been added.
        """
        if len(self._added) < len(self.tiles):
            raise ValueError(f"{len(self.tiles) - len(self._added)} tiles are missing")
        return self._sum


def _spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [(length - tile) * k // (count - 1) for k in range(count)]
    return [(start, start + tile) for start in starts]


def _ramps(spans: list[tuple[int, int]], length: int) -> dict[tuple[int, int], np.ndarray]:
    """Each span's weights, which add up to one at every place."""
    weights = {}
    total = np.zeros(length)
    for k, (start, stop) in enumerate(spans):
        weight = np.ones(stop - start)
        if k > 0:
            shared = spans[k - 1][1] - start
            weight[:shared] *= _rise(shared)
        if k + 1 < len(spans):
            shared = stop - spans[k + 1][0]
            weight[stop - start - shared :] *= _rise(shared)[::-1]
        weights[start, stop] = weight
        total[start:stop] += weight
    return {(a, b): (w / total[a:b]).astype(np.float32) for (a, b), w in weights.items()}


def _rise(count: int) -> np.ndarray:
    return np.sin(np.pi / 2 * (np.arange(count) + 0.5) / count) ** 2
