"""Before/after pictures."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clearpane.images.tiling import PixelRows, row_bands

_LONGEST = 1600  # largest length of a panel's longer side, pixels
_SHORTEST = 320
_PAPER = (38, 38, 38)
_INK = (226, 226, 226)


def draw_comparison(panels: Mapping[str, PixelRows], *, gray: bool = False) -> np.ndarray:
    """Draw pictures of one size side by side (panoramas: one below the other), each under its label.

    Args:
        panels: Pictures by label, each [H, W, 3] float32, sRGB, clipped to [0, 1].
        gray: True to draw the mean of the channels, for a grey photograph.

    Returns:
        The drawing, [h, w, 3] float32 in [0, 1]; a panel's longer side is at most 1600 pixels.
    """
    pictures = {label: _fit(pixels, gray) for label, pixels in panels.items()}
    width, height = next(iter(pictures.values())).size
    text = max(14, max(width, height) // 36)
    gap, band = text, 2 * text
    stacked = width > 2 * height
    columns, rows = (1, len(pictures)) if stacked else (len(pictures), 1)
    cell = max(width, 8 * text)  # a tall, narrow picture still needs room for its label

    canvas = Image.new("RGB", (gap + columns * (cell + gap), rows * (band + height) + gap), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(text)
    for index, (label, picture) in enumerate(pictures.items()):
        left = gap + (0 if stacked else index) * (cell + gap)
        top = (index if stacked else 0) * (band + height)
        draw.text((left, top + band // 2), label, fill=_INK, font=font, anchor="lm")
        canvas.paste(picture, (left, top + band))
    return np.asarray(canvas, dtype=np.float32) / 255


def _fit(pixels: PixelRows, gray: bool) -> Image.Image:
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, _SHORTEST), _LONGEST) / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))

    coarse = max(1, longer // (2 * _LONGEST))  # in bands, to avoid a copy of a large picture
    parts = []
    for rows in row_bands(pixels, coarse):
        colour = pixels[rows].mean(axis=2, keepdims=True) if gray else pixels[rows]
        samples = np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
        part = Image.fromarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
        parts.append(np.asarray(part.reduce(coarse)))
    picture = Image.fromarray(np.concatenate(parts))
    return picture.resize(size, Image.Resampling.LANCZOS)
