"""Draw quality over time by the number of sampling steps (benchmarks/flux/gensirr.py), as SVG."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.flux.gensirr_cells import CELLS, USUAL
from benchmarks.flux.gensirr_tables import SUBSETS, Runs, finished, mean_of

# A blue, an orange and a green that colour-blind readers can distinguish (Okabe and Ito).
_COLOURS = ("#0072b2", "#e69f00", "#009e73")
_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 62, 460, 260
_REGRESSION = "one step, by regression"


def draw_curve(document: Mapping[str, Any]) -> str:
    """Draw PSNR of each subset over milliseconds: dots for flow matching, a square for the regression.

    Return an empty string before there are runs and times.
    """
    runs = {seed: run for seed, run in finished(document, USUAL).items() if "steps" in run}
    times = document.get("times", {})
    if not runs or "flow matching" not in times:
        return ""
    steps = sorted(times["flow matching"], key=int)
    lines = {
        subset: [
            (1000 * times["flow matching"][n], _mean({s: r["steps"][n] for s, r in runs.items()}, subset), n)
            for n in steps
        ]
        for subset in SUBSETS
    }
    regression = finished(document, CELLS["steps"][_REGRESSION]) if _REGRESSION in times else {}
    squares = {s: (1000 * times[_REGRESSION]["1"], _mean(regression, s)) for s in SUBSETS if regression}
    places = [(x, y) for line in lines.values() for x, y, _ in line] + list(squares.values())
    first, last = (f(math.log2(x) for x, _ in places) for f in (min, max))
    low = math.floor(min(y for _, y in places))
    high = max(low + 1, math.ceil(max(y for _, y in places)))

    def at(milliseconds: float, psnr: float) -> tuple[float, float]:
        across = (math.log2(milliseconds) - first) / (last - first)
        return _LEFT + 14 + across * (_WIDTH - 28), _TOP + (high - psnr) / (high - low) * _HEIGHT

    bottom = _TOP + _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 16}" height="{bottom + 64}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="18" fill="#333">PSNR, dB, over the time of a photograph, mean of {len(runs)} '
        f"run{'s' if len(runs) > 1 else ''}</text>",
        '<text x="12" y="36" fill="#333">dots: flow matching; squares: one step, by regression</text>',
    ]
    for tick in range(low, high + 1):
        _, y = at(2**first, tick)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{tick}</text>'
        )
    for milliseconds, _, n in next(iter(lines.values())):
        x, _ = at(milliseconds, low)
        for y, text in ((18, f"{milliseconds:.0f} ms"), (33, f"{n} step{'s' if n != '1' else ''}")):
            parts.append(f'<text x="{x:.1f}" y="{bottom + y}" text-anchor="middle" fill="#333">{text}</text>')
    for index, (subset, title) in enumerate(SUBSETS.items()):
        colour = _COLOURS[index]
        line = [at(x, y) for x, y, _ in lines[subset]]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in line]
        if subset in squares:
            x, y = at(*squares[subset])
            parts.append(f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{colour}"/>')
        legend = _LEFT + 110 * index
        parts.append(
            f'<rect x="{legend}" y="{bottom + 46}" width="11" height="11" fill="{colour}"/>'
            f'<text x="{legend + 16}" y="{bottom + 56}" fill="#333">{title}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _mean(runs: Runs, subset: str) -> float:
    return float(np.mean([mean_of(run, subset) for run in runs.values()]))
