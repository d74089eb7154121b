"""Write the tables and draw the picture of benchmarks/flux/distillation.py."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.common.markdown import table
from benchmarks.common.measuring import Machine
from benchmarks.common.several_runs import over_pictures
from benchmarks.common.time_plot import BLUE, GREEN, ORANGE, TimePlot

SUBSETS = {"val": "real pairs", "blends": "blends"}
_COLOURS = {"GenSIRR": BLUE, "panel": ORANGE}


def mean_of(row: Mapping[str, Any], subset: str, metric: str = "psnr") -> float:
    """Average a metric over the pictures of a subset."""
    return float(np.mean(row[subset][metric]))


def render(document: Mapping[str, Any]) -> str:
    """Write the tables as Markdown."""
    runs, others = document["runs"], document["others"]
    rows = [_row("do nothing", others["nothing"], ""), _row("compact", others["compact"], "")]
    for key, run in runs.items():
        for steps, row in run["scores"].items():
            rows.append(_row(f"{key}", row, steps))
    contrasts = []
    for key, run in runs.items():
        editor, _, part = key.partition(", ")
        if part == "teacher":
            continue
        student, teacher = run["scores"]["1"], runs[f"{editor}, teacher"]["scores"]
        for steps, row in teacher.items():
            gains = [over_pictures([np.subtract(student[s]["psnr"], row[s]["psnr"])]) for s in SUBSETS]
            factor = row["seconds"] / student["seconds"]
            contrasts.append([key, f"{steps} step{'s' if steps != '1' else ''}", *gains, f"{factor:.1f}"])
    side = document["side"]
    return (
        "# One step instead of many\n\n"
        f"kontext-small, fine-tuned as a whole for {document['steps']} steps of {document['batch']} blends "
        f"in linear light ({side} x {side} pixels): the teachers. A student starts from its teacher and "
        f"learns for {document['distilling_steps']} steps to reach in one step what the teacher reaches in "
        "four from the same noise (distilled), or the true latents (one step from the truth). One run each. "
        "PSNR of T in dB on `real_pairs/val` and on blends of held-out pictures; milliseconds of one "
        f"processor core for a photograph of {side} x {side}, encoding and decoding included. `compact` ran "
        f"on the photographs' own size ({others['compact']['own seconds']:.2f} s each), its result was "
        "shrunk; its milliseconds here are for as many pixels as the editors see.\n\n"
        + table(["", "steps", "ms", "val", "val, PSNR-G", "blends", "blends, PSNR-G"], rows)
        + "\n![PSNR over the time of a photograph](distillation.svg)\n\n"
        "Students against their teachers, dB, with paired 95 % intervals over the pictures:\n\n"
        + table(["student, one step", "against the teacher's", "val", "blends", "times as fast"], contrasts)
        + "\n"
        + _training(runs)
        + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def _row(name: str, row: Mapping[str, Any], steps: str) -> list[str]:
    seconds = f"{1000 * row['seconds']:.1f}" if "seconds" in row else ""
    cells = [f"{mean_of(row, s, metric):.2f}" for s in SUBSETS for metric in ("psnr", "psnr_g")]
    return [name, steps, seconds, *cells]


def _training(runs: Mapping[str, Any]) -> str:
    known = [f"{key} {r['training_seconds']:.0f}" for key, r in runs.items() if r["training_seconds"]]
    return f"Seconds of training: {', '.join(known)}." if known else ""


def draw_curve(document: Mapping[str, Any], subset: str = "val") -> str:
    """Draw PSNR over milliseconds as SVG: dots for teachers, squares for distilled students, `compact`."""
    others, runs = document["others"], document["runs"]

    def place(row: Mapping[str, Any]) -> tuple[float, float]:
        return 1000 * row["seconds"], mean_of(row, subset)

    lines = {
        key.partition(",")[0]: [place(row) for row in run["scores"].values()]
        for key, run in runs.items()
        if key.endswith("teacher")
    }
    squares = {
        key.partition(",")[0]: place(run["scores"]["1"])
        for key, run in runs.items()
        if key.endswith("distilled")
    }
    compact, nothing = place(others["compact"]), mean_of(others["nothing"], subset)
    places = [*(p for line in lines.values() for p in line), *squares.values(), compact]
    plot = TimePlot(
        f"PSNR of T on {SUBSETS[subset]}, dB, over the time of a photograph",
        "dots: teachers in 1, 2, 4 and 8 steps; squares: distilled, one step; dashed: do nothing",
        places,
        [nothing],
    )
    for power in range(
        math.ceil(plot.first), math.floor(plot.last) + 1, 1 if plot.last - plot.first < 6 else 2
    ):
        plot.tick(2**power, [f"{2**power:g} ms"])
    plot.level(nothing)
    for editor, line in lines.items():
        plot.line(line, _COLOURS[editor])
        plot.entry(editor, _COLOURS[editor])
    for editor, square in squares.items():
        plot.square(square, _COLOURS[editor])
    plot.named_dot(compact, GREEN, "compact")
    return plot.svg()
