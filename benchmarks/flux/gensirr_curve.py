"""Draw quality over time by the number of sampling steps (benchmarks/flux/gensirr.py), as SVG."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.common.time_plot import BLUE, GREEN, ORANGE, TimePlot
from benchmarks.flux.gensirr_cells import CELLS, USUAL
from benchmarks.flux.gensirr_tables import SUBSETS, Runs, finished, mean_of

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
    plot = TimePlot(
        f"PSNR, dB, over the time of a photograph, mean of {len(runs)} run{'s' if len(runs) > 1 else ''}",
        "dots: flow matching; squares: one step, by regression",
        places,
    )
    for milliseconds, _, n in next(iter(lines.values())):
        plot.tick(milliseconds, (f"{milliseconds:.0f} ms", f"{n} step{'s' if n != '1' else ''}"))
    for colour, (subset, title) in zip((BLUE, ORANGE, GREEN), SUBSETS.items(), strict=False):
        plot.line([(x, y) for x, y, _ in lines[subset]], colour)
        if subset in squares:
            plot.square(squares[subset], colour)
        plot.entry(title, colour)
    return plot.svg()


def _mean(runs: Runs, subset: str) -> float:
    return float(np.mean([mean_of(run, subset) for run in runs.values()]))
