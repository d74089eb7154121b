"""Measure what fitting materials by path tracing adds to a reconstruction.

    python -m benchmarks.reconstruction.path_traced DATA

The mesh bob with two materials under one environment: eight views are fitted as `clearpane reconstruct` does,
then the baked asset's materials are fitted by path tracing. Both assets are path-traced under another
environment and compared with the truth there, twelve new views of 256 pixels after one gain per picture and
channel. Seconds are those of the second fit. Writes docs/figures/path_traced.{md,json}. Needs the extras [3d]
and [synthesis].
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.bob_asset import MATERIALS, BobMaterial, bob_asset
from benchmarks.reconstruction.bob_captures import LIGHTS, SIDE, UNSEEN, as_capture, bob_cameras, bob_pictures
from benchmarks.reconstruction.eight_views import relit_asset, relit_views, view_scores
from clearpane.evaluation.tables import write_text
from clearpane.mitsuba_variant import use_variant
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.fitting.path_traced import PathTracedSettings, fit_path_traced
from clearpane.reconstruction.fitting.schedule import STEPS, Quality, RefineSettings
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture, make_asset


@dataclass(frozen=True)
class Options:
    """Measure the path-traced fit."""

    data: Positional[Path]
    """Folder with environments, materials and objects/bob."""
    quality: Quality = "standard"
    """Length of the fit before."""
    traced: PathTracedSettings = field(default_factory=PathTracedSettings)
    """Settings of the path-traced fit."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""
    cache: Path = ROOT / "build" / "benchmarks" / "reconstruction"
    """Folder of rendered views."""


def relit_scores(options: Options, asset: Asset, material: BobMaterial) -> dict[str, float]:
    """Compare an asset with the truth under the unseen environment."""
    truth = bob_pictures(options.data, material, UNSEEN, options.cache)
    made = relit_asset(asset, options.data)
    return view_scores(relit_views(made.linear, made.masks, truth), truth)


def measure_material(options: Options, material: BobMaterial) -> dict[str, Any]:
    """Fit one material, before and after."""
    pictures = bob_pictures(options.data, material, LIGHTS[0], options.cache)
    capture = as_capture(pictures, bob_cameras())
    settings = ReconstructSettings(SIDE, RefineSettings(STEPS[options.quality]))
    made = make_asset(fit_capture(capture, settings), capture, settings)
    started = time.monotonic()
    fitted = fit_path_traced(made.asset, capture, made.refined.environment.numpy(), options.traced)
    seconds = time.monotonic() - started
    true = bob_asset(options.data, material)
    scores = {
        name: relit_scores(options, asset, material) | {"roughness": float(asset.roughness.mean())}
        for name, asset in (("before", made.asset), ("after", fitted.asset), ("the true asset", true))
    }
    few = max(1, len(fitted.errors) // 10)
    return {
        "scores": scores,
        "seconds": seconds,
        "errors": [float(np.mean(part)) for part in (fitted.errors[:few], fitted.errors[-few:])],
    }


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    rows = []
    for material, found in document["materials"].items():
        for name, scores in found["scores"].items():
            seconds = f"{found['seconds']:.0f}" if name == "after" else ""
            numbers = [f"{scores[key]:.2f}" for key in ("psnr", "object", "roughness")]
            rows.append([material, name, *numbers, seconds])
    traced = document["traced"]
    return (
        "# Materials by path tracing\n\n"
        f"bob under {LIGHTS[0]}, eight views; relit under {UNSEEN}: PSNR in dB of twelve new views on white "
        f"and of the object's pixels. Before: after {document['steps']} steps of the field's fit. After: "
        f"{traced['steps']} more steps, each of one view of {traced['side']} x {traced['side']} pixels with "
        f"{traced['samples']} paths of at most {traced['depth']} segments, textures of {traced['texture']} "
        "pixels. The roughness is the mean over the texture.\n\n"
        + table(["material", "asset", "relit, dB", "object's", "roughness", "s"], rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Measure both materials; return the table."""
    use_variant("auto")
    document: dict[str, Any] = {
        "steps": STEPS[options.quality],
        "traced": asdict(options.traced),
        "machine": describe_machine(),
        "materials": {},
    }
    for material in MATERIALS:
        document["materials"][material] = measure_material(options, material)
        write_text(options.output / "path_traced.json", json.dumps(document, indent=1) + "\n", overwrite=True)
        write_page(options.output / "path_traced.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
