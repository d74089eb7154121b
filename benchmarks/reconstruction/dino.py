"""Reconstruct a real object, Middlebury's dino: eight photographs are given, eight are compared.

    python -m benchmarks.reconstruction.dino DATA

Loads DATA/views/dino, a matt plaster model before black with exact cameras; every other photograph is given,
the rest held out. Their object's pixels are compared with the fit and with three baselines that are not
fitted. Writes docs/figures/dino.{md,json,jpg}. Needs the extra [3d].
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.view_baselines import hull_views, nearest_views, untrained_field, visual_hull
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.cameras import Cameras
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.capture.cropping import Capture, cut_out, load_capture
from clearpane.reconstruction.capture.cutting_out import load_photograph
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.photographs import PhotographSet
from clearpane.reconstruction.field.rendering import RenderOptions, render_views
from clearpane.reconstruction.fitting.contact_sheet import render_fitted
from clearpane.reconstruction.fitting.refine import LAST_BETA, Refined
from clearpane.reconstruction.fitting.schedule import STEPS, Quality, RefineSettings
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture

ROWS = {
    "radiance field": "the radiance field",
    "materials": "its materials in the learnt light",
    "hull": "visual hull with projected colours",
    "untrained": "lirm-small before its training",
    "nearest": "nearest input view",
}
# Every n-th photograph is given; those between are held out.
_EVERY = 2
_SHOWN = 4
_OPTIONS = RenderOptions(LAST_BETA, samples=96, occupancy=48)


@dataclass(frozen=True)
class Options:
    """Reconstruct a real object."""

    data: Positional[Path]
    """Folder with views/dino."""
    side: int = 224
    """Side of the views, pixels; the object fills about two thirds of it."""
    quality: Quality = "standard"
    """Length of the fit."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of dino.md, dino.json and dino.jpg."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out photographs, cropped as the given ones.

    Attributes:
        pictures: Views on white [V, 3, S, S], sRGB in [0, 1].
        masks: Coverage by the object [V, 1, S, S].
        cameras: Cameras in the cube's world.
    """

    pictures: Tensor
    masks: Tensor
    cameras: Cameras


def split(photographs: PhotographSet) -> tuple[PhotographSet, PhotographSet]:
    """Return the given photographs and the held-out ones."""
    posed = photographs.photographs
    given = replace(photographs, photographs=posed[::_EVERY])
    return given, replace(photographs, photographs=tuple(p for p in posed if p not in given.photographs))


def crop_held_out(photographs: PhotographSet, capture: Capture) -> HeldOut:
    """Crop held-out photographs around the box that the given ones found."""
    side = capture.cameras.width
    views = [
        cut_out(photograph, *load_photograph(photograph), capture.placement, side)
        for photograph in photographs.photographs
    ]
    pictures, masks, poses, intrinsics = (torch.stack(parts) for parts in zip(*views, strict=True))
    return HeldOut(pictures, masks, Cameras(poses, intrinsics, side, side))


def object_psnr(shown: Tensor, truth: HeldOut) -> list[float]:
    """Compute the PSNR of each view's object pixels, 8 bits, dB."""
    scores = []
    for result, wanted, mask in zip(shown, truth.pictures, truth.masks, strict=True):
        a, b = (to_8bit(x.permute(1, 2, 0).numpy()) for x in (result, wanted))
        inside = mask[0].numpy() > 0.5
        scores.append(psnr(a[inside][None], b[inside][None]))
    return scores


def new_views(refined: Refined, capture: Capture, truth: HeldOut) -> dict[str, Tensor]:
    """Render the held-out views by the fit and by the baselines."""
    fitted = render_fitted(refined, truth.cameras)
    hull = visual_hull(capture.masks, capture.cameras)
    return {
        "radiance field": fitted["colour"],
        "materials": fitted["lit"],
        "hull": hull_views(hull, capture.pictures, capture.masks, capture.cameras, truth.cameras),
        "untrained": render_views(untrained_field(capture), truth.cameras, _OPTIONS)["colour"].clamp(0, 1),
        "nearest": nearest_views(capture.pictures, capture.cameras, truth.cameras),
        "albedo": fitted["albedo"],
        "normal": fitted["normal"],
    }


def write_sheet(path: Path, truth: HeldOut, views: dict[str, Tensor]) -> None:
    """Write some held-out views, a row each: truth, field, materials, albedo, normals, hull, nearest."""
    shown = np.linspace(0, len(truth.pictures) - 1, _SHOWN).round().astype(int).tolist()
    columns = ("radiance field", "materials", "albedo", "normal", "hull", "untrained", "nearest")
    rows = [torch.cat([truth.pictures[i], *(views[name][i] for name in columns)], dim=-1) for i in shown]
    sheet = Image.fromarray(to_8bit(torch.cat(rows, dim=-2).permute(1, 2, 0).numpy()))
    with atomic_path(path, overwrite=True) as temporary:
        sheet.save(temporary, "JPEG", quality=88)


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    rows = [
        [title, f"{np.mean(document['psnr'][name]):.2f}", f"{np.min(document['psnr'][name]):.2f}"]
        for name, title in ROWS.items()
    ]
    return (
        "# A real object\n\n"
        "Middlebury's dino, a matt plaster model before black with exact cameras: "
        f"{document['given']} photographs are given, the {document['held_out']} between them are compared, "
        f"{document['side']} x {document['side']} pixels, the object's pixels alone, 8 bits. Masks are found "
        f"by the backdrop. The fit made {document['steps']} steps, from {document['started']:.1f} to "
        f"{document['fitted']:.1f} dB on pixels of the given views that it did not see.\n\n"
        + table(["", "held-out views, dB", "the worst"], rows)
        + "\n![From left to right: a held-out photograph, the radiance field, the materials in the learnt "
        "light, albedo, normals, the hull, lirm-small before its training, the nearest view](dino.jpg)\n\n"
        f"<sub>{document['seconds']:.0f} s; {Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Reconstruct the object; return the table."""
    started = time.monotonic()
    given, held_out = split(open_views(options.data / "views" / "dino"))
    settings = ReconstructSettings(options.side, RefineSettings(STEPS[options.quality]))
    capture = load_capture(given, options.side)
    truth = crop_held_out(held_out, capture)
    refined = fit_capture(capture, settings)
    views = new_views(refined, capture, truth)
    document = {
        "given": len(capture.names),
        "held_out": len(truth.pictures),
        "side": options.side,
        "steps": refined.steps,
        "started": refined.started_psnr,
        "fitted": refined.psnr,
        "psnr": {name: object_psnr(views[name], truth) for name in ROWS},
        "seconds": time.monotonic() - started,
        "machine": describe_machine(),
    }
    text = render(document)
    write_text(options.output / "dino.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "dino.md", text, __spec__.name)
    write_sheet(options.output / "dino.jpg", truth, views)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
