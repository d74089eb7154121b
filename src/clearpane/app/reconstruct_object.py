"""Make and write the asset of one object."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clearpane.app.reconstruct_options import Reconstruct, beside
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.asset.asset import save_asset
from clearpane.reconstruction.asset.baking import AssetSettings
from clearpane.reconstruction.capture.masks import command_segmenter
from clearpane.reconstruction.capture.through_glass import Remover
from clearpane.reconstruction.capture.transforms import write_transforms
from clearpane.reconstruction.fitting.contact_sheet import contact_sheet
from clearpane.reconstruction.fitting.schedule import STEPS, FitProgress, RefineSettings
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.weights_file import LIRM_SMALL_WEIGHTS, load_lirm, weights_file
from clearpane.reconstruction.progressive import Rounds, load_state, save_state
from clearpane.reconstruction.reconstruct import Reconstruction, ReconstructSettings, StageReport, reconstruct
from clearpane.separation.separator import load_separator

_SHEET_SIDE = 256


@dataclass(frozen=True, eq=False)
class Made:
    """Hold a reconstruction and what it was made with.

    Attributes:
        reconstruction: Reconstruction of the object.
        rounds: Network that keeps what later views need; None if that was not asked for.
    """

    reconstruction: Reconstruction
    rounds: Rounds | None


def make_object(
    options: Reconstruct,
    on_stage: Callable[[StageReport], object],
    on_progress: Callable[[FitProgress], None] | None = None,
) -> Made:
    """Reconstruct one object, without writing it; the callbacks are those of `reconstruct`.

    Raises:
        ClearpaneError: The photographs or the weights cannot be used.
    """
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
    remover = _remover(options.model) if options.through_glass else None
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
        remover=remover,
    )
    return Made(made, rounds)


def write_object(made: Made, options: Reconstruct) -> Path:
    """Write the asset and what goes beside it; return the path of the sheet of views.

    Raises:
        ClearpaneError: A file cannot be written.
    """
    found = made.reconstruction
    if options.save_state and made.rounds and found.state:
        save_state(options.save_state, found.state, made.rounds.lirm, options.overwrite)
    save_asset(found.asset, options.output, options.overwrite)
    sheet = beside(options.output, "views.jpg")
    with atomic_path(sheet, options.overwrite) as temporary:
        Image.fromarray(to_8bit(contact_sheet(found.capture, found.refined, _SHEET_SIDE))).save(
            temporary, "JPEG", quality=90
        )
    return sheet


def write_poses(report: StageReport, options: Reconstruct) -> Path | None:
    """Save poses that were just estimated, since they took minutes; return the path of their file."""
    if report.stage != "cut out" or report.photographs is None or not report.photographs.poses_found:
        return None
    poses = beside(options.output, "transforms.json")
    write_transforms(report.photographs, poses, options.overwrite)
    return poses


def _remover(model: str) -> Remover:
    """Load the model that takes reflections out of photographs."""
    separator = load_separator(model)

    def remove(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layers = separator.separate(pixels)
        return layers.transmission, layers.reflection

    return remove


def _rounds(options: Reconstruct, lirm: Lirm | None) -> Rounds | None:
    """Load what --save-state and --update need."""
    if options.save_state is None and options.update is None:
        return None
    remembering = lirm or load_lirm(LIRM_SMALL_WEIGHTS)
    earlier = None if options.update is None else load_state(options.update, remembering)
    return Rounds(remembering, earlier)
