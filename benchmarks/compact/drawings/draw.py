"""Draw four scenes behind glass at any size, with ground truth, in seconds and without a renderer.

A scene is drawn twice in linear light: B, the scene behind the glass, and M, the view in a mirror instead of
    the glass. The pane combines them to the photograph I = T + R. They look like drawings: do not read much
    into scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.compact.drawings.brushes import Array, box
from benchmarks.compact.drawings.scenes import lake, painting, shop, vase


def fresnel(cosine: Array, index: float = 1.52) -> Array:
    """Compute the reflectances (s, p) of one face of the glass at an angle of incidence."""
    inner = np.sqrt(1 - (1 - cosine**2) / index**2)
    s = ((cosine - index * inner) / (cosine + index * inner)) ** 2
    p = ((index * cosine - inner) / (index * cosine + inner)) ** 2
    return np.stack([s, p])


def defocus(image: Array, radius: float) -> Array:
    """Average over a lens's disc; `radius` in picture heights."""
    height, width = image.shape[:2]
    pixels = radius * height
    pad = int(np.ceil(pixels)) + 1
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), "reflect")
    v, u = (np.minimum(np.arange(n), n - np.arange(n)) for n in padded.shape[:2])
    kernel = np.clip(pixels + 0.5 - np.hypot(v[:, None], u[None]), 0, 1)
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel / kernel.sum())[..., None]
    blurred = np.fft.irfft2(spectrum, padded.shape[:2], axes=(0, 1))
    return np.maximum(blurred[pad : pad + height, pad : pad + width], 0).astype(np.float32)


@dataclass(frozen=True)
class Pane:
    yaw: float  # degrees between the camera's axis and the glass's normal
    blur: float  # radius of the defocus of what it reflects, in picture heights
    ghost: float  # shift of the back face's image, in picture heights
    area: tuple[float, float, float, float] = (-1, -1, 3, 3)  # x0, y0, x1, y1


def behind_glass(x: Array, y: Array, scene: Array, mirror: Array, pane: Pane) -> tuple[Array, Array]:
    """Compute the transmitted and reflected light (T, R); each face reflects once, s and p are averaged
    last."""
    across, down = np.deg2rad(pane.yaw) + np.arctan((x - 2 / 3) * 0.9), np.arctan((y - 0.5) * 0.9)
    face = fresnel(np.cos(across) * np.cos(down))
    front, back = face.mean(0)[..., None], ((1 - face) ** 2 * face).mean(0)[..., None]
    world = defocus(mirror, pane.blur)
    shift = round(pane.ghost * scene.shape[0])
    double = np.pad(world, ((0, 0), (shift, 0), (0, 0)), "edge")[:, : world.shape[1]]
    tint = np.array([0.965, 0.985, 0.97], np.float32)
    covered = np.clip(0.5 - box(x, y, *pane.area) / 0.0015, 0, 1)[..., None]
    transmittance = ((1 - face) ** 2).mean(0)[..., None] * tint
    return scene * (1 + covered * (transmittance - 1)), covered * (front * world + back * double * tint**2)


Scene = Callable[[Array, Array], tuple[Array, Array]]
SCENES: dict[str, tuple[Scene, Pane]] = {
    "shop": (shop, Pane(yaw=24, blur=0.013, ghost=0.004)),
    "painting": (painting, Pane(yaw=-15, blur=0.016, ghost=0.0, area=(0.21, 0.16, 1.12, 0.82))),
    "lake": (lake, Pane(yaw=30, blur=0.014, ghost=0.028)),
    "vase": (vase, Pane(yaw=-20, blur=0.009, ghost=0.006)),
}


def photograph(light: Array, seed: int) -> Image.Image:
    """Make an 8-bit sRGB picture with the sensor's shot and read noise."""
    sigma = np.sqrt(4e-5 * np.maximum(light, 0) + 1e-6)
    light = np.clip(light + sigma * np.random.default_rng(seed).standard_normal(light.shape), 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.round(255 * encoded).astype(np.uint8))
