"""The figures: what becomes of the example pictures, and the gain picture by picture.

    python benchmarks/figures.py [--weights FILE]

writes docs/figures/compact_examples.jpg and, from the numbers in compact.json, docs/figures/compact_gain.svg.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import to_8bit
from clearpane.evaluation.protocols import read_8bit
from clearpane.evaluation.scoring import NOTHING
from clearpane.evaluation.tables import write_text
from clearpane.images.writing import atomic_path
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator
from measuring import FOLDER
from quality import FAST

SCENES = ("shop", "painting", "window", "vase")
COLUMNS = ("photograph", "transmission", "reflection")
PANEL, GAP, BAND = (480, 360), 8, 34
PAPER, INK = (255, 255, 255), (60, 60, 60)
# Of the SVG: a blue and an orange that colour-blind readers tell apart (Okabe and Ito).
SERIES = (("psnr", "PSNR", "#0072b2"), ("psnr_g", "PSNR-G", "#e69f00"))


@dataclass(frozen=True)
class Options:
    """Draw the figures of the embedded separator."""

    weights: Path = WEIGHTS
    """ONNX file to run on the examples."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of the figures; compact.json is read there."""


def draw_examples(separator: CompactSeparator) -> Image.Image:
    """Each example in a row: the photograph and its two layers."""
    width, height = PANEL
    size = (len(COLUMNS) * (width + GAP) - GAP, BAND + len(SCENES) * (height + GAP) - GAP)
    canvas = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    for column, title in enumerate(COLUMNS):
        middle = column * (width + GAP) + width // 2
        pen.text((middle, BAND // 2), title, fill=INK, font=font, anchor="mm")
    for row, name in enumerate(SCENES):
        photo = read_8bit(FOLDER.parent / "examples" / f"{name}_input.jpg")
        layers = separator.separate(photo.astype(np.float32) / 255)
        for column, pixels in enumerate((photo, layers.transmission, layers.reflection)):
            panel = Image.fromarray(to_8bit(pixels)).resize(PANEL, Image.Resampling.LANCZOS)
            canvas.paste(panel, (column * (width + GAP), BAND + row * (height + GAP)))
    return canvas


def draw_gains(scores: dict[str, dict[str, dict[str, float]]], method: str) -> str:
    """An SVG with a pair of bars a picture, in the order of the gain in PSNR over doing nothing.

    Args:
        scores: by picture, by row, by metric.
        method: the row to draw.
    """
    gains = {
        name: [rows[method][key] - rows[NOTHING][key] for key, _, _ in SERIES]
        for name, rows in scores.items()
    }
    names = sorted(gains, key=lambda name: gains[name][0])
    low = min(0, *(int(np.floor(min(g))) for g in gains.values()))
    high = max(1, *(int(np.ceil(max(g))) for g in gains.values()))
    left, top, step, bar, height = 52, 44, 34, 13, 260
    width, scale = left + step * len(names) + 12, height / (high - low)

    def at(value: float) -> float:
        return top + (high - value) * scale

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height + 40}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="16" fill="#333">{method}: gain over doing nothing by picture, dB</text>',
    ]
    for index, (_, title, colour) in enumerate(SERIES):
        x = left + 90 * index
        parts.append(f'<rect x="{x}" y="24" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="34" fill="#333">{title}</text>')
    for tick in range(low, high + 1, max(1, (high - low) // 8)):
        colour = "#333" if tick == 0 else "#ddd"
        y = at(tick)
        parts.append(f'<line x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>')
        label = f"{tick:+d}" if tick else "0"
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{label}</text>')
    for place, name in enumerate(names):
        x = left + step * place + 4
        for index, (gain, (_, _, colour)) in enumerate(zip(gains[name], SERIES, strict=True)):
            y, tall = at(max(gain, 0)), abs(gain) * scale
            corner = f'x="{x + bar * index}" y="{y:.1f}"'
            parts.append(f'<rect {corner} width="{bar - 1}" height="{tall:.1f}" fill="{colour}"/>')
        parts.append(
            f'<text x="{x + bar}" y="{top + height + 20}" text-anchor="middle" fill="#333">{name}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main(options: Options) -> int:
    """Draw both figures."""
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        examples = draw_examples(CompactSeparator(options.weights))
        with atomic_path(options.output / "compact_examples.jpg", overwrite=True) as temporary:
            examples.save(temporary, "JPEG", quality=84, optimize=True)
        numbers = options.output / "compact.json"
        document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
        if "quality" not in document:
            raise ClearpaneError(f"{numbers} holds no quality yet: run benchmarks/compact.py first")
        gains = draw_gains(document["quality"]["scores"], FAST)
        write_text(options.output / "compact_gain.svg", gains, overwrite=True)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
