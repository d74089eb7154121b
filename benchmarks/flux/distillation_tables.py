"""Write the tables and draw the picture of benchmarks/flux/distillation.py."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.common.markdown import table
from benchmarks.common.measuring import Machine
from benchmarks.common.several_runs import over_pictures

SUBSETS = {"val": "real pairs", "blends": "blends"}
# A blue and an orange that colour-blind readers can distinguish (Okabe and Ito).
_COLOURS = {"GenSIRR": "#0072b2", "panel": "#e69f00"}
_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 62, 460, 260


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
    first, last = (f(math.log2(x) for x, _ in places) for f in (min, max))
    last = max(last, first + 1)
    values = [nothing, *(y for _, y in places)]
    low, high = math.floor(min(values)), math.ceil(max(values) + 0.01)

    def at(milliseconds: float, psnr: float) -> tuple[float, float]:
        across = (math.log2(milliseconds) - first) / (last - first)
        return _LEFT + 14 + across * (_WIDTH - 28), _TOP + (high - psnr) / (high - low) * _HEIGHT

    bottom = _TOP + _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 16}" height="{bottom + 64}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="18" fill="#333">PSNR of T on {SUBSETS[subset]}, dB, over the time of a '
        "photograph</text>",
        '<text x="12" y="36" fill="#333">dots: teachers in 1, 2, 4 and 8 steps; squares: distilled, one '
        "step; dashed: do nothing</text>",
    ]
    for tick in range(low, high + 1):
        _, y = at(2**first, tick)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{tick}</text>'
        )
    for power in range(math.ceil(first), math.floor(last) + 1, 1 if last - first < 6 else 2):
        x, _ = at(2**power, low)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#333">{2**power:g} ms</text>'
        )
    _, y = at(2**first, nothing)
    parts.append(
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#777" '
        'stroke-dasharray="4 3"/>'
    )
    for editor, line in lines.items():
        points, colour = [at(*p) for p in line], _COLOURS[editor]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
    for editor, square in squares.items():
        x, y = at(*square)
        parts.append(
            f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{_COLOURS[editor]}"/>'
        )
    x, y = at(*compact)
    parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#009e73"/>'
        f'<text x="{x + 9:.1f}" y="{y + 4:.1f}" fill="#333">compact</text>'
    )
    for index, editor in enumerate(lines):
        legend = _LEFT + 110 * index
        parts.append(
            f'<rect x="{legend}" y="{bottom + 42}" width="11" height="11" fill="{_COLOURS[editor]}"/>'
            f'<text x="{legend + 16}" y="{bottom + 52}" fill="#333">{editor}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])
