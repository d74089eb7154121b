"""Reconstruct an asset from photographs: open, cut out, fit, bake, look for failures."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from clearpane.geometry.mesh import Mesh
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.baking import AssetSettings, bake_asset
from clearpane.reconstruction.capture.cropping import Capture, load_capture
from clearpane.reconstruction.capture.masks import Segmenter
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.photographs import PhotographSet
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.capture.through_glass import Remover
from clearpane.reconstruction.failures.detectors import Detection, find_failures
from clearpane.reconstruction.fitting.agreement import with_weights
from clearpane.reconstruction.fitting.albedo_detail import detailed_albedo
from clearpane.reconstruction.fitting.path_traced import PathTracedSettings, fit_path_traced
from clearpane.reconstruction.fitting.refine import Refined, refine
from clearpane.reconstruction.fitting.schedule import FitProgress, RefineSettings
from clearpane.reconstruction.fitting.starting import start_from_hull, start_from_lirm, start_from_memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.progressive import ObjectState, Rounds, refuse_unknown_poses

# Path tracing shows finer light than the field's fit: texels of its map become so many a side.
_LIGHT_DETAIL = 2

Stage = Literal["open", "cut out", "fit", "bake", "trace"]
"""Stages of a reconstruction, in order."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconstructSettings:
    """Configure a reconstruction.

    Attributes:
        side: Side to which the views are cropped and resized, pixels.
        refining: Settings of the fit.
        fineness: Settings of the mesh and its textures.
        tracing: Settings of the fit of materials by path tracing, which needs LLVM; None to leave it out.
    """

    side: int = 256
    refining: RefineSettings = field(default_factory=RefineSettings)
    fineness: AssetSettings = field(default_factory=AssetSettings)
    tracing: PathTracedSettings | None = None


@dataclass(frozen=True, eq=False)
class StageReport:
    """Report the stage that begins, and the results of the earlier stages.

    Attributes:
        stage: Stage that begins or continues.
        step: Description for the user, such as "matching 28 pairs of photographs".
        photographs: Photographs with their poses; None during the stage "open".
        capture: Cropped views; None before the stage "fit".
    """

    stage: Stage
    step: str
    photographs: PhotographSet | None = None
    capture: Capture | None = None


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Hold the result of a reconstruction.

    Attributes:
        asset: Asset in the photographs' world, turned so that +y is up; see `in_photographs_world`.
        refined: The object as a field, in the cube's world, and the light in the photographs.
        capture: Cropped views that the object was fitted to.
        failures: Failures that were found in the asset.
        warnings: Messages for the user: photographs that were left out or contradict the others, and the
            failures.
        state: What later rounds of views need of all views so far; None without `rounds`.
    """

    asset: Asset
    refined: Refined
    capture: Capture
    failures: tuple[Detection, ...] = ()
    warnings: tuple[str, ...] = ()
    state: ObjectState | None = None


def reconstruct(
    views: str | Path,
    settings: ReconstructSettings = ReconstructSettings(),
    masks: str | Path | None = None,
    segmenter: Segmenter | None = None,
    lirm: Lirm | None = None,
    on_stage: Callable[[StageReport], object] = lambda report: None,
    on_progress: Callable[[FitProgress], None] | None = None,
    pictures: str | Path | None = None,
    rounds: Rounds | None = None,
    remover: Remover | None = None,
) -> Reconstruction:
    """Reconstruct an asset from photographs.

    ``clearpane.save_asset(clearpane.reconstruct("duck").asset, Path("duck.glb"))`` is all it takes.

    Args:
        views: Photographs; see `clearpane.reconstruction.capture.opening.open_views`.
        settings: Settings of all stages.
        masks: Folder of masks.
        segmenter: Finds the object in photographs that have no mask; by default a plain backdrop shows it, or
            else a network (`clearpane.reconstruction.capture.cutting_out.cut_out_all`).
        lirm: Network whose prediction the fit starts from; None to start from the visual hull.
        on_stage: Called at the beginning of each stage, and of each step of finding poses.
        on_progress: Called during the stage "fit", as in `clearpane.reconstruction.fitting.refine.refine`.
        pictures: Folder of the photographs, where the file of poses lies elsewhere.
        rounds: Network that keeps what later views need. After earlier rounds, the new views must have poses
            in the earlier ones' world. The fit starts from the network's prediction for all views so far, and
            is made to the new views and to the pixels that are kept of the earlier ones.
        remover: Model that takes the reflections out of photographs through glass. Poses are found in the
            photographs as they are, for a flat pane's reflection stands as still as the scene; masks in what
            the model returns. What other views contradict then counts less
            (`clearpane.reconstruction.fitting.agreement`).

    Raises:
        ClearpaneError: The photographs cannot be used, show no object, or none of the earlier rounds.
        MissingExtraError: A package of the extra [3d] is not installed.

    >>> import clearpane
    >>> try:
    ...     clearpane.reconstruct("no such folder")
    ... except clearpane.ClearpaneError as error:
    ...     print(str(error).partition(";")[0])
    no such folder: no such file or folder
    """
    earlier = None if rounds is None else rounds.earlier

    def on_step(step: str) -> None:
        if earlier is not None:
            refuse_unknown_poses()
        on_stage(StageReport("open", step))

    # 1. Open the photographs; find their poses where no file gives them.
    on_stage(StageReport("open", "reading the photographs' list and poses"))
    photographs = open_views(
        Path(views),
        None if masks is None else Path(masks),
        on_step,
        None if pictures is None else Path(pictures),
    )

    # 2. Cut out the object.
    count = len(photographs.photographs)
    step = f"cutting out {count} views"
    if remover is not None:
        step = f"taking the reflections out of {count} views, and cutting them out"
    on_stage(StageReport("cut out", step, photographs))
    capture = load_capture(
        photographs, settings.side, segmenter, None if earlier is None else earlier.placement, remover
    )
    capture = capture if remover is None else with_weights(capture)

    # 3. Fit a field and the light to the views and to the pixels that are kept of earlier ones.
    on_stage(StageReport("fit", "fitting" if earlier is None else "updating", photographs, capture))
    observed = None if rounds is None else rounds.observe(capture)
    if rounds is None or observed is None or earlier is None:
        refined = fit_capture(capture, settings, lirm, on_progress)
    else:
        start = start_from_memory(observed.state.memory, rounds.lirm, settings.refining.seed)
        kept = observed.earlier.beside(capture)
        refined = refine(capture, start, settings.refining, on_progress, kept)

    # 4. Bake the field into triangles and textures.
    on_stage(StageReport("bake", "making triangles and textures", photographs, capture))
    made = make_asset(
        refined,
        capture,
        settings,
        lambda share: on_stage(
            StageReport("trace", f"tracing paths, {100 * share:.0f} %", photographs, capture)
        ),
    )
    failures = tuple(failure.message for failure in made.failures)
    warnings = photographs.warnings + capture.warnings + failures
    return replace(made, warnings=warnings, state=None if observed is None else observed.state)


def fit_capture(
    capture: Capture,
    settings: ReconstructSettings,
    lirm: Lirm | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> Refined:
    """Fit an object to cropped views.

    Args:
        capture: Views as returned by `clearpane.reconstruction.capture.cropping.load_capture`.
        settings: Settings of the fit.
        lirm: Network whose prediction the fit starts from; None to start from the visual hull.
        on_progress: See `clearpane.reconstruction.fitting.refine.refine`.
    """
    seed = settings.refining.seed
    start = start_from_hull(capture, seed) if lirm is None else start_from_lirm(capture, lirm, seed)
    return refine(capture, start, settings.refining, on_progress)


def make_asset(
    refined: Refined,
    capture: Capture,
    settings: ReconstructSettings,
    on_traced: Callable[[float], object] = lambda share: None,
) -> Reconstruction:
    """Bake a fitted object into triangles and textures; fit its materials by path tracing if that is set.

    The result lists the failures that `find_failures` detects. After an interrupted fit no paths are traced.

    Args:
        on_traced: Called with the share of the path-traced fit that is done.

    Raises:
        ClearpaneError: Nothing is left of the object; or path tracing does not run here.
        MissingExtraError: A package of the extra [3d] is not installed.
    """
    asset = bake_asset(refined.field, settings.fineness, partial(detailed_albedo, refined.field, capture))
    tracing = settings.tracing
    if tracing is not None and not refined.interrupted:
        light = refined.environment.numpy()
        light = light.repeat(_LIGHT_DETAIL, axis=0).repeat(_LIGHT_DETAIL, axis=1)
        often = max(1, tracing.steps // 20)

        def on_step(step: int) -> None:
            if step % often == 0:
                on_traced(step / tracing.steps)

        traced = fit_path_traced(asset, capture, light, tracing, on_step)
        asset, refined = traced.asset, replace(refined, interrupted=traced.interrupted)
    failures = _failures_of(asset, capture)
    return Reconstruction(in_photographs_world(asset, capture.placement), refined, capture, failures)


def _failures_of(asset: Asset, capture: Capture) -> tuple[Detection, ...]:
    """Return the failures in an asset; none if the check itself is interrupted or fails.

    A long fit must not be lost to a check of its result.
    """
    try:
        return tuple(find_failures(asset, capture))
    except KeyboardInterrupt:
        return ()
    except Exception as error:
        _log.warning("the result could not be checked: %s", error)
        return ()


def in_photographs_world(asset: Asset, placement: Placement) -> Asset:
    """Move an asset from the cube's world to its position and size in the photographs' world; +y is up.

    The rotation stays: ``x / scale + rotation @ centre``. Where the photographs' z is up, that is glTF's
    usual change of axes, ``(x, y, z) -> (x, z, -y)``: programs that undo it agree with the photographs.
    """
    moved = asset.mesh.vertices / placement.scale + placement.rotation @ placement.centre
    return replace(asset, mesh=Mesh(np.asarray(moved), asset.mesh.faces))
