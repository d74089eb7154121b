"""``clearpane evaluate-asset``: compare a reconstructed object with test views and a scan."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.progress import print_error
from clearpane.errors import ClearpaneError
from clearpane.evaluation.objects.results import AssetResult, FolderResult, Result
from clearpane.evaluation.objects.scoring import MEASURES, ObjectScorer, ObjectScores
from clearpane.evaluation.objects.truth import ObjectTruth, find_truth
from clearpane.evaluation.tables import write_text
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.capture.masks import named
from clearpane.reconstruction.relighting.lighting import load_environment
from clearpane.reconstruction.relighting.relight import RelightSettings

DESCRIPTION = """\
Measure a reconstructed object as the Stanford-ORB benchmark does: renderings
in known light, base colour, normals and depth in the test views, and shape.
Whatever the ground truth lacks is skipped.

RESULT is an asset (.glb) in the world of the photographs with y up, as
clearpane reconstruct writes it, or a folder of finished pictures made by any
program: NAME.exr (linear light) or NAME.png for every test view, and
optionally albedo/, normal/ and depth/ (also for every view) and a mesh.

TRUTH is a folder or a transforms.json:
  transforms.json            cameras of the test views, without distortion (or
                             transforms_test.json)
  test/NAME.exr (or .png)    the test pictures; .exr also gives PSNR-H
  test_mask/NAME.png         white on the object; default: the picture's alpha
  env_map/NAME.exr (or .hdr) the surroundings, centred on the viewing direction
  albedo/NAME.png (or .exr)  base colour
  normal/NAME.npy (or .exr)  x to the camera's right, y up, z towards it
  depth/NAME.npy (or .exr)   depth along the camera's axis
  mesh.glb, .obj or .ply     a scan; .glb with y up, others in the cameras' axes
In Stanford-ORB's download, TRUTH is blender_HDR/OBJECT; the maps are read from
ground_truth/OBJECT beside it, under the names they have there.

Scores ignore brightness: pictures and base colours may have one gain per
channel, depths one gain for all views.

Examples:
  clearpane evaluate-asset teapot.glb blender_HDR/teapot_scene001
  clearpane evaluate-asset duck.glb duck-test --environment studio.hdr \\
      --json scores.json
  clearpane evaluate-asset other-program duck-test
"""


@dataclass(frozen=True)
class EvaluateAsset:
    """Measure a reconstructed object."""

    result: Annotated[Positional[Path], arg(metavar="RESULT", help_behavior_hint="")]
    """An asset (.glb), or a folder of finished pictures."""

    truth: Annotated[Positional[Path], arg(metavar="TRUTH", help_behavior_hint="")]
    """Folder of the test views, or their transforms.json."""

    environment: Annotated[Path | None, arg(metavar="MAP.hdr", help_behavior_hint="")] = None
    """Light of test views that have no env_map: an equirectangular HDR map (.hdr or .exr) in the asset's
    world."""

    samples: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 64)")] = 64
    """Paths per pixel when the asset is rendered."""

    preview: Annotated[bool, arg(help_behavior_hint="")] = False
    """Shade the asset instead of tracing paths: faster, without shadows; scores differ slightly."""

    size: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 512)")] = 512
    """Longest side of the test views; larger ones are shrunk first, as the benchmark does."""

    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the means and the scores of every view."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace the output file if it exists."""


def run(options: EvaluateAsset) -> int:
    """Measure, print the table, write the requested file and return 0.

    Raises:
        ClearpaneError: An input or the output file cannot be used.
    """
    _check(options)
    truth = find_truth(options.truth)
    for warning in truth.warnings:
        print_error(f"{options.truth}: {warning}", kind="warning")
    scorer = ObjectScorer(_result(options, truth), truth, options.size)
    for _ in _progress(scorer.score_views(), len(truth.views)):
        pass
    scores = scorer.scores()
    _print_table(Console(), options, scores)
    if options.json is not None:
        text = json.dumps(
            {"result": str(options.result), "truth": str(options.truth), **asdict(scores)}, indent=1
        )
        write_text(options.json, text + "\n", overwrite=options.overwrite)
        print(f"wrote {options.json}")
    return 0


def _check(options: EvaluateAsset) -> None:
    for name, least in (("samples", 1), ("size", 16)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} {getattr(options, name)}: give {least} or more")
    if options.json is not None and os.path.lexists(options.json) and not options.overwrite:
        raise ClearpaneError(f"{options.json}: exists already; choose another name or add --overwrite")
    if options.result.is_dir() and (options.environment is not None or options.preview):
        raise UsageError("--environment and --preview need an asset; the pictures in a folder are finished")


def _result(options: EvaluateAsset, truth: ObjectTruth) -> Result:
    if options.result.is_dir():
        return FolderResult(options.result, truth)
    environment = None if options.environment is None else load_environment(options.environment)
    dark = [view.name for view in truth.views if view.environment is None]
    if environment is None and dark:
        print_error(
            f"the light of {named(dark)} is not known (no env_map), so pictures of it are not compared; "
            "give it with --environment",
            kind="warning",
        )
    settings = RelightSettings(options.samples, options.preview)
    return AssetResult(load_asset(options.result), truth, environment, settings)


def _progress(names: Iterator[str], total: int) -> Iterator[str]:
    if not sys.stderr.isatty():
        yield from names
        return
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, speed_estimate_period=3600) as bar:
        yield from bar.track(names, total=total)


def _print_table(console: Console, options: EvaluateAsset, scores: ObjectScores) -> None:
    keys = [key for key in MEASURES if key in scores.means]
    table = Table(
        title=f"{options.truth}: {len(scores.views)} test views", box=box.SIMPLE_HEAD, show_edge=False
    )
    table.title_justify = "left"
    table.add_column("")
    for key in keys:
        table.add_column(MEASURES[key].title, justify="right", no_wrap=True)
    table.add_row(options.result.name, *(f"{scores.means[key]:.{MEASURES[key].decimals}f}" for key in keys))
    console.print(table)
