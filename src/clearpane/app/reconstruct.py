"""``clearpane reconstruct``: from photographs of an object to a relightable asset."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.progress import StepProgress, print_error
from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.asset.asset import check_asset_path, save_asset
from clearpane.reconstruction.asset.baking import AssetSettings
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter
from clearpane.reconstruction.capture.cropping import load_capture
from clearpane.reconstruction.capture.masks import command_segmenter
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.transforms import write_transforms
from clearpane.reconstruction.fitting.contact_sheet import contact_sheet
from clearpane.reconstruction.fitting.refine import RefineSettings
from clearpane.reconstruction.lirm.weights_file import load_lirm, weights_file
from clearpane.reconstruction.reconstruct import ReconstructSettings, fit_capture, make_asset

DESCRIPTION = """\
Make a relightable 3D object from photographs of it.

VIEWS is a folder of photographs taken from all around, a transforms.json
(NeRF, instant-ngp, Stanford-ORB) or a folder with one, or a COLMAP model
beside its pictures. Eight views are good, more are better; the object stands
still, and the light stays. Poses of plain photographs are found first.

What is the object is said by masks (a folder with a picture for each
photograph, white where the object is), by the photographs' alpha, by a
program of your own (--segmenter), or, before a plain backdrop, by itself.

Photographs taken through glass: clearpane remove first, then this.

Examples:
  clearpane reconstruct duck --output duck.glb
  clearpane reconstruct duck/transforms.json --output duck.glb --refine 600
  clearpane reconstruct duck --output duck.glb --masks duck/masks
  clearpane reconstruct duck --output duck.glb \\
      --segmenter "rembg i {input} {output}"
  clearpane reconstruct duck --output duck.glb --weights lirm-small
"""

_SHEET_SIDE = 256


@dataclass(frozen=True)
class Reconstruct:
    """Make a relightable 3D object from photographs of it."""

    views: Annotated[Positional[Path], arg(metavar="VIEWS", help_behavior_hint="")]
    """Photographs, with poses or without."""

    output: Annotated[Path, arg(metavar="FILE.glb", help_behavior_hint="(required)")]
    """The asset: .glb holds everything; .obj and .ply have the base colour alone. Beside it lies a picture of
    some views and what was made of them, FILE_views.jpg; and where poses had to be found, these, as
    FILE_transforms.json."""

    masks: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of masks, named as the photographs. Usually that named masks beside them, if there is one."""

    segmenter: Annotated[str | None, arg(metavar="COMMAND", help_behavior_hint="")] = None
    """A program that finds the object in photographs without a mask: {input} is the photograph, {output} the
    mask that it is to write, white where the object is."""

    refine: Annotated[float, arg(metavar="SECONDS", help_behavior_hint="(default: 300)")] = 300.0
    """The time for fitting the object to the photographs; it ends when nothing improves, or at Ctrl-C,
    and the asset is what was fitted until then."""

    side: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 256)")] = 256
    """The views are cut out and resized to so many pixels a side."""

    faces: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 30000)")] = 30_000
    """The most triangles."""

    texture: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 1024)")] = 1024
    """The side of the textures."""

    resolution: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 192)")] = 192
    """Cells along a side of the grid in which the surface is looked for."""

    weights: Annotated[Path | None, arg(metavar="lirm-small|FILE", help_behavior_hint="")] = None
    """Begin with what LIRM makes of the views: with the weights that come with Clearpane, or with a file that
    clearpane train lirm wrote. Without, it begins with the visual hull."""

    seed: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 0)")] = 0
    """Chance in the fitting."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace an asset that is there."""


def run(options: Reconstruct) -> int:
    """Run the command; the exit code."""
    check(options)
    started = time.monotonic()
    settings = ReconstructSettings(
        options.side,
        RefineSettings(options.refine, options.seed),
        AssetSettings(options.resolution, options.faces, options.texture),
    )
    lirm = None if options.weights is None else load_lirm(weights_file(options.weights))
    segmenter = backdrop_segmenter if options.segmenter is None else command_segmenter(options.segmenter)
    with StepProgress() as steps:
        photographs = open_views(options.views, options.masks, steps.begin)
        for warning in photographs.warnings:
            print_error(f"{options.views}: {warning}", kind="warning")
        if photographs.poses_found:  # whatever comes: they took minutes
            poses = _beside(options.output, "transforms.json")
            write_transforms(photographs, poses, options.overwrite)
            print(
                f"{options.views} -> {poses} (the poses; name it in the place of the photographs)", flush=True
            )
        steps.begin(f"cutting out {len(photographs.photographs)} views")
        capture = load_capture(photographs, settings.side, segmenter)
        for warning in capture.warnings:
            print_error(f"{options.views}: {warning}", kind="warning")
        steps.begin("fitting", options.refine)
        refined = fit_capture(capture, settings, lirm, steps.advance)
        steps.begin("making triangles and textures")
        made = make_asset(refined, capture, settings)
        steps.begin("writing")
        save_asset(made.asset, options.output, options.overwrite)
        sheet = _beside(options.output, "views.jpg")
        with atomic_path(sheet, options.overwrite) as temporary:
            Image.fromarray(to_8bit(contact_sheet(capture, refined, _SHEET_SIDE))).save(
                temporary, "JPEG", quality=90
            )
    if refined.interrupted:
        print_error("interrupted: the asset is what was fitted until then", kind="warning")
    print(
        f"{options.views} -> {options.output}, {sheet} ({len(capture.names)} views, "
        f"{len(made.asset.mesh.faces)} triangles; {refined.started_psnr:.1f} -> {refined.psnr:.1f} dB in "
        f"{refined.steps} steps; {time.monotonic() - started:.0f} s)"
    )
    return 130 if refined.interrupted else 0


def check(options: Reconstruct) -> None:
    """Raise an error where the command asks for what cannot be, before anything is done."""
    try:
        check_asset_path(options.output, options.overwrite)
    except ClearpaneError as error:
        raise UsageError(f"--output {error}") from error
    for name, least in (("side", 32), ("faces", 100), ("texture", 16), ("resolution", 16)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} {getattr(options, name)}: give {least} or more")
    for name in ("views.jpg", "transforms.json"):
        path = _beside(options.output, name)
        if os.path.lexists(path) and not options.overwrite:
            raise UsageError(f"{path}: is there already; --overwrite replaces it")
    if not 0 <= options.refine < math.inf:
        raise UsageError(f"--refine {options.refine:g}: give a time of 0 seconds or more")


def _beside(output: Path, name: str) -> Path:
    return output.with_name(f"{output.stem}_{name}")
