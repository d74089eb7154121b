"""Equirectangular HDR maps of light from all around, for NumPy arrays and PyTorch tensors.

World axes are glTF's: x to the right, y up, z towards the viewer. A map is [H, W, 3] linear radiance; its
upper edge is straight up. A unit direction d is at

    u = atan2(d_x, -d_z) / 2 pi  (modulo 1),    v = acos(d_y) / pi

of its width and height: +z is in the middle, -z at the edges, as in Mitsuba's ``envmap``.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace

from clearpane.errors import ClearpaneError

Array = TypeVar("Array", bound=Any)


def direction_coordinates(directions: Array) -> Array:
    """Compute map coordinates of unit directions: [..., 3] -> [..., 2], ``u`` in [0, 1), ``v`` in [0, 1].

    >>> direction_coordinates(np.asarray([0.0, 0.0, 1.0])).tolist()
    [0.5, 0.5]
    """
    xp = array_namespace(directions)
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    u = xp.atan2(x, -z) / (2 * math.pi)
    # At the poles the slope of acos is infinite: there v is 0 or 1, and its gradient 0.
    steepest = 1 - float(xp.finfo(y.dtype).eps)
    polar = xp.acos(y.clip(-steepest, steepest)) / math.pi
    v = xp.where(xp.abs(y) < steepest, polar, (1 - xp.sign(y)) / 2)
    result: Array = xp.stack([u - xp.floor(u), v], axis=-1)
    return result


def coordinate_directions(coordinates: Array) -> Array:
    """Undo `direction_coordinates`: [..., 2] -> unit directions [..., 3].

    >>> coordinate_directions(np.asarray([0.5, 0.5])).round(6).tolist()
    [0.0, 0.0, 1.0]
    """
    xp = array_namespace(coordinates)
    azimuth, polar = 2 * math.pi * coordinates[..., 0], math.pi * coordinates[..., 1]
    level = xp.sin(polar)
    result: Array = xp.stack([level * xp.sin(azimuth), xp.cos(polar), -level * xp.cos(azimuth)], axis=-1)
    return result


def texel_directions(height: int, width: int) -> np.ndarray:
    """Return the directions through the centres of a map's texels: [H, W, 3] float64."""
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.asarray(coordinate_directions(np.stack([u, v], axis=-1)))


def solid_angles(height: int, width: int) -> np.ndarray:
    """Return the solid angle of a texel in each row, steradians: [H] float64; ``W`` times their sum is 4 pi.

    ``(2 pi / W) (cos(pi i / H) - cos(pi (i + 1) / H))``.
    """
    edges = np.cos(np.linspace(0, math.pi, height + 1))
    return 2 * math.pi / width * (edges[:-1] - edges[1:])


def look_up(environment: Array, directions: Array) -> Array:
    """Look up the radiance from directions: bilinear between texels, wrapping around at the map's sides.

    Args:
        environment: [H, W, 3].
        directions: [..., 3], of length 1.

    Returns:
        [..., 3].
    """
    return _look_up_coordinates(environment, direction_coordinates(directions))


def _look_up_coordinates(environment: Array, place: Array) -> Array:
    """Look up radiance at coordinates [..., 2], u and v in [0, 1]."""
    xp = array_namespace(environment)
    height, width = environment.shape[:2]
    column, row = place[..., 0] * width - 0.5, (place[..., 1] * height - 0.5).clip(0.0, height - 1.0)
    left, top = xp.floor(column), xp.floor(row)
    across, down = (column - left)[..., None], (row - top)[..., None]
    left, top = xp.astype(left, xp.int64), xp.astype(top, xp.int64)
    right, bottom = (left + 1) % width, (top + 1).clip(0, height - 1)
    left = left % width
    upper = environment[top, left] * (1 - across) + environment[top, right] * across
    lower = environment[bottom, left] * (1 - across) + environment[bottom, right] * across
    result: Array = upper * (1 - down) + lower * down
    return result


def halve(environment: Array) -> Array:
    """Halve a map with the same light: each texel is the mean of four, weighted by solid angle.

    Args:
        environment: [H, W, 3], H and W even.
    """
    xp = array_namespace(environment)
    height, width, channels = environment.shape
    rows = like(solid_angles(height, width), environment)[:, None, None]
    weighted = xp.reshape(environment * rows, (height // 2, 2, width // 2, 2, channels))
    total = xp.sum(xp.reshape(rows, (height // 2, 2, 1, 1)), axis=1) * 2
    result: Array = xp.sum(weighted, axis=(1, 3)) / total
    return result


def pyramid(environment: Array) -> list[Array]:
    """Return the map and its halves, as long as both sides are even and more than two texels."""
    levels = [environment]
    while all(n > 2 and n % 2 == 0 for n in levels[-1].shape[:2]):
        levels.append(halve(levels[-1]))
    return levels


def look_up_level(levels: Sequence[Array], directions: Array, level: Array) -> Array:
    """Look up the radiance from directions, each in its own level of a `pyramid`, linear between levels.

    Args:
        levels: Levels of a `pyramid`.
        directions: [..., 3].
        level: Level [...], 0 for the map itself; clipped to the existing levels.
    """
    xp = array_namespace(directions)
    place = xp.reshape(direction_coordinates(directions), (-1, 2))
    level = xp.reshape(level, (-1,)).clip(0.0, len(levels) - 1.0)
    total = xp.zeros_like(xp.reshape(directions, (-1, 3)))
    for index, environment in enumerate(levels):
        weight = 1 - xp.abs(level - index)
        chosen = xp.nonzero(weight > 0)[0]
        total[chosen] = total[chosen] + weight[chosen, None] * _look_up_coordinates(
            environment, place[chosen]
        )
    result: Array = xp.reshape(total, directions.shape)
    return result


def light_cells(environment: Array, count: int) -> tuple[Array, Array]:
    """Replace a map by a few distant lights, placed where most light comes from.

    The map is cut in two along its longer side (by angle), so that both halves send the same light; the cell
    whose light times longer side is largest is cut next, and so on. A cell becomes one light with all of its
    light, from its mean direction.

    Args:
        environment: [H, W, 3].
        count: Number of lights, at most one per texel.

    Returns:
        Unit directions [count, 3], and irradiance across each light [count, 3], radiance times steradians.

    Raises:
        ClearpaneError: There are more lights than texels.

    Source: P. Debevec, A median cut algorithm for light probe sampling, 2005; there all cells are cut alike.
    """
    height, width = environment.shape[:2]
    energy = environment * like(solid_angles(height, width), environment)[:, None, None]
    # The position of the light matters, not its colour; the map may be on a GPU, the cutting is not.
    weight = np.asarray(energy.sum(-1).tolist())
    weight = weight + 1e-9 * max(float(weight.sum()), 1e-9)
    if not 1 <= count <= height * width:
        raise ClearpaneError(f"a map of {height} x {width} cannot be cut into {count} lights")
    waiting = [_Cell.of(weight, 0, height, 0, width)]
    while len(waiting) < count:
        for half in heapq.heappop(waiting).halves(weight):
            heapq.heappush(waiting, half)
    directions = texel_directions(height, width)
    means, totals = [], []
    for cell in sorted(waiting, key=lambda c: c.window):
        top, bottom, left, right = cell.window
        part = weight[top:bottom, left:right]
        mean = np.einsum("hw,hwc->c", part, directions[top:bottom, left:right])
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        totals.append(energy[top:bottom, left:right].sum((0, 1)))
    return like(np.stack(means), environment), array_namespace(environment).stack(totals)


@dataclass(frozen=True, order=True)
class _Cell:
    """Window of texels: top, bottom, left, right. The first in order is cut next."""

    urgency: float
    window: tuple[int, int, int, int]

    @classmethod
    def of(cls, weight: np.ndarray, *window: int) -> "_Cell":
        top, bottom, left, right = window
        single = bottom - top == 1 and right - left == 1
        extent = 0.0 if single else max(_sides(weight, *window))
        return cls(-float(weight[top:bottom, left:right].sum()) * extent, (top, bottom, left, right))

    def halves(self, weight: np.ndarray) -> tuple["_Cell", "_Cell"]:
        """Cut the window into two of about the same weight."""
        top, bottom, left, right = self.window
        tall, wide = _sides(weight, *self.window)
        down = (tall >= wide and bottom - top > 1) or right - left == 1
        along = weight[top:bottom, left:right].sum(1 if down else 0)
        position = 1 + int(np.abs(2 * np.cumsum(along)[:-1] - along.sum()).argmin())
        if down:
            parts = (top, top + position, left, right), (top + position, bottom, left, right)
        else:
            parts = (top, bottom, left, left + position), (top, bottom, left + position, right)
        return _Cell.of(weight, *parts[0]), _Cell.of(weight, *parts[1])


def _sides(weight: np.ndarray, top: int, bottom: int, left: int, right: int) -> tuple[float, float]:
    """Return the angles of a window's height and width."""
    height, width = weight.shape
    middle = math.pi * (top + bottom) / 2 / height
    return math.pi * (bottom - top) / height, 2 * math.pi * (right - left) / width * math.sin(middle)


def like(values: np.ndarray, other: Array) -> Array:
    """Convert NumPy values to the kind, type and device of another array."""
    xp = array_namespace(other)
    result: Array = xp.asarray(values, dtype=other.dtype, device=getattr(other, "device", None))
    return result
