"""Reconstruct in rounds: do later views improve an object without the earlier pictures, at constant memory?

    python -m benchmarks.reconstruction.progressive DATA

DATA/views/dino: four photographs, then two more, then two more, beside all eight at once, each compared with
held-out photographs: by LIRM's prediction, and at the end by a short fit too, to the new photographs and the
pixels that are kept of the earlier ones. Then ten rounds of two, after each of which the state is written to
a file. Last, an object that changes between the rounds. Writes docs/figures/progressive.{md,json}. Needs the
extra [3d].
"""

import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.changing_object import changing_object
from benchmarks.reconstruction.dino import HeldOut, crop_held_out, object_psnr, split
from clearpane.evaluation.tables import write_text
from clearpane.reconstruction.capture.cropping import Capture, load_capture
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.field.rendering import Field, Rendered, RenderOptions, render_pictures
from clearpane.reconstruction.fitting.kept_rays import KEPT
from clearpane.reconstruction.fitting.refine import LAST_BETA, refine
from clearpane.reconstruction.fitting.schedule import RefineSettings
from clearpane.reconstruction.fitting.starting import start_from_memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.weights_file import load_lirm, weights_file
from clearpane.reconstruction.progressive import Rounds, save_state

_OPTIONS = RenderOptions(LAST_BETA, samples=96, occupancy=48)
# Order of the given views, so that the first four are spread around the object, and the sizes of the rounds.
_ORDER, _ROUNDS = (0, 2, 4, 6, 1, 5, 3, 7), (4, 2, 2)
_MANY, _OF_EACH = 10, 2
_SHARES = ("kept", "predicted", "small", "large")


@dataclass(frozen=True)
class Options:
    """Reconstruct in rounds."""

    data: Positional[Path]
    """Folder with views/dino."""
    weights: Path = Path("lirm-small")
    """LIRM weights, a file or lirm-small."""
    side: int = 96
    """Side of the views, pixels."""
    compared: int = 2
    """Number of held-out photographs."""
    steps: int = 100
    """Steps of a fit."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of progressive.md and progressive.json."""


def chosen(capture: Capture, index: list[int]) -> Capture:
    """Return some views of a capture."""
    names = tuple(capture.names[i] for i in index)
    return replace(
        capture,
        pictures=capture.pictures[index],
        masks=capture.masks[index],
        cameras=capture.cameras[index],
        names=names,
    )


def score(field: Field, truth: HeldOut) -> float:
    """Compute the mean PSNR of the object's pixels in the held-out views, dB."""

    def colours(rendered: Rendered, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
        return {"colour": rendered.appearance.colour.clamp(0, 1)}

    shown = render_pictures(field, truth.cameras, _OPTIONS, colours)["colour"]
    return float(np.mean(object_psnr(shown, truth)))


def in_rounds(capture: Capture, lirm: Lirm, truth: HeldOut, steps: int) -> list[dict[str, float]]:
    """Measure after each round, and then for all views at once; fit after the last of either."""
    rows, state, first = [], None, 0
    for part in (*_ROUNDS, 0):
        views = chosen(capture, list(_ORDER[first : first + part] if part else _ORDER))
        started = time.process_time()
        observed = Rounds(lirm, state if part else None).observe(views)
        seconds, state = time.process_time() - started, observed.state
        (predicted,) = lirm.fields(state.memory)
        row = {"views": state.views, "seconds": seconds, "psnr": score(predicted, truth)}
        first += part
        if not part or first == len(_ORDER):
            start = start_from_memory(state.memory, lirm)
            kept = observed.earlier.beside(views)
            fitted = refine(views, start, RefineSettings(steps), kept=kept)
            row["fitted"] = score(fitted.field, truth)
            if part:  # what the earlier pixels are good for
                row["without"] = score(refine(views, start, RefineSettings(steps)).field, truth)
        rows.append(row)
    return rows


def many_rounds(capture: Capture, lirm: Lirm) -> list[dict[str, float]]:
    """Take in two views at a time; measure the state's file, and the most memory of the process so far."""
    rows, state, count = [], None, len(capture.names)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        for number in range(_MANY):
            index = [(number * _OF_EACH + i) % count for i in range(_OF_EACH)]
            state = Rounds(lirm, state).observe(chosen(capture, index)).state
            save_state(path, state, lirm, overwrite=True)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            rows.append({"views": state.views, "bytes": path.stat().st_size, "most": most})
    return rows


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    *rounds, at_once = document["rounds"]
    names = ["the first views", *["later views"] * (len(rounds) - 1), "all at once"]
    rows = [
        [
            name,
            str(row["views"]),
            f"{row['psnr']:.2f}",
            f"{row['fitted']:.2f}" if "fitted" in row else "",
            f"{row['seconds']:.1f}",
        ]
        for name, row in zip(names, [*rounds, at_once], strict=True)
    ]
    changes = [
        [row["round"], str(row["views"]), *(f"{row[name]:.0%}" for name in _SHARES)]
        for row in document["changes"]
    ]
    many = document["many"]
    sizes, most = [row["bytes"] / 1e6 for row in many], [row["most"] for row in many]
    return (
        "# In rounds\n\n"
        f"`{document['weights']}` predicts Middlebury's dino; "
        f"{document['side']} x {document['side']} pixels, the object's pixels of {document['compared']} "
        "held-out photographs, 8 bits. Each round sees its own photographs and the state after the earlier "
        f"rounds. The last column but one is a fit of {document['steps']} steps to the new photographs and "
        f"the {KEPT:,} pixels that are kept of earlier ones; to the new ones alone it is "
        f"{rounds[-1]['without']:.2f} dB.\n\n"
        + table(["round", "views so far", "held-out views, dB", "fitted, dB", "CPU seconds"], rows)
        + f"\nAfter each of {len(many)} rounds of {_OF_EACH} views the state's file had {min(sizes):.1f} to "
        f"{max(sizes):.1f} MB. The most memory of the process so far was {most[0]:.0f} MiB after the first "
        f"of them and {most[-1]:.0f} MiB after the last.\n\n"
        "## An object that changes\n\n"
        "Balls drawn in closed form, 96 x 96 pixels. Shares are of a ball's volume inside the surface, "
        f"predicted and after a fit of {document['steps']} steps; of the earlier pixels, those that the "
        "change has not outdated.\n\n"
        + table(
            [
                "round",
                "new views",
                "earlier pixels kept",
                "small ball, predicted",
                "small ball, fitted",
                "large ball, fitted",
            ],
            changes,
        )
        + "\n"
        f"<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Reconstruct in rounds; return the table."""
    torch.set_num_threads(1)
    lirm = load_lirm(weights_file(options.weights))
    given, held_out = split(open_views(options.data / "views" / "dino"))
    capture = load_capture(given, options.side)
    compared = held_out.photographs[:: len(held_out.photographs) // options.compared]
    truth = crop_held_out(replace(held_out, photographs=compared), capture)
    document = {
        "weights": options.weights.name,
        "side": options.side,
        "compared": len(compared),
        "many": many_rounds(capture, lirm),
        "rounds": in_rounds(capture, lirm, truth, options.steps),
        "steps": options.steps,
        "changes": changing_object(lirm, options.steps),
        "machine": describe_machine(),
    }
    text = render(document)
    write_text(options.output / "progressive.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "progressive.md", text, __spec__.name)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
