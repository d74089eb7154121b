"""``clearpane reconstruct``: make a relightable asset from photographs of an object."""

import math
import os
import time
from collections.abc import Sequence
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
from clearpane.named_files import lies_in
from clearpane.reconstruction.asset.asset import check_asset_path, save_asset
from clearpane.reconstruction.asset.baking import AssetSettings
from clearpane.reconstruction.capture.masks import command_segmenter
from clearpane.reconstruction.capture.transforms import write_transforms
from clearpane.reconstruction.fitting.contact_sheet import contact_sheet
from clearpane.reconstruction.fitting.schedule import STEPS, FitProgress, Quality, RefineSettings
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.weights_file import LIRM_SMALL_WEIGHTS, load_lirm, weights_file
from clearpane.reconstruction.progressive import SUFFIX, Rounds, load_state, save_state
from clearpane.reconstruction.reconstruct import ReconstructSettings, StageReport, reconstruct

DESCRIPTION = """\
Make a relightable 3D object from photographs of it.

VIEWS is a folder of photographs taken from all sides, a transforms.json
(NeRF, instant-ngp, Stanford-ORB) or a folder with one, or a COLMAP model
beside its pictures. Use eight views or more. Neither the object nor the light
may move between them. Camera poses are estimated if they are missing.

The object is cut out by masks (a folder with one picture for each photograph,
white on the object), by the photographs' alpha channel, or by a program of
your choice (--segmenter). A plain backdrop needs none of these; before other
backdrops, a small network finds what stands out. A photograph that does not
show the object is left out if eight others do.

If the photographs were taken through glass, run clearpane remove first.

Examples:
  clearpane reconstruct duck --output duck.glb
  clearpane reconstruct duck/transforms.json --output duck.glb --quality fine
  clearpane reconstruct duck --output duck.glb --masks duck/masks
  clearpane reconstruct duck --output duck.glb \\
      --segmenter "rembg i {input} {output}"
  clearpane reconstruct duck --output duck.glb --weights lirm-small
  clearpane reconstruct duck --output duck.glb --save-state duck.safetensors
  clearpane reconstruct more --output better.glb --update duck.safetensors
"""

_SHEET_SIDE = 256


@dataclass(frozen=True)
class Reconstruct:
    """Make a relightable 3D object from photographs of it."""

    views: Annotated[Positional[Path], arg(metavar="VIEWS", help_behavior_hint="")]
    """Photographs, with or without camera poses."""

    output: Annotated[Path, arg(metavar="FILE.glb", help_behavior_hint="(required)")]
    """Asset to write: .glb holds all materials, .obj and .ply only the base colour. Beside it go
    FILE_views.jpg, which compares some views with the result, and FILE_transforms.json if camera poses were
    estimated."""

    masks: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of masks named like the photographs. Default: the folder "masks" beside them, if it exists."""

    pictures: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the photographs, where VIEWS is a file or model of poses that lies elsewhere. Files of poses
    cannot name pictures outside their own folder and this one."""

    segmenter: Annotated[str | None, arg(metavar="COMMAND", help_behavior_hint="")] = None
    """Command that makes a mask for a photograph without one: it reads {input}, the photograph, and writes
    {output}, a mask that is white on the object."""

    quality: Annotated[Quality, arg(help_behavior_hint="(default: standard)")] = "standard"
    """Length of the fit to the photographs: 400 steps for a draft, 1700 (about five minutes on two cores) or
    5000. The fit stops early when it no longer improves, or at Ctrl-C; the asset is then written as fitted so
    far."""

    time_limit: Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="")] = None
    """Longest time for the fit. A fit that would take longer makes fewer steps. Default: no limit."""

    side: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 256)")] = 256
    """Side in pixels that the views are cropped and resized to."""

    faces: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 30000)")] = 30_000
    """Largest number of triangles."""

    texture: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 1024)")] = 1024
    """Side of the textures in pixels."""

    resolution: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 192)")] = 192
    """Number of cells along each side of the grid that the surface is extracted from."""

    weights: Annotated[Path | None, arg(metavar="lirm-small|FILE", help_behavior_hint="")] = None
    """Start the fit from LIRM's prediction: lirm-small, which comes with Clearpane, or a file that clearpane
    train lirm wrote. Default: start from the visual hull."""

    save_state: Annotated[Path | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None
    """File for what --update needs of all views so far, without their pictures: 29 MB, however many they are.
    LIRM makes it: that of --weights, or lirm-small."""

    update: Annotated[Path | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None
    """Improve the object of a file that --save-state wrote by new views, with poses in the same world. The
    asset is then LIRM's prediction for all views so far; it is not fitted."""

    seed: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 0)")] = 0
    """Random seed."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace existing files."""


def run(options: Reconstruct) -> int:
    """Run the command and return the exit code."""
    check(options)
    started = time.monotonic()
    settings = ReconstructSettings(
        options.side,
        RefineSettings(
            STEPS[options.quality],
            math.inf if options.time_limit is None else options.time_limit,
            options.seed,
        ),
        AssetSettings(options.resolution, options.faces, options.texture),
    )
    lirm = None if options.weights is None else load_lirm(weights_file(options.weights))
    segmenter = None if options.segmenter is None else command_segmenter(options.segmenter)
    rounds = _rounds(options, lirm)
    with StepProgress() as steps:

        def on_stage(report: StageReport) -> None:
            _report_results(report, options)
            steps.begin(report.step)

        def on_progress(progress: FitProgress) -> None:
            steps.advance(progress.share, progress.psnr, progress.seconds_left)

        made = reconstruct(
            options.views,
            settings,
            options.masks,
            segmenter,
            lirm,
            on_stage,
            on_progress=on_progress,
            pictures=options.pictures,
            rounds=rounds,
        )
        steps.begin("writing")
        if options.save_state and rounds and made.state:
            save_state(options.save_state, made.state, rounds.lirm, options.overwrite)
        save_asset(made.asset, options.output, options.overwrite)
        sheet = _beside(options.output, "views.jpg")
        with atomic_path(sheet, options.overwrite) as temporary:
            Image.fromarray(to_8bit(contact_sheet(made.capture, made.refined, _SHEET_SIDE))).save(
                temporary, "JPEG", quality=90
            )
    refined = made.refined
    if refined.interrupted:
        print_error("interrupted: the asset is written as fitted so far", kind="warning")
    print(
        f"{options.views} -> {options.output}, {sheet} ({len(made.capture.names)} views, "
        f"{len(made.asset.mesh.faces)} triangles; {refined.started_psnr:.1f} -> {refined.psnr:.1f} dB in "
        f"{refined.steps} steps; {time.monotonic() - started:.0f} s)"
    )
    return 130 if refined.interrupted else 0


def _rounds(options: Reconstruct, lirm: Lirm | None) -> Rounds | None:
    """Load what --save-state and --update need."""
    if options.save_state is None and options.update is None:
        return None
    remembering = lirm or load_lirm(LIRM_SMALL_WEIGHTS)
    earlier = None if options.update is None else load_state(options.update, remembering)
    return Rounds(remembering, earlier)


def _report_results(report: StageReport, options: Reconstruct) -> None:
    """Print the finished stage's warnings; save estimated poses at once, since they took minutes."""
    if report.stage == "cut out" and report.photographs is not None:
        _warn(report.photographs.warnings, options.views)
        if report.photographs.poses_found:
            poses = _beside(options.output, "transforms.json")
            write_transforms(report.photographs, poses, options.overwrite)
            elsewhere = "" if lies_in(options.views, [poses.parent]) else f", with --pictures {options.views}"
            print(
                f"{options.views} -> {poses} (the camera poses; name this file next time to save time"
                f"{elsewhere})",
                flush=True,
            )
    elif report.stage == "fit" and report.capture is not None:
        _warn(report.capture.warnings, options.views)


def _warn(warnings: Sequence[str], views: Path) -> None:
    for warning in warnings:
        print_error(f"{views}: {warning}", kind="warning")


def check(options: Reconstruct) -> None:
    """Raise UsageError if an option is invalid, before any work is done."""
    try:
        check_asset_path(options.output, options.overwrite)
    except ClearpaneError as error:
        raise UsageError(f"--output {error}") from error
    for name, least in (("side", 32), ("faces", 100), ("texture", 16), ("resolution", 16)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} {getattr(options, name)}: give {least} or more")
    if options.save_state is not None and options.save_state.suffix != SUFFIX:
        raise UsageError(f"--save-state {options.save_state}: name a file that ends in {SUFFIX}")
    if options.save_state is not None and os.path.lexists(options.save_state) and not options.overwrite:
        raise UsageError(f"{options.save_state}: exists already; --overwrite replaces it")
    for name in ("views.jpg", "transforms.json"):
        path = _beside(options.output, name)
        if os.path.lexists(path) and not options.overwrite:
            raise UsageError(f"{path}: exists already; --overwrite replaces it")
    if options.time_limit is not None and not 0 <= options.time_limit < math.inf:
        raise UsageError(f"--time-limit {options.time_limit:g}: give a time of 0 seconds or more")


def _beside(output: Path, name: str) -> Path:
    return output.with_name(f"{output.stem}_{name}")
