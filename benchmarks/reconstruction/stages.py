"""Measure what the stages of a reconstruction cost: where do the seconds beside the fit go?

    python -m benchmarks.reconstruction.stages DATA

Reconstructs DATA/views/dino at the sizes of the command, with few steps, and counts the processor's seconds
of each stage and of its longest parts. Writes docs/figures/stages.{md,json}. Needs the extra [3d].
"""

import cProfile
import json
import pstats
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from clearpane.evaluation.tables import write_text
from clearpane.geometry.mesh import extract_surface, simplify
from clearpane.reconstruction.asset import baking
from clearpane.reconstruction.asset.unwrapping import fill_gaps, find_texels, unwrap
from clearpane.reconstruction.capture import cropping
from clearpane.reconstruction.capture.cutting_out import cut_out_all
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.placement import place_object
from clearpane.reconstruction.fitting.schedule import STEPS, RefineSettings
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture, make_asset

# Parts of the stages: functions that the stages call one after the other.
_PARTS = {
    "cutting out": (
        (cut_out_all, "finding the object in the photographs"),
        (place_object, "placing the cube"),
        (cropping.cut_out, "cropping"),
        (cropping._within_hull, "comparing the masks"),
    ),
    "making triangles and textures": (
        (extract_surface, "extracting the surface"),
        (simplify, "simplifying"),
        (baking.ambient_occlusion, "occlusion"),
        (unwrap, "unwrapping"),
        (find_texels, "finding the texels"),
        (baking._surface, "sampling the field"),
        (fill_gaps, "filling the gaps"),
    ),
}


@dataclass(frozen=True)
class Options:
    """Measure the stages of a reconstruction."""

    data: Positional[Path]
    """Folder with views/dino."""
    steps: int = 60
    """Steps of the fit that is timed, and scaled to the usual number."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of stages.md and stages.json."""


def profiled(work: partial[Any], stage: str) -> tuple[Any, dict[str, float]]:
    """Run a stage; return its result, and the CPU seconds of its parts and of all of it."""
    profile, started = cProfile.Profile(time.process_time), time.process_time()
    result = profile.runcall(work)
    seconds = {"all": time.process_time() - started}
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for function, name in _PARTS[stage]:
        code = getattr(function, "__wrapped__", function).__code__
        key = (code.co_filename, code.co_firstlineno, code.co_name)
        seconds[name] = stats[key][3] if key in stats else 0.0
    return result, seconds


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    stages = document["stages"]
    usual = document["around"] + document["fit"] / document["steps"] * STEPS["standard"]
    total = usual + sum(stage["all"] for stage in stages.values())
    rows = [["fitting, 1,700 steps", f"{usual:.0f}", f"{usual / total:.0%}"]]
    for name, parts in stages.items():
        rows.append([name, f"{parts['all']:.1f}", f"{parts['all'] / total:.0%}"])
        rows += [[f"&nbsp; {part}", f"{seconds:.1f}", ""] for part, seconds in parts.items() if part != "all"]
    return (
        "# Stages of a reconstruction\n\n"
        f"Middlebury's dino, {document['views']} photographs, one thread, CPU seconds, which other work on "
        f"the machine hardly changes. The fit's are scaled from {document['steps']} steps.\n\n"
        + table(["stage", "CPU seconds", "share"], rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Time all stages; return the table."""
    torch.set_num_threads(1)
    photographs = open_views(options.data / "views" / "dino")
    settings = ReconstructSettings(refining=RefineSettings(options.steps))
    capture, cutting = profiled(partial(cropping.load_capture, photographs, settings.side), "cutting out")
    none = replace(settings, refining=RefineSettings(0))
    started = time.process_time()
    fit_capture(capture, none)
    around = time.process_time() - started
    refined = fit_capture(capture, settings)
    fit = time.process_time() - started - 2 * around
    bake = partial(make_asset, refined, capture, settings)
    _, baking_seconds = profiled(bake, "making triangles and textures")
    document = {
        "views": len(capture.names),
        "steps": refined.steps,
        "around": around,
        "fit": fit,
        "stages": {"cutting out": cutting, "making triangles and textures": baking_seconds},
        "machine": describe_machine(),
    }
    text = render(document)
    write_text(options.output / "stages.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "stages.md", text, __spec__.name)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
