"""``clearpane reconstruct``: make a relightable asset from photographs of an object."""

import time
from collections.abc import Sequence
from pathlib import Path

from clearpane.app.places import with_local_paths
from clearpane.app.progress import StepProgress, print_error
from clearpane.app.ray_reconstruct import reconstruct_on_ray
from clearpane.app.reconstruct_object import make_object, write_object, write_poses
from clearpane.app.reconstruct_options import DESCRIPTION, Reconstruct, check_options
from clearpane.named_files import lies_in
from clearpane.reconstruction.fitting.schedule import FitProgress
from clearpane.reconstruction.reconstruct import StageReport

__all__ = ["DESCRIPTION", "Reconstruct", "run"]


def run(options: Reconstruct) -> int:
    """Run the command and return the exit code."""
    options = with_local_paths(options, ("views", "output"), positional="views")
    check_options(options)
    if options.ray is not None:
        return reconstruct_on_ray(options)
    started = time.monotonic()
    with StepProgress() as steps:

        def on_stage(report: StageReport) -> None:
            _report_results(report, options)
            steps.begin(report.step)

        def on_progress(progress: FitProgress) -> None:
            steps.advance(progress.share, progress.psnr, progress.seconds_left)

        made = make_object(options, on_stage, on_progress)
        steps.begin("writing")
        sheet = write_object(made, options)
    found = made.reconstruction
    refined = found.refined
    _warn([failure.message for failure in found.failures], options.views)
    if refined.interrupted:
        print_error("interrupted: the asset is written as fitted so far", kind="warning")
    print(
        f"{options.views} -> {options.output}, {sheet} ({len(found.capture.names)} views, "
        f"{len(found.asset.mesh.faces)} triangles; {refined.started_psnr:.1f} -> {refined.psnr:.1f} dB in "
        f"{refined.steps} steps; {time.monotonic() - started:.0f} s)"
    )
    return 130 if refined.interrupted else 0


def _report_results(report: StageReport, options: Reconstruct) -> None:
    """Print the finished stage's warnings; save estimated poses at once."""
    if report.stage == "cut out" and report.photographs is not None:
        _warn(report.photographs.warnings, options.views)
        poses = write_poses(report, options)
        if poses is not None:
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
