"""3D objects: from photographs, and in other light."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from clearpane.images.picture import to_8bit
from clearpane.images.video import write_video
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.reconstruction.asset.asset import save_asset
from clearpane.reconstruction.asset.baking import AssetSettings
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.fitting.contact_sheet import contact_sheet
from clearpane.reconstruction.fitting.schedule import STEPS, FitProgress, Quality, RefineSettings
from clearpane.reconstruction.lirm.weights_file import load_lirm, weights_file
from clearpane.reconstruction.reconstruct import ReconstructSettings, StageReport, reconstruct
from clearpane.reconstruction.relighting.lighting import Environment, load_environment
from clearpane.reconstruction.relighting.lights import made_light
from clearpane.reconstruction.relighting.relight import RelightSettings
from clearpane.reconstruction.relighting.relit_pictures import Turntable, as_picture, on_white, relit_views

Start = Literal["hull", "lirm-small"]
_SHARES = {"open": 0.02, "cut out": 0.1, "fit": 0.2, "bake": 0.9}
_SHEET_SIDE, _PICTURE_SIDE, _FILM_SIDE = 256, 512, 384  # pixels
_FILM_VIEWS, _FILM_RATE = 48, 16

OnProgress = Callable[[float, str], None]
"""Called with the share that is done and with what is done now; raises to stop."""


@dataclass(frozen=True)
class Made:
    """A reconstructed object.

    Attributes:
        asset: GLB file.
        sheet: Picture that compares some views with the object.
        views, triangles: Counts.
        psnr: PSNR of pixels of the photographs that were held out of the fit, dB.
        seconds: Time it took.
        warnings: Sentences on what was left out.
    """

    asset: Path
    sheet: Path
    views: int
    triangles: int
    psnr: float
    seconds: float
    warnings: tuple[str, ...]


def make_object(
    views: Path, masks: Path | None, folder: Path, recipe: tuple[Quality, Start], on_progress: OnProgress
) -> Made:
    """Reconstruct an object from photographs.

    Args:
        views: Folder of photographs, with poses or without.
        masks: Folder of masks.
        folder: Folder for the results.
        recipe: Length of the fit, and its starting point.
        on_progress: Function called at each stage and during the fit.

    Raises:
        ClearpaneError: the photographs cannot be used, or show no object.
    """
    started = time.monotonic()
    quality, start = recipe
    lirm = load_lirm(weights_file(Path(start))) if start != "hull" else None
    low, high = _SHARES["fit"], _SHARES["bake"]

    def on_stage(report: StageReport) -> None:
        on_progress(_SHARES[report.stage], report.step)

    def on_fit(fit: FitProgress) -> None:
        on_progress(low + (high - low) * fit.share, f"{fit.psnr:.1f} dB, {fit.seconds_left:.0f} s")

    settings = ReconstructSettings(refining=RefineSettings(STEPS[quality]), fineness=AssetSettings())
    made = reconstruct(views, settings, masks, lirm=lirm, on_stage=on_stage, on_progress=on_fit)
    asset, sheet = folder / "object.glb", folder / "views.jpg"
    save_asset(made.asset, asset, overwrite=True)
    Image.fromarray(to_8bit(contact_sheet(made.capture, made.refined, _SHEET_SIDE))).save(sheet, quality=90)
    return Made(
        asset,
        sheet,
        len(made.capture.names),
        len(made.asset.mesh.faces),
        made.refined.psnr,
        time.monotonic() - started,
        made.warnings,
    )


def find_light(name: str, file: Path | None) -> Environment:
    """Return the light from a file, or else one of `LIGHTS`.

    Raises:
        ClearpaneError: the file is no environment map.
    """
    return load_environment(file) if file is not None else made_light(name)


def light_picture(
    asset: Path, light: Environment, folder: Path, settings: RelightSettings, on_step: OnProgress
) -> Path:
    """Render an object in a light: a PNG of 512 pixels.

    Raises:
        ClearpaneError: the file is no object, or a package is missing.
    """
    turntable = Turntable(size=_PICTURE_SIDE, rendering=settings)
    views = relit_views(
        load_asset(asset), light, turntable, [0], lambda step, steps: on_step(step / steps, "")
    )
    path = folder / "relit.png"
    return write_picture(path, as_picture(next(views), "png"), WriteOptions(overwrite=True))


def light_film(asset: Path, light: Environment, folder: Path, on_progress: OnProgress) -> Path:
    """Render an object turning round in a light: an MP4 of 384 pixels and three seconds, quickly shaded.

    Raises:
        ClearpaneError: the file is no object, or a package is missing.
    """
    rendering = RelightSettings(preview=True, background="environment")
    turntable = Turntable(_FILM_VIEWS, size=_FILM_SIDE, rendering=rendering)
    frames = []
    for rendered in relit_views(load_asset(asset), light, turntable, range(_FILM_VIEWS)):
        frames.append(to_8bit(on_white(as_picture(rendered, "png"))))
        on_progress(len(frames) / _FILM_VIEWS, f"{len(frames)} / {_FILM_VIEWS}")
    path = folder / "turntable.mp4"
    write_video(path, frames, _FILM_RATE, overwrite=True)
    return path
