"""Draw the figures: results on the example pictures, the gain picture by picture, and the ablation.

    python -m benchmarks.compact.figures [--weights FILE]

writes docs/figures/compact_examples.jpg and, from the numbers in compact.json and ablation.json,
compact_gain.svg and ablation.svg.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common.measuring import ROOT
from benchmarks.compact.quality import FAST
from clearpane.errors import ClearpaneError
from clearpane.evaluation.protocols import read_8bit
from clearpane.evaluation.scoring import NOTHING
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator

SCENES = ("shop", "painting", "window", "vase")
COLUMNS = ("photograph", "transmission", "reflection")
PANEL, GAP, BAND = (480, 360), 8, 34
PAPER, INK = (255, 255, 255), (60, 60, 60)
# SVG colours: a blue and an orange that colour-blind readers can distinguish (Okabe and Ito).
SERIES = (("psnr", "PSNR", "#0072b2"), ("psnr_g", "PSNR-G", "#e69f00"))


@dataclass(frozen=True)
class Options:
    """Draw the figures of the embedded separator."""

    weights: Path = WEIGHTS
    """ONNX file to run on the examples."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the figures; compact.json and ablation.json are read there."""


def draw_examples(separator: CompactSeparator) -> Image.Image:
    """Draw each example in a row: the photograph and its two layers."""
    width, height = PANEL
    size = (len(COLUMNS) * (width + GAP) - GAP, BAND + len(SCENES) * (height + GAP) - GAP)
    canvas = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    for column, title in enumerate(COLUMNS):
        middle = column * (width + GAP) + width // 2
        pen.text((middle, BAND // 2), title, fill=INK, font=font, anchor="mm")
    for row, name in enumerate(SCENES):
        photo = read_8bit(ROOT / "examples" / f"{name}_input.jpg")
        layers = separator.separate(photo.astype(np.float32) / 255)
        for column, pixels in enumerate((photo, layers.transmission, layers.reflection)):
            panel = Image.fromarray(to_8bit(pixels)).resize(PANEL, Image.Resampling.LANCZOS)
            canvas.paste(panel, (column * (width + GAP), BAND + row * (height + GAP)))
    return canvas


def draw_gains(scores: dict[str, dict[str, dict[str, float]]], method: str) -> str:
    """Draw an SVG with a pair of bars per picture, sorted by the gain in PSNR over doing nothing.

    Args:
        scores: Scores by picture, row and metric.
        method: Name of the row to draw.
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


def draw_ablation(runs: list[dict[str, Any]]) -> str:
    """Draw an SVG with a row for each kind and a dot for each run: mean gain over doing nothing on both sets.

    Args:
        runs: Runs as stored in ablation.json.
    """
    sets = (
        ("train", f"real_pairs/train ({len(runs[0]['train'])}), not trained on", "#0072b2"),
        ("val", f"real_pairs/val ({len(runs[0]['val'])})", "#e69f00"),
    )
    mixes = list(dict.fromkeys(run["mix"] for run in runs))

    def gain(run: dict[str, Any], subset: str) -> float:
        return float(np.mean([s["psnr"] - s["nothing"] for s in run[subset].values()]))

    gains = [gain(run, subset) for run in runs for subset, _, _ in sets]
    unit = 0.2
    low, high = (int(f(x / unit)) for f, x in ((np.floor, min(0, *gains)), (np.ceil, max(0, *gains))))
    left, top, step, width = 290, 62, 34, 420
    bottom = top + step * len(mixes)

    def at(value: float) -> float:
        return left + (value / unit - low) * width / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 30}" height="{bottom + 40}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<text x="12" y="18" fill="#333">Trained on: gain in PSNR over doing nothing, dB; '
        "a dot is a run, its mean over the pictures</text>",
    ]
    for index, (_, title, colour) in enumerate(sets):
        x = left + 220 * index
        parts.append(f'<circle cx="{x}" cy="38" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10}" y="42" fill="#333">{title}</text>')
    for tick in range(low, high + 1):
        x, colour = at(tick * unit), "#333" if tick == 0 else "#ddd"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{colour}"/>')
        label = f"{tick * unit:+.1f}" if tick else "0"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#333">{label}</text>')
    for row, mix in enumerate(mixes):
        middle = top + step * (row + 0.5)
        parts.append(f'<text x="{left - 14}" y="{middle + 4:.1f}" text-anchor="end" fill="#333">{mix}</text>')
        for index, (subset, _, colour) in enumerate(sets):
            for run in runs:
                if run["mix"] == mix:
                    place = f'cx="{at(gain(run, subset)):.1f}" cy="{middle - 5 + 10 * index:.1f}"'
                    parts.append(f'<circle {place} r="4" fill="{colour}" fill-opacity="0.8"/>')
    return "\n".join([*parts, "</svg>\n"])


def read_numbers(file: Path, script: str) -> dict[str, Any]:
    """Read the results of a benchmark.

    Raises:
        ClearpaneError: The benchmark has not been run.
    """
    if not file.is_file():
        raise ClearpaneError(f"{file} is not there: run benchmarks/{script} first")
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return numbers


def main(options: Options) -> int:
    """Draw all figures."""
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        examples = draw_examples(CompactSeparator(options.weights))
        with atomic_path(options.output / "compact_examples.jpg", overwrite=True) as temporary:
            examples.save(temporary, "JPEG", quality=84, optimize=True)
        document = read_numbers(options.output / "compact.json", "compact/measure.py")
        if "quality" not in document:
            raise ClearpaneError(f"{options.output / 'compact.json'} holds no quality yet: measure it first")
        gains = draw_gains(document["quality"]["scores"], FAST)
        write_text(options.output / "compact_gain.svg", gains, overwrite=True)
        ablation = read_numbers(options.output / "ablation.json", "compact/ablation.py")
        runs = draw_ablation(list(ablation["runs"].values()))
        write_text(options.output / "ablation.svg", runs, overwrite=True)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
