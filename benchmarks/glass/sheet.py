"""Draw the picture sheet of `renderers.py`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clearpane.files import atomic_path
from clearpane.synthesis.glass.layers import LETTERS, layer_picture
from clearpane.synthesis.glass.scene import Post

GAP, BAND, MARGIN = 4, 24, 30
PAPER, INK = (255, 255, 255), (60, 60, 60)
AMPLIFIED = 10


def draw_sheet(pictures: Mapping[str, tuple[Mapping[str, Tensor], Mapping[str, Tensor]]], path: Path) -> None:
    """Draw three rows per scene (analytic, path-traced, amplified difference), a column per layer, as JPEG.

    Args:
        pictures: Analytic and path-traced layers by scene and letter, [3, H, W], linear.
        path: File to write; overwritten.
    """
    height, width = next(iter(pictures.values()))[0]["I"].shape[-2:]
    block = 3 * (height + GAP)
    canvas = Image.new(
        "RGB", (MARGIN + len(LETTERS) * (width + GAP), BAND + len(pictures) * (block + GAP)), PAPER
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for column, letter in enumerate(LETTERS):
        x = MARGIN + column * (width + GAP)
        pen.text((x + width // 2, BAND // 2), letter, fill=INK, font=font, anchor="mm")
        for index, (fast, slow) in enumerate(pictures.values()):
            one, other = fast[letter].float(), slow[letter].float()
            rows = one, other, AMPLIFIED * (one - other).abs()
            for row, layer in enumerate(rows):
                place = (x, BAND + index * (block + GAP) + row * (height + GAP))
                canvas.paste(_image(layer), place)
    for index, name in enumerate(pictures):
        label = Image.new("RGB", (block, MARGIN), PAPER)
        ImageDraw.Draw(label).text((block // 2, MARGIN // 2), name, fill=INK, font=font, anchor="mm")
        canvas.paste(label.rotate(90, expand=True), (0, BAND + index * (block + GAP)))
    with atomic_path(path, overwrite=True) as temporary:
        canvas.save(temporary, "JPEG", quality=85, optimize=True)


def _image(layer: Tensor) -> Image.Image:
    pixels = layer_picture(layer, Post()).permute(1, 2, 0).numpy()
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))
