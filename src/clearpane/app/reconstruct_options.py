"""The options of ``clearpane reconstruct``."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.reconstruction.asset.asset import FORMATS, check_asset_path
from clearpane.reconstruction.fitting.schedule import Quality
from clearpane.reconstruction.progressive import SUFFIX
from clearpane.separation.registry import MODELS, embedded_models

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

If the photographs were taken through glass, such as a display case's pane,
use --through-glass: reflections are taken out of each, at one exposure for
all, and what moves over the object as the camera moves counts less.

Examples:
  clearpane reconstruct duck --output duck.glb
  clearpane reconstruct duck/transforms.json --output duck.glb --quality fine
  clearpane reconstruct duck --output duck.glb --masks duck/masks
  clearpane reconstruct duck --output duck.glb \\
      --segmenter "rembg i {input} {output}"
  clearpane reconstruct duck --output duck.glb --weights lirm-small
  clearpane reconstruct case --output vase.glb --through-glass
  clearpane reconstruct duck --output duck.glb --save-state duck.safetensors
  clearpane reconstruct more --output better.glb --update duck.safetensors
  clearpane reconstruct captures --output objects --ray auto
      makes objects/NAME/NAME.glb of each folder captures/NAME, on a cluster
"""


@dataclass(frozen=True)
class Reconstruct:
    """Make a relightable 3D object from photographs of it."""

    views: Annotated[Positional[Path], arg(metavar="VIEWS", help_behavior_hint="")]
    """Photographs, with or without camera poses."""

    output: Annotated[Path, arg(metavar="FILE.glb", help_behavior_hint="(required)")]
    """Asset to write: .glb holds all materials, .obj and .ply only the base colour. Beside it go
    FILE_views.jpg, which compares some views with the result, and FILE_transforms.json if camera poses were
    estimated. With --ray: folder of the results."""

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
    """File for what --update needs of all views so far, without their pictures: 30 MB, however many they are.
    LIRM makes it: that of --weights, or lirm-small."""

    update: Annotated[Path | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None
    """Improve the object of a file that --save-state wrote by new views, with poses in the same world. What
    was added to the object since then appears, and what was taken away goes."""

    through_glass: Annotated[bool, arg(help_behavior_hint="")] = False
    """The photographs were taken through a flat pane: take its reflections out of them."""

    model: Annotated[str, arg(metavar="compact|DIR", help_behavior_hint="(default: compact)")] = "compact"
    """With --through-glass: model that takes the reflections out. DIR is the directory of a trained one, or
    its name on the model hub."""

    seed: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 0)")] = 0
    """Random seed."""

    ray: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Reconstruct many objects on a Ray cluster, as in clearpane remove: VIEWS is a folder with a folder for
    each object, and --output the folder of the results. Both may be addresses such as s3://bucket/folder.
    Objects that are finished are skipped. Needs the extra [cluster]."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace existing files."""


def check_options(options: Reconstruct) -> None:
    """Raise UsageError if an option is invalid, before any work is done."""
    _check_numbers(options)
    if options.model != Reconstruct.model and not options.through_glass:
        raise UsageError("--model belongs to --through-glass; give both")
    if options.model in MODELS and options.model not in embedded_models():
        raise UsageError(f"--model {options.model}: name the directory of its weights: --model DIR")
    if options.ray is not None:
        _check_many(options)
    else:
        _check_outputs(options)


def _check_outputs(options: Reconstruct) -> None:
    try:
        check_asset_path(options.output, options.overwrite)
    except ClearpaneError as error:
        raise UsageError(f"--output {error}") from error
    if options.save_state is not None and options.save_state.suffix != SUFFIX:
        raise UsageError(f"--save-state {options.save_state}: name a file that ends in {SUFFIX}")
    if options.save_state is not None and os.path.lexists(options.save_state) and not options.overwrite:
        raise UsageError(f"{options.save_state}: exists already; --overwrite replaces it")
    for name in ("views.jpg", "transforms.json"):
        path = beside(options.output, name)
        if os.path.lexists(path) and not options.overwrite:
            raise UsageError(f"{path}: exists already; --overwrite replaces it")


def _check_numbers(options: Reconstruct) -> None:
    for name, least in (("side", 32), ("faces", 100), ("texture", 16), ("resolution", 16)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} {getattr(options, name)}: give {least} or more")
    if options.time_limit is not None and not 0 <= options.time_limit < math.inf:
        raise UsageError(f"--time-limit {options.time_limit:g}: give a time of 0 seconds or more")


def _check_many(options: Reconstruct) -> None:
    """Raise UsageError for what does not go with a folder of captures."""
    if options.output.suffix.lower() in FORMATS:
        raise UsageError(f"--output {options.output}: with --ray, name a folder for all results")
    for name in ("masks", "pictures", "save_state", "update"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} belongs to one object and does not go with --ray")


def beside(output: Path, name: str) -> Path:
    """Name a file beside an asset.

    >>> beside(Path("duck.glb"), "views.jpg").as_posix()
    'duck_views.jpg'
    """
    return output.with_name(f"{output.stem}_{name}")
