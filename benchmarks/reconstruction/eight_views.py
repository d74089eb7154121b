"""Measure reconstruction from eight views: new views, new light, shape, time and memory.

    python -m benchmarks.reconstruction.eight_views DATA [--weights lirm-small|FILE]

The mesh bob with two materials, path-traced by Mitsuba under three environments: eight views of 256 pixels
are given, twelve are compared with the result, and twelve under a fourth environment. Each reconstruction
runs in its own process. Three baselines are not fitted: the visual hull with projected colours, lirm-small
before its training, and the nearest input view. Writes docs/figures/reconstruction.{md,json,jpg} and
turntable.webp. Needs the extras [3d] and [synthesis].
"""

import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
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
from benchmarks.reconstruction.bob import bob_points
from benchmarks.reconstruction.bob_asset import MATERIALS, BobMaterial, bob_asset
from benchmarks.reconstruction.bob_captures import (
    INPUTS,
    LIGHTS,
    NEW,
    SIDE,
    UNSEEN,
    Pictures,
    as_capture,
    bob_cameras,
    bob_pictures,
    environment,
)
from benchmarks.reconstruction.scores import chamfer, crossings, zero_points
from benchmarks.reconstruction.view_baselines import hull_views, nearest_views, untrained_field, visual_hull
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.mesh import surface_points
from clearpane.images.picture import to_8bit
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset, save_asset
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.field.evidence import hull_depth, voxel_centres
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import RenderOptions, render_views
from clearpane.reconstruction.fitting.contact_sheet import render_fitted
from clearpane.reconstruction.fitting.refine import LAST_BETA
from clearpane.reconstruction.fitting.schedule import STEPS, Quality, RefineSettings
from clearpane.reconstruction.lirm.weights_file import load_lirm, trained_environments, weights_file
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture, make_asset
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.reconstruction.relighting.turntable import turntable_cameras

_OPTIONS = RenderOptions(LAST_BETA, samples=96, occupancy=48)
_RELIT_SAMPLES, _SURFACE_POINTS = 32, 20_000
_FRAMES, _FRAME_SIDE = 24, 224
ROWS = {
    "radiance field": "the radiance field",
    "materials": "its materials in the learnt light",
    "hull": "visual hull with projected colours",
    "untrained": "lirm-small before its training",
    "nearest": "nearest input view",
    "truth": "the true asset: the noise of the pictures",
}


@dataclass(frozen=True)
class Options:
    """Measure reconstruction and relighting."""

    data: Positional[Path]
    """Folder with environments, materials and objects/bob."""
    weights: Path | None = None
    """LIRM weights to start from, a file or lirm-small; default: start from the visual hull."""
    quality: Quality = "standard"
    """Length of the fit."""
    threads: int = 2
    """CPU threads."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables and pictures."""
    cache: Path = ROOT / "build" / "benchmarks" / "reconstruction"
    """Folder of rendered views and assets."""


def reconstruct_alone(
    options: Options, material: BobMaterial, light: str
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Run one reconstruction in its own process: its cost, and the new views."""
    torch.set_num_threads(options.threads)
    cameras = bob_cameras()
    capture = as_capture(bob_pictures(options.data, material, light, options.cache), cameras)
    lirm = None if options.weights is None else load_lirm(weights_file(options.weights))
    started = time.monotonic()
    settings = ReconstructSettings(SIDE, RefineSettings(STEPS[options.quality]))
    made = make_asset(fit_capture(capture, settings, lirm), capture, settings)
    cost = {
        "seconds": time.monotonic() - started,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "steps": float(made.refined.steps),
        "started": made.refined.started_psnr,
        "fitted": made.refined.psnr,
    }
    save_asset(made.asset, asset_path(options, material, light), overwrite=True)
    return cost, render_fitted(made.refined, cameras[INPUTS:])


def asset_path(options: Options, material: str, light: str) -> Path:
    """Return the path of an asset."""
    return options.cache / f"{material.replace(' ', '-')}-{light}.glb"


def view_scores(shown: Tensor, truth: Pictures) -> dict[str, float]:
    """Average over views: PSNR of the whole picture on white and of the object's pixels, 8 bits, dB."""
    rows = []
    for result, wanted, mask in zip(shown, truth.shown, truth.masks, strict=True):
        a, b = (to_8bit(x.permute(1, 2, 0).numpy()) for x in (result, wanted))
        inside = mask[0].numpy() > 0.5
        rows.append((psnr(a, b), psnr(a[inside][None], b[inside][None])))
    whole, inside = np.mean(rows, axis=0).tolist()
    return {"psnr": whole, "object": inside}


def relit_views(linear: Tensor, masks: Tensor, truth: Pictures) -> Tensor:
    """Show results in the truth's light, on white, after one gain per picture and channel.

    Args:
        linear, masks: Light on black [V, 3, H, W], and the object's coverage [V, 1, H, W].
    """
    inside = truth.masks > 0.5
    product, square = ((x * inside).sum((-2, -1), keepdim=True) for x in (linear * truth.linear, linear**2))
    own = linear * (product / square.clamp(min=1e-9)) / masks.clamp(min=1e-4)
    return linear_to_srgb(own.clamp(0, 1)) * masks + 1 - masks


def relit_asset(asset: Asset, data: Path) -> Pictures:
    """Render an asset under the unseen environment, from the new views."""
    light = environment(data, UNSEEN)
    made = relight(asset, light, bob_cameras()[INPUTS:], RelightSettings(_RELIT_SAMPLES, denoise=True))
    whole = torch.stack([torch.from_numpy(picture).movedim(-1, 0) for picture in made])
    return Pictures(whole[:, :3], whole[:, 3:].clamp(0, 1))


@cache
def relit_truth(data: Path, material: BobMaterial) -> Pictures:
    """Render the best possible result, with its noise."""
    return relit_asset(bob_asset(data, material), data)


def baselines(pictures: Pictures, hull: Tensor, field: HexaplaneField) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the new views on white and their masks for each baseline that is not fitted."""
    cameras = bob_cameras()
    given, wanted = cameras[:INPUTS], cameras[INPUTS:]
    seen = pictures[:INPUTS]
    inside = (hull_depth(hull, wanted) > 0).float()[:, None]
    untrained = render_views(field, wanted, _OPTIONS)
    return {
        "hull": (hull_views(hull, seen.shown, seen.masks, given, wanted), inside),
        "untrained": (untrained["colour"].clamp(0, 1), untrained["mask"]),
        "nearest": (nearest_views(seen.shown, given, wanted), nearest_views(seen.masks, given, wanted)),
    }


def measure_capture(options: Options, material: BobMaterial, light: str) -> dict[str, Any]:
    """Compute all figures of one reconstruction, and its row of the contact sheet."""
    pictures = bob_pictures(options.data, material, light, options.cache)
    unseen = bob_pictures(options.data, material, UNSEEN, options.cache)
    truth = pictures[INPUTS:]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        cost, views = pool.submit(reconstruct_alone, options, material, light).result()
    asset = load_asset(asset_path(options, material, light))
    relit = relit_asset(asset, options.data)
    shown = relit_views(relit.linear, relit.masks, unseen)
    surface = bob_points(options.data / "objects" / "bob", _SURFACE_POINTS)
    made = torch.from_numpy(surface_points(asset.mesh, _SURFACE_POINTS)).float()
    hull = visual_hull(pictures[:INPUTS].masks, bob_cameras()[:INPUTS])
    true = relit_truth(options.data, material)
    rows = {
        "radiance field": {"new": view_scores(views["colour"], truth)},
        "materials": {
            "new": view_scores(views["lit"], truth),
            "relit": view_scores(shown, unseen),
            "chamfer": chamfer(made, surface),
        },
    }
    sheet = [truth.shown[0], views["colour"][0], views["lit"][0], unseen.shown[0], shown[0]]
    sheet += [views["albedo"][0], views["normal"][0]]
    untrained = untrained_field(as_capture(pictures, bob_cameras()))
    for name, (colours, masks) in baselines(pictures, hull, untrained).items():
        linear = srgb_to_linear(((colours - (1 - masks)) / masks.clamp(min=1e-4)).clamp(0, 1)) * masks
        rows[name] = {
            "new": view_scores(colours, truth),
            "relit": view_scores(relit_views(linear, masks, unseen), unseen),
        }
        sheet.append(colours[0])
    points = crossings(0.5 - hull, voxel_centres(hull.shape[-1], hull))
    rows["hull"]["chamfer"] = chamfer(points, surface)
    rows["untrained"]["chamfer"] = chamfer(zero_points(untrained), surface)
    rows["truth"] = {
        "relit": view_scores(relit_views(true.linear, true.masks, unseen), unseen),
        "chamfer": chamfer(surface[::2], surface[1::2]),
    }
    return {"rows": rows, "cost": cost, "sheet": torch.cat(sheet, dim=-1)}


def write_turntable(options: Options, path: Path) -> None:
    """Write an animated WebP of the first asset turning under the unseen environment."""
    asset = load_asset(asset_path(options, MATERIALS[0], LIGHTS[0]))
    cameras = turntable_cameras(asset.mesh, _FRAMES, _FRAME_SIDE)
    light = environment(options.data, UNSEEN)
    frames = []
    for picture in relight(asset, light, cameras, RelightSettings(preview=True, background="white")):
        frames.append(Image.fromarray(to_8bit(linear_to_srgb(np.clip(picture[..., :3], 0, 1)))))
    with atomic_path(path, overwrite=True) as temporary:
        frames[0].save(
            temporary, "WEBP", save_all=True, append_images=frames[1:], duration=110, loop=0, quality=80
        )


def spread(values: list[float]) -> str:
    """Format mean and standard deviation."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    head = ["", "new views, dB", "object's", "relit, dB", "object's", "Chamfer, mm"]
    parts = [
        "# From eight views to a relightable asset\n\n"
        f"bob, path-traced under {len(document['lights'])} environments (± standard deviation over them): "
        f"{document['inputs']} views of {document['side']} x {document['side']} pixels are given; compared "
        f"are {document['new']} new ones, whole pictures on white, 8 bits, and the object's pixels alone. "
        "Relit is the written GLB, path-traced under another environment, after one gain per picture and "
        "channel (Stanford-ORB's); the baselines keep their colours there, with the same gain. Chamfer is "
        "the mean of both directions for an object a metre long. It is an easy case: poses and masks are "
        "exact, the given views are the farthest apart of twenty, and Mitsuba renders truth and result with "
        "one material model, the result with 32 samples and a denoiser. The fit started from "
        f"{document['start']} and had {document['steps']} steps."
    ]
    for material, runs in document["runs"].items():
        rows = []
        for name, title in ROWS.items():
            row = [title]
            for kind in ("new", "relit"):
                for key in ("psnr", "object"):
                    found = [r["rows"][name].get(kind) for r in runs.values()]
                    values = [scores[key] for scores in found if scores]
                    row.append(spread(values) if values else "")
            found = [r["rows"][name]["chamfer"] for r in runs.values() if "chamfer" in r["rows"][name]]
            rows.append([*row, spread(found) if found else ""])
        cost = [r["cost"] for r in runs.values()]
        parts.append(
            f"## {material}\n\n"
            + table(head, rows)
            + f"\n{spread([c['seconds'] for c in cost])} s per reconstruction, from views to asset; "
            f"{max(c['gigabytes'] for c in cost):.1f} GiB at most; "
            f"{spread([c['steps'] for c in cost])} steps, from {spread([c['started'] for c in cost])} to "
            f"{spread([c['fitted'] for c in cost])} dB on pixels of the given views that it did not see."
        )
    parts.append(
        "![From left to right: a new view, the radiance field, the materials in the learnt light, the truth "
        "under another light, the asset there, albedo, normals, the hull, lirm-small before its training, "
        "the nearest view]"
        "(reconstruction.jpg)"
    )
    return "\n\n".join(parts) + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"


def start_of(weights: Path | None) -> str:
    """Describe the start of the fit, and which of the measured lights its weights were trained under."""
    if weights is None:
        return "the visual hull"
    trained = {PurePosixPath(name).stem for name in trained_environments(weights_file(weights))}
    seen = [light for light in LIGHTS if light in trained]
    return f"`{weights.name}`" + (f", which was trained under {' and '.join(seen)} too" if seen else "")


def measure(options: Options) -> str:
    """Reconstruct all captures; return the tables."""
    document: dict[str, Any] = {
        "lights": LIGHTS,
        "inputs": INPUTS,
        "new": NEW,
        "side": SIDE,
        "steps": STEPS[options.quality],
        "start": start_of(options.weights),
        "machine": describe_machine(),
        "runs": {},
    }
    rows = []
    for material in MATERIALS:
        runs = document["runs"][material] = {}
        for light in LIGHTS:
            result = measure_capture(options, material, light)
            rows.append(result.pop("sheet"))
            runs[light] = result
            scores = result["rows"]["radiance field"]["new"], result["rows"]["materials"]["relit"]
            print(f"{material}, {light}: new {scores[0]['psnr']:.2f}, relit {scores[1]['psnr']:.2f} dB")
            numbers = json.dumps(document, indent=1) + "\n"
            write_text(options.output / "reconstruction.json", numbers, overwrite=True)
            write_page(options.output / "reconstruction.md", render(document), __spec__.name)
    sheet = Image.fromarray(to_8bit(torch.cat(rows, dim=-2).permute(1, 2, 0).numpy()))
    with atomic_path(options.output / "reconstruction.jpg", overwrite=True) as temporary:
        sheet.save(temporary, "JPEG", quality=88)
    write_turntable(options, options.output / "turntable.webp")
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
