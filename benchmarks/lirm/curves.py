"""Draw the curves of a run of `clearpane train lirm`, from its TensorBoard files.

    python -m benchmarks.lirm.curves RUN

Writes docs/figures/lirm_training.svg: new views of other objects, and the parts of the loss. Needs the
extra [train].
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT
from benchmarks.common.runs import finish
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text

Curve = list[tuple[int, float]]
# Colours that colour-blind readers can distinguish (Okabe and Ito, and a grey), by the parts of the loss.
_PARTS = {
    "colour": "#0072b2",
    "mask": "#e69f00",
    "distance": "#009e73",
    "albedo": "#cc79a7",
    "brightness": "#000000",
    "normal": "#d55e00",
    "depth": "#56b4e9",
    "material": "#777777",
}
_LEFT, _WIDTH, _HEIGHT, _GAP = 52, 460, 170, 78
# Number of steps averaged for a point of a loss's curve: a single step sees one object.
_WINDOW = 100


@dataclass(frozen=True)
class Options:
    """Draw the curves of a run."""

    run: Positional[Path]
    """Folder of the run."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of lirm_training.svg."""


def read_curves(run: Path) -> dict[str, Curve]:
    """Read the curves by TensorBoard tag; for steps done again after an interruption, the last value.

    Raises:
        ClearpaneError: There are none.
    """
    if not any(run.glob("events.out.tfevents.*")):
        raise ClearpaneError(f"{run}: holds no run; name the folder that clearpane train lirm wrote")
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: sorted({e.step: e.value for e in events.Scalars(tag)}.items()) for tag in tags}


def smoothed(curve: Curve, window: int = _WINDOW) -> Curve:
    """Average groups of ``window`` points, placed at their last step; an incomplete last group is left
    out."""
    parts = [curve[i : i + window] for i in range(0, len(curve) - window + 1, window)]
    return [(part[-1][0], float(np.mean([value for _, value in part]))) for part in parts]


def panel(curves: dict[str, tuple[str, Curve]], title: str, top: float, steps: int) -> list[str]:
    """Draw lines by name, each in its colour, over steps; the value axis covers them all."""
    values = [value for _, curve in curves.values() for _, value in curve]
    spacing = 10 ** np.floor(np.log10(max(values) - min(values) or 1.0))
    low = np.floor(min(values) / spacing) * spacing
    high = max(np.ceil(max(values) / spacing) * spacing, low + spacing)
    parts = [f'<text x="12" y="{top - 14:.0f}" fill="#333">{title}</text>']

    def height(value: float) -> float:
        return top + _HEIGHT * (1 - (value - low) / (high - low))

    for tick in np.arange(low, high + spacing / 2, spacing):
        y = height(tick)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{tick:.3g}</text>'
        )
    for tick in np.linspace(0, steps, 5):
        x = _LEFT + _WIDTH * tick / steps
        parts.append(
            f'<text x="{x:.1f}" y="{top + _HEIGHT + 18:.0f}" text-anchor="middle" fill="#333">'
            f"{tick:.0f}</text>"
        )
    for index, (name, (colour, curve)) in enumerate(curves.items()):
        points = " ".join(f"{_LEFT + _WIDTH * step / steps:.1f},{height(y):.1f}" for step, y in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(curves) > 1:
            parts.append(
                f'<rect x="{_LEFT + _WIDTH + 14}" y="{top + 20 * index:.0f}" width="11" height="11" '
                f'fill="{colour}"/>'
                f'<text x="{_LEFT + _WIDTH + 30}" y="{top + 20 * index + 10:.0f}" fill="#333">{name}</text>'
            )
    return parts


def draw(curves: dict[str, Curve]) -> str:
    """Draw both panels as SVG.

    Raises:
        ClearpaneError: The run is too short, or measured no new views.
    """
    if "validation/psnr" not in curves or len(curves["loss"]) < _WINDOW:
        raise ClearpaneError(f"the run has no new views measured, or not {_WINDOW} steps: nothing to draw")
    steps = curves["loss"][-1][0]
    losses = {
        name: (colour, smoothed(curves[f"loss/{name}"]))
        for name, colour in _PARTS.items()
        if f"loss/{name}" in curves  # earlier runs have fewer
    }
    first, second = 46, 46 + _HEIGHT + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 110}" '
            f'height="{second + _HEIGHT + 40}" font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            *panel(
                {"PSNR": ("#0072b2", curves["validation/psnr"])},
                "PSNR of new views of other objects, dB, over steps",
                first,
                steps,
            ),
            *panel(losses, f"parts of the loss, weighted, means of {_WINDOW} steps", second, steps),
            "</svg>\n",
        ]
    )


def measure(options: Options) -> str:
    """Draw the curves."""
    path = options.output / "lirm_training.svg"
    write_text(path, draw(read_curves(options.run)), overwrite=True)
    return f"wrote {path}"


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
