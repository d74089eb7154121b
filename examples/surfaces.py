"""Materials: noise, photographed materials (ambientCG), glazes, cloth, paper, metals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
from PIL import Image

from clearpane.optics.color import srgb_to_linear

Array = np.ndarray
Colour = Sequence[float]


def noise(shape: tuple[int, int], cells: Point2, seed: int, octaves: int = 6) -> Array:
    """Fractal value noise in [0, 1], H x W, that repeats at its borders, of so many cells (across, down)."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        across, down = (max(1, int(c)) << octave for c in cells)
        lattice = rng.random((down, across), dtype=np.float32)
        y, x = (np.arange(n) / n * c for n, c in zip(shape, (down, across), strict=True))
        i, j = y.astype(int), x.astype(int)
        a, b = ((t - k) ** 2 * (3 - 2 * (t - k)) for t, k in ((y, i), (x, j)))
        i1, j1, a, b = (i + 1) % down, (j + 1) % across, a[:, None], b[None, :]
        top = lattice[i][:, j] * (1 - b) + lattice[i][:, j1] * b
        low = lattice[i1][:, j] * (1 - b) + lattice[i1][:, j1] * b
        total += (0.5 ** (octave + 1) * (top * (1 - a) + low * a)).astype(np.float32)
    return total / (1 - 0.5**octaves)


Point2 = tuple[float, float]


def picture(linear: Array, scale: Point2 = (1, 1), smooth: bool = True) -> dict[str, Any]:
    """Make a texture from linear values [H, W, 3] or [H, W], top first, `scale` times a unit."""
    values = np.ascontiguousarray((linear[..., None] if linear.ndim == 2 else linear)[::-1], np.float32)
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(values),
        "raw": True,
        "filter_type": "bilinear" if smooth else "nearest",
        "to_uv": mi.ScalarTransform4f().scale([scale[0], scale[1], 1]),
    }


def rgb(colour: Colour) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(c) for c in colour]}


def matte(colour: Colour | dict[str, Any]) -> dict[str, Any]:
    return {"type": "diffuse", "reflectance": colour if isinstance(colour, dict) else rgb(colour)}


def solid(
    colour: Colour | dict[str, Any],
    roughness: float | dict[str, Any] = 0.5,
    metallic: float = 0.0,
    coat: float = 0.0,
) -> dict[str, Any]:
    """Make a principled BSDF: base colour, perceptual roughness, metal or not, a layer of varnish."""
    return {
        "type": "principled",
        "base_color": colour if isinstance(colour, dict) else rgb(colour),
        "roughness": roughness,
        "metallic": metallic,
        "specular": 0.5,
        "clearcoat": coat,
        "clearcoat_gloss": 0.95,
    }


def bumpy(bsdf: dict[str, Any], heights: Array, depth: float, scale: Point2 = (1, 1)) -> dict[str, Any]:
    """Add a relief to a surface: heights in [0, 1], `depth` in units of the surface's coordinates."""
    return {"type": "bumpmap", "height": picture(heights, scale), "scale": depth, "inside": bsdf}


class Materials:
    """Photographed materials: folders NAME with albedo, normal and roughness (and metallic) as JPEG files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def albedo(self, name: str) -> Array:
        """Return the albedo [H, W, 3], linear."""
        return srgb_to_linear(self._read(name, "albedo", "RGB"))

    def relief(self, name: str) -> Array:
        """Return the normal map [H, W, 3] in [0, 1]."""
        return self._read(name, "normal", "RGB")

    def roughness(self, name: str) -> Array:
        return self._read(name, "roughness", "L")

    def __call__(
        self,
        name: str,
        scale: float = 1.0,
        tint: Colour = (1, 1, 1),
        gloss: float = 1.0,
        metallic: float = 0.0,
    ) -> dict[str, Any]:
        """Make the material, `scale` times a metre, its colour times `tint`, its roughness over `gloss`."""
        at = (scale, scale)
        colour = np.clip(self.albedo(name) * np.asarray(tint, np.float32), 0, 0.95)
        rough = np.clip(self.roughness(name) / gloss, 0.08, 1)
        inside = solid(picture(colour, at), picture(rough, at), metallic)
        return {"type": "normalmap", "normalmap": picture(self.relief(name), at), "inside": inside}

    def _read(self, name: str, kind: str, mode: str) -> Array:
        with Image.open(self.folder / name / f"{kind}.jpg") as image:
            return np.asarray(image.convert(mode), np.float32) / 255


def glaze(colour: Colour, seed: int, body: Colour = (0.42, 0.26, 0.16), dip: float = 0.16) -> dict[str, Any]:
    """Stoneware dipped in glaze: it runs unevenly, breaks at the lip to the body, leaves the foot bare."""
    size = (256, 512)
    v = np.linspace(0, 1, size[0])[:, None] * np.ones((1, size[1]))
    spots, cloud = noise(size, (110, 60), seed, 2), noise(size, (4, 3), seed + 1)
    covered = 1 / (1 + np.exp(-(v - dip - 0.10 * (noise(size, (7, 1), seed + 2, 3) - 0.5)) / 0.006))
    tone = np.asarray(colour) * (0.62 + 0.76 * cloud)[..., None]
    tone = tone * (1 - 0.75 * (spots > 0.86))[..., None]
    lip = np.exp(-((v - 0.985) ** 2) / 2e-4)[..., None]
    tone = tone * (1 - 0.6 * lip) + 0.6 * lip * np.asarray(body)
    clay = np.asarray(body) * (0.75 + 0.5 * spots)[..., None]
    mixed = clay + covered[..., None] * (tone - clay)
    rough = 0.75 - 0.57 * covered + 0.1 * cloud * covered
    return solid(picture(mixed[::-1]), picture(rough[::-1].astype(np.float32)))


def cloth(colour: Colour, seed: int, threads: int = 64) -> dict[str, Any]:
    """Linen: threads that vary in both directions; repeats 8 times a metre."""
    t = np.linspace(0, 2 * np.pi * threads, 512, endpoint=False)
    weave = 0.5 + 0.25 * np.sin(t)[:, None] * np.sign(np.sin(t / 2))[None] + 0.25 * np.sin(t)[None]
    slubs = noise((512, 512), (6, 80), seed, 2) + noise((512, 512), (80, 6), seed + 1, 2)
    tone = np.asarray(colour) * (0.55 + 0.35 * weave + 0.4 * (slubs - 0.5))[..., None]
    return matte(picture(np.clip(tone, 0, 0.9), (8, 8)))


def plaster(colour: Colour, seed: int) -> dict[str, Any]:
    """Painted plaster, uneven from the roller; repeats every metre."""
    uneven = noise((512, 512), (3, 3), seed, 7)
    fine = noise((512, 512), (90, 90), seed + 1, 3)
    tone = np.asarray(colour) * (0.9 + 0.2 * uneven)[..., None]
    return bumpy(solid(picture(tone), 0.65), 0.3 * uneven + 0.7 * fine, 0.004)
