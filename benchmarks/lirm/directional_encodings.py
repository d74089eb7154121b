"""Compare directional encodings of colour: panoramas of features (LIRM's NDE), spherical harmonics, none.

    python -m benchmarks.lirm.directional_encodings DATA

The same object is fitted to the same eight views with each encoding, as `clearpane reconstruct` does: bob
    with its own texture and of metal, for equally many steps. New views of the radiance field are
    compared. Writes docs/figures/directional_encodings.md and .json after each run, and resumes from them.
    Needs the extras [3d] and [synthesis].
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish, finish_runs, known_runs
from benchmarks.reconstruction.bob_asset import MATERIALS, BobMaterial
from benchmarks.reconstruction.bob_captures import INPUTS, LIGHTS, as_capture, bob_cameras, bob_pictures
from benchmarks.reconstruction.eight_views import view_scores
from clearpane.evaluation.tables import write_text
from clearpane.reconstruction.field.directional import Encoding
from clearpane.reconstruction.fitting.contact_sheet import render_fitted
from clearpane.reconstruction.fitting.refine import refine
from clearpane.reconstruction.fitting.schedule import RefineSettings
from clearpane.reconstruction.fitting.starting import start_from_hull

ROWS: dict[str, tuple[Encoding, int]] = {
    "1 panorama": ("panoramas", 1),
    "2 panoramas": ("panoramas", 2),
    "4 panoramas": ("panoramas", 4),
    "spherical harmonics": ("harmonics", 0),
    "no directions": ("none", 0),
}


@dataclass(frozen=True)
class Options:
    """Compare directional encodings of colour."""

    data: Positional[Path]
    """Folder with environments, materials and objects/bob."""
    steps: int = 500
    """Steps of a fit."""
    seeds: int = 3
    """Runs of each encoding."""
    workers: int = 2
    """Number of runs in parallel, with one thread each."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""
    cache: Path = ROOT / "build" / "benchmarks" / "reconstruction"
    """Folder of rendered views."""


def score_run(options: Options, material: BobMaterial, row: str, seed: int) -> dict[str, float]:
    """Score new views after one fit."""
    torch.set_num_threads(1)
    cameras = bob_cameras()
    pictures = bob_pictures(options.data, material, LIGHTS[0], options.cache)
    capture = as_capture(pictures, cameras)
    start = start_from_hull(capture, seed, *ROWS[row])
    fitted = refine(capture, start, RefineSettings(options.steps, seed=seed))
    shown = render_fitted(fitted, cameras[INPUTS:])
    return view_scores(shown["colour"], pictures[INPUTS:])


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    rows = []
    for row in ROWS:
        cells = [row]
        for material in MATERIALS:
            runs = [r for r in document["runs"].values() if (r["row"], r["material"]) == (row, material)]
            for key in ("psnr", "object"):
                values = torch.tensor([run[key] for run in runs])
                spread = f" ± {float(values.std()):.2f}" if len(runs) > 1 else ""
                cells.append(f"{float(values.mean()):.2f}{spread}" if runs else "")
        rows.append(cells)
    head = [""]
    for material in MATERIALS:
        head += [f"{material}: new views, dB", "object's"]
    return (
        "# Directional encodings of colour\n\n"
        f"bob, fitted to eight views in {document['steps']} steps; twelve new views of the "
        "radiance field, whole pictures on white and the object's pixels alone; ± is the standard "
        f"deviation over {document['seeds']} seeds.\n\n"
        + table(head, rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Fit with each encoding; return the table."""
    facts = [options.steps, INPUTS, LIGHTS[0], *ROWS]
    document = known_runs(options.output / "directional_encodings.json", str(facts))
    document |= {"steps": options.steps, "seeds": options.seeds, "machine": describe_machine()}
    for material in MATERIALS:  # rendered once, before several processes would do it
        bob_pictures(options.data, material, LIGHTS[0], options.cache)
    jobs = {
        f"{row}, {material}, seed {seed}": (options, material, row, seed)
        for seed in range(options.seeds)
        for material in MATERIALS
        for row in ROWS
        if f"{row}, {material}, seed {seed}" not in document["runs"]
    }
    for key, scores in finish_runs(score_run, jobs, options.workers):
        _, material, row, _ = jobs[key]
        document["runs"][key] = {"row": row, "material": material, **scores}
        numbers = json.dumps(document, indent=1) + "\n"
        write_text(options.output / "directional_encodings.json", numbers, overwrite=True)
        write_page(options.output / "directional_encodings.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
