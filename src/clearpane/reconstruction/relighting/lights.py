"""Environment maps that need no file: simple lights to look at an object in."""

import math
from collections.abc import Callable

import numpy as np

from clearpane.optics.environment import texel_directions
from clearpane.reconstruction.relighting.lighting import Environment

_HEIGHT, _WIDTH = 128, 256


def made_light(name: str) -> Environment:
    """Make one of `LIGHTS`.

    Raises:
        KeyError: there is no such light.
    """
    directions = texel_directions(_HEIGHT, _WIDTH)
    return Environment(LIGHTS[name](directions).astype(np.float32))


def _studio(directions: np.ndarray) -> np.ndarray:
    """Light by two large soft lamps, left and right in front, and a weak even light."""
    key = _lamp(directions, azimuth=-50, elevation=40, radius=22)
    fill = _lamp(directions, azimuth=65, elevation=15, radius=30)
    grey = np.ones(3)
    return np.asarray(0.25 * grey + key * 12 * grey + fill * 2.5 * grey)


def _overcast(directions: np.ndarray) -> np.ndarray:
    """Light by the CIE's overcast sky, three times as bright above as at the horizon; grey ground."""
    up = directions[..., 1:2]
    sky = (1 + 2 * np.maximum(up, 0)) / 3 * np.array([0.95, 1.0, 1.08])
    return np.where(up >= 0, 1.6 * sky, 0.25 * np.ones(3))


def _low_sun(directions: np.ndarray) -> np.ndarray:
    """Light by a warm sun low on the left, under a blue sky."""
    up = directions[..., 1:2]
    sky = np.where(up >= 0, (0.35 + 0.25 * np.maximum(up, 0)) * np.array([0.6, 0.8, 1.3]), 0.12 * np.ones(3))
    sun = _lamp(directions, azimuth=-60, elevation=14, radius=5)
    return np.asarray(sky + sun * 220 * np.array([1.0, 0.72, 0.42]))


def _lamp(directions: np.ndarray, azimuth: float, elevation: float, radius: float) -> np.ndarray:
    """Return 1 within ``radius`` degrees around a direction, with a soft edge of a fifth of it: [H, W, 1]."""
    a, e = math.radians(azimuth), math.radians(elevation)
    middle = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    angle = np.degrees(np.arccos(np.clip(directions @ middle, -1, 1)))[..., None]
    return np.asarray(np.clip((radius - angle) / (0.2 * radius), 0, 1))


LIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "studio": _studio,
    "overcast": _overcast,
    "low sun": _low_sun,
}
