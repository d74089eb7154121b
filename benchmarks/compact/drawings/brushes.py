"""Tools that the example scenes are drawn with: noise, shapes, materials, turned vessels, a landscape.

Coordinates: x runs right, y down; the picture is 4/3 wide and 1 high. Colours are linear RGB, 1 is white. A
    shape is the signed distance to its edge, negative inside. Pictures are [H, W, 3] and painted in place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def noise(x: Array, y: Array, seed: int, octaves: int = 6) -> Array:
    """Compute fractal value noise in [0, 1]; the coarsest lattice has cells of size 1."""
    lattice = np.random.default_rng(seed).random((256, 256), dtype=np.float32)
    total = np.zeros(np.broadcast(x, y).shape, np.float32)
    for octave in range(octaves):
        u, v = x * 2**octave + 17.3 * octave, y * 2**octave + 9.1 * octave
        i, j = np.floor(u).astype(int), np.floor(v).astype(int)
        a, b = ramp(0, 1, u - i), ramp(0, 1, v - j)
        i, j, i1, j1 = i % 256, j % 256, (i + 1) % 256, (j + 1) % 256
        upper, lower = (
            (lattice[j, i] * (1 - a) + lattice[j, i1] * a),
            (lattice[j1, i] * (1 - a) + lattice[j1, i1] * a),
        )
        total += 0.5 ** (octave + 1) * (upper * (1 - b) + lower * b)
    return total / (1 - 0.5**octaves)


def ramp(start: float, end: float, value: Array) -> Array:
    """Interpolate smoothly: 0 before start, 1 after end."""
    s = np.clip((value - start) / (end - start), 0, 1)
    return s * s * (3 - 2 * s)


def box(x: Array, y: Array, x0: float, y0: float, x1: float, y1: float) -> Array:
    return np.maximum(np.abs(x - (x0 + x1) / 2) - (x1 - x0) / 2, np.abs(y - (y0 + y1) / 2) - (y1 - y0) / 2)


def disc(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float | None = None) -> Array:
    return (np.hypot((x - cx) / rx, (y - cy) / (ry or rx)) - 1) * min(rx, ry or rx)


def paint(image: Array, distance: Array, colour: Array | tuple[float, ...], soft: float = 0.0015) -> None:
    """Lay a colour (or a picture) over the image where the distance is negative, with an edge `soft` wide."""
    image += np.clip(0.5 - distance / soft, 0, 1)[..., None] * (np.asarray(colour, np.float32) - image)


def shade(image: Array, amount: Array) -> None:
    """Darken: 0 leaves the image, 1 makes it black."""
    image *= (1 - np.clip(amount, 0, 1))[..., None]


def blank(x: Array, colour: tuple[float, ...]) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32), (*x.shape, 3)).copy()


def wood(x: Array, y: Array, colour: tuple[float, ...], seed: int) -> Array:
    grain = 0.55 + 0.5 * noise(x * 2.5, y * 60, seed) + 0.35 * (noise(x * 1.2, y * 9, seed + 1) - 0.5)
    return grain[..., None] * np.asarray(colour, np.float32)


@dataclass(frozen=True)
class Vessel:
    """Vase, bowl or bottle turned on a wheel; the outline is its radii from top to bottom.

    The glaze is a colour, or a function of (angle, height in 0..1) that returns a picture.
    """

    centre: float
    top: float
    bottom: float
    outline: list[float]
    glaze: tuple[float, ...] | Array | Callable[[Array, Array], Array]
    gloss: float = 0.6


def turned(image: Array, x: Array, y: Array, vessel: Vessel) -> None:
    """Paint a vessel with its shadows, lit from the upper left."""
    cx, top, bottom, outline = vessel.centre, vessel.top, vessel.bottom, vessel.outline
    knots = np.linspace(0, 1, len(outline))
    fine = np.linspace(0, 1, 200)
    curve = np.convolve(
        np.pad(np.interp(fine, knots, outline), 12, "edge"), np.hanning(27)[1:-1] / 13, "valid"
    )
    foot = curve[-1]
    for radius, strength in ((2.6, 0.35), (1.25, 0.5)):  # the wide and the contact shadow
        d = np.hypot((x - cx - 0.4 * foot) / (radius * foot), (y - bottom) / (0.3 * radius * foot))
        shade(image, strength * np.exp(-2.0 * d**2))
    t, tilt = (y - top) / (bottom - top), 0.16
    for _ in range(2):  # the camera looks down a little: the rings are ellipses
        r = np.interp(t, fine, curve)
        nx = np.clip((x - cx) / r, -1, 1)
        nz = np.sqrt(1 - nx**2)
        t = (y - tilt * r * nz - top) / (bottom - top)
    slope = np.interp(t, fine, np.gradient(curve, fine)) / (bottom - top)
    length = np.sqrt(1 + slope**2)
    n = np.stack([nx, -slope, nz]) / length
    diffuse = np.clip(np.tensordot((-0.55, -0.60, 0.58), n, 1) * 0.85 + 0.15, 0, 1)
    glint = np.clip(np.tensordot((-0.34, -0.38, 0.86), n, 1), 0, 1) ** 90 + 0.05 * (1 - nz) ** 3
    painted = callable(vessel.glaze)
    base = vessel.glaze(np.arcsin(nx), np.clip(t, 0, 1)) if painted else np.asarray(vessel.glaze, np.float32)
    lit = (
        base * (0.10 + 1.15 * diffuse * (1 - 0.5 * ramp(0.85, 1.05, t)))[..., None]
        + vessel.gloss * glint[..., None]
    )
    paint(image, np.maximum(np.abs(x - cx) - r, np.maximum(-t, t - 1) * (bottom - top)), lit)
    mouth = curve[0]
    paint(image, disc(x, y, cx, top, mouth, tilt * mouth), (0.25, 0.23, 0.2) if painted else base * 0.5)
    paint(image, disc(x, y, cx, top + 0.004, 0.88 * mouth, 0.8 * tilt * mouth), (0.012, 0.01, 0.008))


def landscape(
    x: Array, y: Array, horizon: float, sky: list[tuple[float, ...]], sun: tuple[float, float]
) -> Array:
    """Draw hills over a lake under a sky that runs from sky[0] (high) over sky[1] to sky[2] (horizon)."""
    mirrored = np.where(y > horizon, 2 * horizon - y + 0.012 * (noise(x * 5, y * 90, 5) - 0.5), y)
    h = np.clip(mirrored / horizon, 0, 1)
    image = np.stack([np.interp(h, (0.0, 0.62, 1.0), channel) for channel in zip(*sky, strict=True)], -1)
    image = image.astype(np.float32)
    near_sun = np.exp(-np.hypot((x - sun[0]) / 0.45, (mirrored - sun[1]) / 0.16))
    clouds = ramp(0.48, 0.75, noise(x * 2.2, mirrored * 9, 11)) * (4 * h * (1 - h)) ** 0.7
    image += near_sun[..., None] * np.array([0.9, 0.42, 0.14], np.float32)
    image += (clouds * (0.16 + 0.5 * near_sun))[..., None] * np.array([1.0, 0.62, 0.5], np.float32)
    paint(image, disc(x, mirrored, *sun, 0.022), (2.6, 1.5, 0.6), 0.004)
    for k, (height, haze) in enumerate([(0.20, 0.8), (0.12, 0.5), (0.055, 0.2)]):
        ridge = horizon - height * (0.25 + 1.3 * noise(x * (1.6 + 1.2 * k), x * 0, 21 + k, 8))
        rock = (0.6 + 0.8 * noise(x * 14, mirrored * 22, 31 + k))[..., None] * np.array([0.035, 0.05, 0.05])
        paint(
            image,
            ridge - mirrored,
            haze * 0.7 * np.asarray(sky[1]) * (0.6, 0.7, 0.9) + (1 - haze) * rock,
            0.003,
        )
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1)[..., None]
    return np.where((y > horizon)[..., None], image * (0.82 - 0.35 * depth) + 0.01, image)


def person(x: Array, y: Array, cx: float, top: float, tall: float) -> Array:
    """Return the shape of a standing person from afar: head, neck, shoulders, coat, legs."""
    u, v = np.abs(x - cx) / tall, (y - top) / tall
    half = np.interp(v, (0, 0.02, 0.07, 0.12, 0.14, 0.17, 0.2, 0.5, 0.62, 0.63, 1),
                     (-1, 0.03, 0.05, 0.035, 0.03, 0.075, 0.115, 0.11, 0.125, 0.08, 0.075))  # fmt: skip
    return (u - half) * tall
