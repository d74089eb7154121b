"""A framed oil painting behind glass; a bright room with its window, and the photographer, in the glass."""

from __future__ import annotations

from typing import Any

import numpy as np
import OpenImageIO as oiio

from shapes import box, moulding, panel, person
from stage import Camera, Library, Stage
from surfaces import bumpy, matte, noise, picture, plaster, solid

WIDE, HIGH = 0.90, 0.60  # the canvas
MAT = 0.075  # the passe-partout around it
Array = np.ndarray


def stage(library: Library) -> Stage:
    centre = (0.0, 1.52)
    opening_w, opening_h = WIDE + 2 * MAT, HIGH + 2 * MAT
    canvas, relief = _paint(_view(library), seed=5)
    oil = bumpy(solid(picture(canvas), 0.42), relief, 0.003)
    paper = solid(
        picture(0.62 + 0.1 * noise((256, 256), (60, 60), 2, 3)[..., None] * np.array((1, 0.96, 0.88))), 0.9
    )
    gold = library.materials("metal007", 2.2, (1.0, 0.86, 0.62), 1.6, metallic=1.0)
    outline = [(-0.012, 0.002), (-0.010, 0.008), (0.004, 0.010), (0.010, 0.016), (0.016, 0.016),
               (0.022, 0.012), (0.030, 0.013),
               (0.044, 0.020), (0.056, 0.032), (0.064, 0.046), (0.072, 0.052), (0.080, 0.052),
               (0.086, 0.047), (0.088, 0.036),
               (0.094, 0.034), (0.098, 0.028), (0.098, -0.02)]  # fmt: skip
    world: list[Any] = [
        panel((0, 1.6, -0.025), (0, 0, 1), (7, 4), plaster((0.085, 0.125, 0.115), 7)),
        panel((*centre, -0.010), (0, 0, 1), (WIDE, HIGH), oil),
        *_passe_partout(centre, paper),
        moulding(opening_w, opening_h, outline, (*centre, 0), gold),
        panel((-1.6, 2.9, 1.0), (0.75, -0.62, -0.55), (0.7, 0.7), glow=(9.0, 7.6, 5.7)),
        *person(0.24, 1.86, 1.80, solid((0.03, 0.035, 0.045), 0.8), photographing=True),
        library.sky("lebombo", 42, 0.7),
    ]
    half = (opening_w / 2 + 0.01, opening_h / 2 + 0.01)
    return Stage(
        world=world,
        slabs=[(-0.005, 0.0, 0.0)],
        opening=(centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]),
        camera=Camera((0.22, 1.56, 1.50), (0.015, 1.515, 0), 52, 0.004, 1.51),
        exposure=0.78,
    )


def _passe_partout(centre: tuple[float, float], paper: Any) -> list[Any]:
    """Four strips of thick paper around the canvas, with their cut edge."""
    x, y, w, h, m = *centre, WIDE / 2, HIGH / 2, MAT + 0.02
    back, front = -0.010, -0.0065
    return [
        box((x - w - m, y + h, back), (x + w + m, y + h + m, front), paper, 0.0005),
        box((x - w - m, y - h - m, back), (x + w + m, y - h, front), paper, 0.0005),
        box((x - w - m, y - h, back), (x - w, y + h, front), paper, 0.0005),
        box((x + w, y - h, back), (x + w + m, y + h, front), paper, 0.0005),
        *(
            panel(
                (x, y + s * (h - 0.001), front + 0.0002),
                (0, 0, 1),
                (2 * w, 0.0025),
                matte((0.85, 0.85, 0.83)),
            )
            for s in (-1, 1)
        ),
        *(
            panel(
                (x + s * (w - 0.001), y, front + 0.0002),
                (0, 0, 1),
                (0.0025, 2 * h),
                matte((0.85, 0.85, 0.83)),
            )
            for s in (-1, 1)
        ),
    ]


def _view(library: Library) -> Array:
    """Return the motif: an evening on the water, 84 degrees of the panorama. [H, W, 3], linear."""
    panorama = oiio.ImageBuf(str(library.environment("venice_sunset"))).get_pixels(oiio.FLOAT)[..., :3]
    rows, columns = panorama.shape[:2]
    y, x = np.mgrid[0:800, 0:1200]
    dx, dy = (x - 600) / 600 * np.tan(np.radians(42)), (395 - y) / 600 * np.tan(np.radians(42))
    azimuth = np.radians(106) + np.arctan(dx)
    height = np.arctan2(dy, np.hypot(1, dx))
    u = (azimuth / (2 * np.pi) * columns) % columns
    v = np.clip((0.5 - height / np.pi) * rows, 0, rows - 1)
    colour = panorama[v.astype(int), u.astype(int)]
    grey = colour.mean(-1, keepdims=True)
    colour = (grey + 1.35 * (colour - grey)) / (
        0.55 + grey
    )  # with a painter's eye: clear colours, nothing burnt out
    return np.clip(colour, 0, 1).astype(np.float32)


def _paint(view: Array, seed: int) -> tuple[Array, Array]:
    """Strokes of oil over a motif, coarse to fine, along its edges (Hertzmann 1998): colours and relief."""
    rng = np.random.default_rng(seed)
    rows, columns = view.shape[:2]
    ground = np.array((0.34, 0.19, 0.10), np.float32)
    canvas = np.broadcast_to(ground, view.shape).copy()
    relief = np.zeros((rows, columns), np.float32)
    for radius in (26, 13, 7, 4):
        seen = _blurred(view, 0.45 * radius)
        luma = _blurred(view.mean(-1, keepdims=True), 1.2 * radius)[..., 0]
        gy, gx = np.gradient(luma)
        step = max(2, int(radius * 0.85))
        spots = np.stack(np.meshgrid(np.arange(0, columns, step), np.arange(0, rows, step)), -1).reshape(
            -1, 2
        )
        spots = spots + rng.integers(-step, step + 1, spots.shape)
        wrong = np.abs(_blurred(canvas, radius / 2) - seen).sum(-1)
        for x, y in rng.permutation(spots):
            if not (0 <= x < columns and 0 <= y < rows) or wrong[y, x] < (0.0 if radius > 20 else 0.085):
                continue
            along = (
                np.arctan2(gx[y, x], -gy[y, x])
                if np.hypot(gx[y, x], gy[y, x]) > 4e-4
                else 0.12 * rng.standard_normal()
            )
            _stroke(canvas, relief, (x, y), along + 0.22 * rng.standard_normal(), radius, seen[y, x], rng)
    return canvas, np.clip(relief / relief.max(), 0, 1)


def _stroke(
    canvas: Array,
    relief: Array,
    at: tuple[int, int],
    angle: float,
    radius: int,
    colour: Array,
    rng: np.random.Generator,
) -> None:
    long = int(radius * rng.uniform(2.0, 4.0))
    rows, columns = relief.shape
    x0, x1, y0, y1 = (
        max(at[0] - long, 0),
        min(at[0] + long, columns),
        max(at[1] - long, 0),
        min(at[1] + long, rows),
    )
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    c, s = np.cos(angle), np.sin(angle)
    u, v = ((x - at[0]) * c + (y - at[1]) * s) / long, (-(x - at[0]) * s + (y - at[1]) * c) / radius
    v = v + 0.25 * (u**2) * rng.uniform(-1, 1)
    bristle = np.interp(v, np.linspace(-1, 1, 15), rng.uniform(0, 1, 15))
    inside = np.clip((1 - np.abs(v)) * radius / 2, 0, 1) * np.clip(
        (0.95 - np.abs(u) + 0.3 * (bristle - 0.5)) * long / 3, 0, 1
    )
    inside *= np.clip(1.15 - 0.35 * (u + 1) * bristle, 0, 1)  # the brush runs dry
    paint = colour * rng.normal(1, 0.05) * (1 + rng.normal(0, 0.035, 3)) * (0.94 + 0.12 * bristle[..., None])
    mixed = inside[..., None] * np.clip(paint, 0, 1)
    canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - inside[..., None]) + mixed
    ridge = 0.35 + 0.45 * bristle + 0.5 * np.exp(-(((np.abs(v) - 0.85) / 0.15) ** 2))
    relief[y0:y1, x0:x1] = relief[y0:y1, x0:x1] * (1 - inside) + inside * (ridge * radius**0.5)


def _blurred(image: Array, sigma: float) -> Array:
    """Gaussian blur, borders reflected."""
    for axis in (0, 1):
        n = image.shape[axis]
        mirrored = np.concatenate([image, np.flip(image, axis)], axis)
        shape = [1] * image.ndim
        shape[axis] = -1
        decay = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(2 * n)) ** 2).reshape(shape)
        image = np.fft.irfft(np.fft.rfft(mirrored, axis=axis) * decay, 2 * n, axis=axis).take(
            np.arange(n), axis
        )
    return image.astype(np.float32)
