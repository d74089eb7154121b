"""From photographs to an asset: cut out, begun, fitted, baked."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clearpane.geometry.mesh import Mesh
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.baking import AssetSettings, bake_asset
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter
from clearpane.reconstruction.capture.cropping import Capture, load_capture
from clearpane.reconstruction.capture.masks import Segmenter
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.fitting.refine import Refined, RefineSettings, refine
from clearpane.reconstruction.fitting.starting import start_from_hull, start_from_lirm
from clearpane.reconstruction.lirm.model import Lirm


@dataclass(frozen=True)
class ReconstructSettings:
    """How photographs become an asset.

    Attributes:
        side: to which the views are cut out and resized, pixels.
        refining: how the object is fitted to them.
        fineness: of what comes out.
    """

    side: int = 256
    refining: RefineSettings = field(default_factory=lambda: RefineSettings(300.0))
    fineness: AssetSettings = field(default_factory=AssetSettings)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What was made of photographs.

    Attributes:
        asset: in the photographs' world, turned so that +y is up; see `in_photographs_world`.
        refined: the object as a field, in the cube's world, and the light that it was seen in.
        warnings: for the user: what of the photographs was left out, or contradicts the others.
    """

    asset: Asset
    refined: Refined
    warnings: tuple[str, ...] = ()


def reconstruct(
    views: str | Path,
    settings: ReconstructSettings = ReconstructSettings(),
    masks: str | Path | None = None,
    segmenter: Segmenter = backdrop_segmenter,
    lirm: Lirm | None = None,
    on_progress: Callable[[float, float], None] | None = None,
) -> Reconstruction:
    """Make an asset of photographs.

    ``clearpane.save_asset(clearpane.reconstruct("duck").asset, Path("duck.glb"))`` is all it takes.

    Args:
        views: see `clearpane.reconstruction.capture.opening.open_views`.
        masks: folder of masks.
        segmenter: finds the object in photographs that have no mask.
        lirm, on_progress: as for `reconstruct_capture`.

    Raises:
        ClearpaneError: the photographs cannot be used, or show no object.
        MissingExtraError: a package of the extra [3d] is not installed.
    """
    photographs = open_views(Path(views), None if masks is None else Path(masks))
    capture = load_capture(photographs, settings.side, segmenter)
    made = reconstruct_capture(capture, settings, lirm, on_progress)
    return replace(made, warnings=photographs.warnings + capture.warnings)


def reconstruct_capture(
    capture: Capture,
    settings: ReconstructSettings,
    lirm: Lirm | None = None,
    on_progress: Callable[[float, float], None] | None = None,
) -> Reconstruction:
    """Make an asset of views that are cut out: `fit_capture`, then `make_asset`."""
    return make_asset(fit_capture(capture, settings, lirm, on_progress), capture, settings)


def fit_capture(
    capture: Capture,
    settings: ReconstructSettings,
    lirm: Lirm | None = None,
    on_progress: Callable[[float, float], None] | None = None,
) -> Refined:
    """Fit an object to views that are cut out.

    Args:
        capture: as `clearpane.reconstruction.capture.cropping.load_capture` gives it.
        lirm: where it begins; without it, at the visual hull.
        on_progress: as for `clearpane.reconstruction.fitting.refine.refine`.
    """
    start = (
        start_from_hull(capture, settings.refining.seed) if lirm is None else start_from_lirm(capture, lirm)
    )
    return refine(capture, start, settings.refining, on_progress)


def make_asset(refined: Refined, capture: Capture, settings: ReconstructSettings) -> Reconstruction:
    """Triangles and textures of a fitted object.

    Raises:
        ClearpaneError: nothing is left of the object.
        MissingExtraError: a package of the extra [3d] is not installed.
    """
    asset = bake_asset(refined.field, settings.fineness)
    return Reconstruction(in_photographs_world(asset, capture.placement), refined)


def in_photographs_world(asset: Asset, placement: Placement) -> Asset:
    """An asset of the cube's world as large as the photographs' world has it, and where; +y is up.

    The rotation stays: ``x / scale + rotation @ centre``. Where the photographs' z is up, that is glTF's
    usual change of axes, ``(x, y, z) -> (x, z, -y)``: programs that turn it back agree with the photographs.
    """
    moved = asset.mesh.vertices / placement.scale + placement.rotation @ placement.centre
    return replace(asset, mesh=Mesh(np.asarray(moved), asset.mesh.faces))
