"""Measure reconstruction of an object behind glass: the pane ignored, its reflection taken out, or no pane.

    python -m benchmarks.reconstruction.through_glass DATA

bob in a display case (benchmarks/reconstruction/glass_case.py), path-traced by Mitsuba in two surroundings:
twelve photographs through the pane, from an arc before it; four new views are compared with renderings
without the pane. Poses and masks are exact. Rendered views and finished fits are kept, and a run that was
interrupted goes on from there. Writes docs/figures/through_glass.{md,json,jpg}. Needs the extras [3d] and
[synthesis].
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.eight_views import spread
from benchmarks.reconstruction.glass_case import (
    DISTANCE,
    INPUTS,
    LIGHTS,
    THICKNESS,
    WIDEST,
    CaseViews,
    case_cameras,
    case_views,
    lateral_shift,
)
from benchmarks.reconstruction.scores import chamfer, material_scores
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.cameras import Cameras, picture_rays
from clearpane.images.picture import to_8bit
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.capture.through_glass import GlassRemoval
from clearpane.reconstruction.field.rendering import Rendered, RenderOptions, render_pictures
from clearpane.reconstruction.fitting.agreement import with_weights
from clearpane.reconstruction.fitting.refine import LAST_BETA
from clearpane.reconstruction.fitting.schedule import RefineSettings
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture
from clearpane.separation.separator import load_separator

Way = Literal["ignored", "separated", "weighed", "bare", "perfect"]
WAYS: dict[Way, str] = {
    "ignored": "the pane ignored",
    "separated": "`compact`, one exposure for all",
    "weighed": "the same, views that disagree count less: `--through-glass`",
    "bare": "photographs without the pane",
    "perfect": "the true reflection subtracted, not fitted",
}
_OPTIONS = RenderOptions(LAST_BETA, samples=64, occupancy=48)
FITTED: tuple[Way, ...] = ("ignored", "separated", "weighed", "bare")
_SHOWN_INPUT, _SHOWN_NEW = 5, 1


@dataclass(frozen=True)
class Options:
    """Measure reconstruction through glass."""

    data: Positional[Path]
    """Folder with environments and objects/bob."""
    steps: int = 160
    """Steps of a fit."""
    side: int = 256
    """Side of the pictures, pixels."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables and pictures."""
    cache: Path = ROOT / "build" / "benchmarks" / "through_glass"
    """Folder of rendered views and fits."""


def photographs(case: CaseViews, way: Way) -> Tensor:
    """Return the input photographs as they are fitted: [V, 3, H, W], sRGB in [0, 1]."""
    if way == "bare":
        return case.bare.views.colour[:INPUTS]
    light = case.photographs - case.reflections if way == "perfect" else case.photographs
    shown = linear_to_srgb(light.clamp(0, 1))
    if way in ("ignored", "perfect"):
        return shown
    separator = load_separator("compact")

    def remove(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layers = separator.separate(pixels)
        return layers.transmission, layers.reflection

    glass = GlassRemoval(remove)
    pictures = [to_8bit(picture.movedim(0, -1).numpy()) / np.float32(255) for picture in shown]
    paths = [Path(str(view)) for view in range(len(pictures))]
    clean = [glass.separated(*photograph) for photograph in zip(pictures, paths, strict=True)]
    exposed = [glass.exposed(*scene) for scene in zip(clean, paths, strict=True)]
    return torch.stack([torch.from_numpy(picture).movedim(-1, 0) for picture in exposed])


def as_capture(case: CaseViews, way: Way) -> Capture:
    """Cut bob out of the photographs."""
    masks = case.bare.views.mask[:INPUTS].clamp(0, 1)
    pictures = photographs(case, way)
    if way != "bare":  # those are on white already
        pictures = (pictures * masks + 1 - masks).clamp(0, 1)
    names = tuple(f"view {view}" for view in range(INPUTS))
    placement = Placement(np.zeros(3), np.eye(3), 1.0)
    capture = Capture(pictures, masks, case.bare.cameras[:INPUTS], names, placement)
    return with_weights(capture) if way == "weighed" else capture


def fitted_views(options: Options, case: CaseViews, light: str, way: Way) -> dict[str, Tensor]:
    """Fit one row's photographs, and render the new views: colour, albedo, normal, mask, depth; once."""
    capture = as_capture(case, way)
    key = hashlib.sha256(repr((options.steps, options.side)).encode())
    for values in (capture.pictures, capture.masks, capture.weights):
        key.update(b"" if values is None else values.contiguous().numpy().tobytes())
    path = options.cache / f"{light}-{way}-{key.hexdigest()[:8]}.safetensors"
    if not path.exists():
        settings = ReconstructSettings(options.side, RefineSettings(options.steps))
        refined = fit_capture(capture, settings)

        def channels(rendered: Rendered, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
            seen = rendered.appearance
            return {
                "colour": seen.colour.clamp(0, 1),
                "albedo": seen.albedo,
                "normal": seen.normal,
                "mask": rendered.opacity,
                "depth": rendered.depth,
            }

        rendered = render_pictures(refined.field, case.bare.cameras[INPUTS:], _OPTIONS, channels)
        with atomic_path(path) as temporary:
            save_file({name: value.contiguous() for name, value in rendered.items()}, temporary)
        print(f"{light}, {way}: {refined.steps} steps, {refined.psnr:.2f} dB on held-out pixels", flush=True)
    return load_file(path)


def object_psnr(pictures: Tensor, truth: Tensor, masks: Tensor) -> dict[str, float]:
    """Average over views the PSNR of the object's pixels, dB: as they are, and after one gain for all views.

    The gain, in linear light, is the least-squares one over all views together.

    Args:
        pictures, truth: Pictures [V, 3, H, W], sRGB in [0, 1].
        masks: Coverage by the object [V, 1, H, W].
    """
    inside = (masks > 0.99).expand_as(truth)
    light, true = srgb_to_linear(pictures), srgb_to_linear(truth)
    gain = (light * true)[inside].sum() / light.square()[inside].sum()
    scores = {}
    for name, shown in (("object", pictures), ("exposed", linear_to_srgb((light * gain).clamp(0, 1)))):
        errors = [
            (a - b).square()[m].mean().clamp(min=1e-10) for a, b, m in zip(shown, truth, inside, strict=True)
        ]
        scores[name] = float(np.mean([-10 * float(error.log10()) for error in errors]))
    return scores


def seen_points(cameras: Cameras, depth: Tensor, masks: Tensor) -> Tensor:
    """Return the points that views show, from depths along their rays [V, 1, H, W]: [P, 3]."""
    origins, directions = picture_rays(cameras)
    shown = (masks[:, 0] > 0.5) & (depth[:, 0] > 0)
    return (origins + depth[:, 0, ..., None] * directions)[shown]


def scores_of(case: CaseViews, views: dict[str, Tensor] | None, way: Way) -> dict[str, float | None]:
    """Compute the figures of one row; without views, of the photographs alone."""
    new = list(range(INPUTS, len(case.bare.views.mask)))
    true = case.bare.views
    given = object_psnr(photographs(case, way), true.colour[:INPUTS], true.mask[:INPUTS])
    if views is None:
        return {"given": given["exposed"]}
    found = object_psnr(views["colour"], true.colour[new], true.mask[new])
    materials = material_scores(views, case.bare, new)
    cameras = case.bare.cameras[new]
    points = (
        seen_points(cameras, views["depth"], views["mask"]),
        seen_points(cameras, true.depth[new], true.mask[new]),
    )
    return {
        **({} if way == "bare" else {"given": given["exposed"]}),
        "object": found["object"],
        "exposed": found["exposed"],
        "albedo": materials["albedo"],
        "chamfer": chamfer(*points),
    }


def sheet_row(case: CaseViews, views: dict[Way, dict[str, Tensor]]) -> Tensor:
    """Show one photograph, and one new view of all rows: [3, H, W]."""
    weighed = as_capture(case, "weighed")
    assert weighed.weights is not None
    before = linear_to_srgb(case.photographs[_SHOWN_INPUT].clamp(0, 1))
    weights = weighed.weights[_SHOWN_INPUT].expand(3, -1, -1)
    new = [views[way]["colour"][_SHOWN_NEW] for way in FITTED]
    truth = case.bare.views.colour[INPUTS + _SHOWN_NEW]
    return torch.cat([before, photographs(case, "separated")[_SHOWN_INPUT], weights, *new, truth], dim=-1)


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    pixel = 2 * DISTANCE * np.tan(np.radians(document["field"] / 2)) / document["side"]
    rows = []
    for way, title in WAYS.items():
        found = [run[way] for run in document["runs"].values()]
        columns = ("given", "object", "exposed", "albedo", "chamfer")
        known = ([scores[name] for scores in found if name in scores] for name in columns)
        rows.append([title, *(spread(values) if values else "" for values in known)])
    shifts = ", ".join(
        f"{1000 * lateral_shift(a):.1f} mm or {lateral_shift(a) / pixel:.2f} pixels at {a:.0f} degrees"
        for a in (20.0, WIDEST)
    )
    by_light = [
        [light, *(f"{run[way]['object']:.2f}" for way in FITTED)] for light, run in document["runs"].items()
    ]
    gain, weighing = (
        np.mean([run["weighed"]["object"] - run[way]["object"] for run in document["runs"].values()])
        for way in ("ignored", "separated")
    )
    left, clean = (
        np.mean([run[way]["given"] for run in document["runs"].values()]) for way in ("weighed", "perfect")
    )
    head = ["", "given, dB", "new views, dB", "one gain", "albedo, dB", "Chamfer, mm"]
    return (
        "# An object behind glass\n\n"
        "bob, a metre long, 0.75 m behind the front of a display case: a flat pane, "
        f"{1000 * THICKNESS:.0f} mm thick, n = 1.5. {INPUTS} photographs through it, of {document['side']} x "
        f"{document['side']} pixels, from an arc of +-{WIDEST:.0f} degrees; the surroundings stand still, "
        "and their reflection moves over bob from view to view. Path-traced in "
        f"{len(document['runs'])} surroundings (± standard deviation over them), the brightest side towards "
        "the pane; poses and masks are exact. Four new views are compared with renderings without the pane. "
        f"Each fit has {document['steps']} steps.\n\n"
        + table(head, rows)
        + "\nGiven: the photographs that are fitted, against those without the pane. All PSNR are of the "
        'object\'s pixels. "Given" and "one gain" are after one gain for all views together: the pane takes '
        "8 % of the light away. Albedo is that of new views after one gain for each picture and channel. "
        "Chamfer compares the points that new views show.\n\n"
        f"`--through-glass` gains {gain:+.1f} dB over ignoring the pane; the disagreement's part is "
        f"{weighing:+.1f} dB. New views in each of the surroundings, dB:\n\n"
        + table(["", "ignored", "separated", "weighed", "without the pane"], by_light)
        + "\nThe disagreement helps where reflections are strong, and little where they are weak. What is "
        "left is mostly light that `compact` leaves on bob, neither refraction nor exposure: its photographs "
        f"have {left:.1f} dB, those with the true reflection subtracted {clean:.1f}.\n\n"
        "**Refraction** is not modelled. A pane shifts a ray sideways, without turning it, by "
        f"d sin a (1 - cos a / sqrt(n^2 - sin^2 a)): {shifts}. What it costs the photographs is in the "
        "last row, which has it, too.\n\n"
        "![From left to right: a photograph through the pane; what `compact` makes of it; the weights of its "
        "pixels; a new view from fits to the photographs as they are, separated, weighed, and without the "
        "pane; the truth](through_glass.jpg)\n\n"
        f"<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Measure all rows; return the table."""
    torch.set_num_threads(1)
    focal = float(case_cameras(options.side).intrinsics[0, 0])
    document: dict[str, Any] = {
        "side": options.side,
        "steps": options.steps,
        "field": float(np.degrees(2 * np.arctan(options.side / 2 / focal))),
        "machine": describe_machine(),
        "runs": {},
    }
    rows = []
    for light in LIGHTS:
        case = case_views(options.data, light, options.side, options.cache)
        views = {way: fitted_views(options, case, light, way) for way in FITTED}
        document["runs"][light] = {way: scores_of(case, views.get(way), way) for way in WAYS}
        rows.append(sheet_row(case, views))
    numbers = json.dumps(document, indent=1) + "\n"
    write_text(options.output / "through_glass.json", numbers, overwrite=True)
    write_page(options.output / "through_glass.md", render(document), __spec__.name)
    whole = torch.cat(rows, dim=-2)
    half = F.interpolate(whole[None], scale_factor=0.75, mode="bilinear", antialias=True)[0]
    sheet = Image.fromarray(to_8bit(half.clamp(0, 1).movedim(0, -1).numpy()))
    with atomic_path(options.output / "through_glass.jpg", overwrite=True) as temporary:
        sheet.save(temporary, "JPEG", quality=88)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
