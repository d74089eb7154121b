"""``clearpane relight``: render an asset under an HDR map, as pictures and a video."""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.progress import BatchProgress, PictureFacts, print_error
from clearpane.errors import ClearpaneError
from clearpane.images.picture import to_8bit
from clearpane.images.reading import read_picture
from clearpane.images.video import write_video
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.locks import only_run
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.reading import load_asset
from clearpane.reconstruction.relighting.lighting import Environment, load_environment
from clearpane.reconstruction.relighting.relight import Background, RelightSettings
from clearpane.reconstruction.relighting.relit_pictures import (
    PictureKind,
    RelitFolder,
    Turntable,
    as_picture,
    on_white,
    relit_views,
)

DESCRIPTION = """\
Show a 3D object in other light: an asset made by clearpane reconstruct, or any
GLB file, lit by an equirectangular HDR map (.hdr or .exr; polyhaven.com has
free ones). Pictures are path-traced, with shadows and reflections. --preview
takes seconds, without most shadows.

The pictures are OUTPUT/ASSET_MAP_000.png and so on, on a transparent
background. Existing pictures are kept: after an interruption, run the same
command again to resume.

Examples:
  clearpane relight duck.glb --environment sunset.hdr --output duck
  clearpane relight duck.glb --environment sunset.hdr --output look --preview
      a fast preview
  clearpane relight duck.glb --environment sunset.hdr --output duck \\
      --samples 32 --denoise --background environment
      good quality in a fraction of the time, in front of the surroundings
  clearpane relight duck.glb --environment sunset.hdr --output turn \\
      --turntable
      all round the object: 72 pictures and a video of them
  clearpane relight duck.glb --environment sunset.hdr --output day \\
      --views 48 --turn light --turntable
      the light goes round the object instead of the camera
  clearpane relight duck.glb --environment sunset.hdr --output linear \\
      --format exr
      linear light, for compositing
"""

_MOST_VIEWS, _LARGEST = 999, 8192
_TURN = 72  # views of a turntable; three seconds of video


@dataclass(frozen=True)
class Relight:
    """Show a 3D object in other light."""

    asset: Annotated[Positional[Path], arg(metavar="FILE.glb", help_behavior_hint="")]
    """The object: GLB (binary glTF 2.0) with metallic-roughness materials."""

    environment: Annotated[Path, arg(metavar="MAP.hdr", help_behavior_hint="(required)")]
    """The light: an equirectangular HDR map, .hdr or .exr."""

    output: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder for the pictures; created if it does not exist."""

    views: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: 1, or 72 with --turntable)")
    ] = None
    """Number of pictures, spread evenly all round the object."""

    turn: Annotated[Literal["camera", "light"], arg(help_behavior_hint="(default: camera)")] = "camera"
    """Turn the camera or the light between pictures."""

    size: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 512)")] = 512
    """Width and height of the pictures in pixels."""

    azimuth: Annotated[float, arg(metavar="DEGREES", help_behavior_hint="(default: 0)")] = 0.0
    """Direction of the first view: 0 from the front, 90 from the right, 180 from behind."""

    elevation: Annotated[float, arg(metavar="DEGREES", help_behavior_hint="(default: 20)")] = 20.0
    """Height of the camera above the horizon: 0 level, 89 from the top."""

    background: Annotated[Background, arg(help_behavior_hint="(default: transparent)")] = "transparent"
    """Background of the pictures; environment shows the HDR map itself."""

    exposure: Annotated[float, arg(metavar="STOPS", help_behavior_hint="(default: 0)")] = 0.0
    """Exposure: each stop doubles the light, each stop below 0 halves it. A radiance of 1 is white; anything
    brighter is clipped."""

    preview: Annotated[bool, arg(help_behavior_hint="")] = False
    """Shade in seconds instead of tracing paths: no noise, but the only shadows are those in the asset's
    occlusion texture, and no part of the object lights another."""

    samples: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 128)")] = 128
    """Paths per pixel. Four times as many take four times as long and halve the noise."""

    denoise: Annotated[bool, arg(help_behavior_hint="")] = False
    """Remove noise with Open Image Denoise; 32 samples are then enough."""

    seed: Annotated[int, arg(metavar="K", help_behavior_hint="(default: 0)")] = 0
    """Random seed: the same number gives the same picture."""

    format: Annotated[PictureKind, arg(help_behavior_hint="(default: png)")] = "png"
    """png is for screens (sRGB, 8 bits, clipped at white); exr holds linear light, not clipped."""

    turntable: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also make a video of the pictures, OUTPUT/ASSET_MAP.mp4 (H.264), with a white background if
    transparent."""

    rate: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 24)")] = 24
    """Frames per second of the video."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Render all pictures again; existing pictures of the same names and the video are removed first."""

    json: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print one line of JSON for each picture, for scripts."""

    @property
    def count(self) -> int:
        """Number of pictures."""
        return self.views if self.views is not None else _TURN if self.turntable else 1

    @property
    def plan(self) -> Turntable:
        """Views and lights of the pictures."""
        settings = RelightSettings(self.samples, self.preview, self.background, self.denoise, self.seed)
        return Turntable(
            self.count, self.turn, self.size, self.azimuth, self.elevation, self.exposure, settings
        )

    @property
    def place(self) -> RelitFolder:
        """Folder and file names of the pictures."""
        return RelitFolder(self.output, f"{self.asset.stem}_{self.environment.stem}")

    @property
    def pictures(self) -> list[Path]:
        """Paths of the pictures."""
        return [self.place.picture(view, self.format) for view in range(self.count)]


def run(options: Relight) -> int:
    """Render the missing pictures.

    Returns:
        0 if all are finished, 1 after a failure, 130 if interrupted; finished pictures are kept.

    Raises:
        ClearpaneError: An option or input is invalid; nothing was done.
    """
    _check(options)
    asset = load_asset(options.asset)
    environment = load_environment(options.environment)
    made_with = options.plan.made_with(options.asset, options.environment)
    with only_run(options.output):
        options.place.prepare(made_with, options.format, options.turntable, options.overwrite)
        return _render(options, asset, environment)


def _render(options: Relight, asset: Asset, environment: Environment) -> int:
    """Render the pictures that are missing, and the film; the exit code."""
    todo = [view for view, path in enumerate(options.pictures) if not path.exists()]
    interrupted, failed = False, False
    with BatchProgress(len(todo), options.json) as progress:
        for view, path in enumerate(options.pictures):
            if view not in todo:
                progress.end(_facts(options, view, path, "skipped"))
        try:
            pictures = relit_views(asset, environment, options.plan, todo, progress.step)
            for view in todo:
                progress.begin(f"view {view + 1} of {options.count}")
                started = time.perf_counter()
                path = options.pictures[view]
                write_picture(path, as_picture(next(pictures), options.format), WriteOptions())
                facts = _facts(options, view, path)
                facts.seconds = round(time.perf_counter() - started, 3)
                progress.end(facts)
            if options.turntable:
                frames = (to_8bit(on_white(read_picture(path))) for path in options.pictures)
                write_video(options.place.film, frames, options.rate, overwrite=True)
        except KeyboardInterrupt:
            interrupted = True
        except ClearpaneError as error:
            print_error(str(error))
            failed = True
    _summarise(options, progress, len(todo), interrupted, failed)
    return 130 if interrupted else int(failed)


def _check(options: Relight) -> None:
    ranges = {
        "views": (options.count, 1, _MOST_VIEWS),
        "size": (options.size, 16, _LARGEST),
        "samples": (options.samples, 1, 2**20),
        "rate": (options.rate, 1, 240),
    }
    for name, (value, least, most) in ranges.items():
        if not least <= value <= most:
            raise UsageError(f"--{name} {value}: give {least} to {most}")
    if not -90 < options.elevation < 90:
        raise UsageError(f"--elevation {options.elevation:g}: give more than -90 and less than 90 degrees")
    if not math.isfinite(options.azimuth) or not abs(options.exposure) <= 32:
        raise UsageError("--azimuth takes degrees, --exposure takes stops from -32 to 32")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: give 0 or more")
    if options.turn == "light" and options.count == 1:
        raise UsageError("--turn light needs --views 2 or more")
    if options.preview and options.denoise:
        raise UsageError("--denoise cannot be combined with --preview, which has no noise")
    if options.turntable and options.count == 1:
        raise UsageError("--turntable needs --views 2 or more")
    if options.turntable and options.size % 2:
        raise UsageError(f"--size {options.size}: a video needs an even size")
    if options.output.is_file():
        raise UsageError(f"--output {options.output} is a file; name a folder")


def _facts(
    options: Relight, view: int, path: Path, status: Literal["done", "skipped"] = "done"
) -> PictureFacts:
    return PictureFacts(
        f"view {view + 1} of {options.count}",
        status,
        {"picture": str(path)},
        options.size,
        options.size,
    )


def _summarise(
    options: Relight, progress: BatchProgress, total: int, interrupted: bool, failed: bool
) -> None:
    counts = progress.counts
    if interrupted or failed:
        again = "the same command without --overwrite" if options.overwrite else "the same command"
        print(
            f"{'interrupted' if interrupted else 'stopped'}: {counts['done']} of {total} done; run {again} "
            "again to resume",
            file=sys.stderr,
        )
        return
    parts = [f"{counts['done']} done"]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped because they exist (--overwrite renders them again)")
    if options.turntable:
        parts.append(f"video {options.place.film}")
    print("; ".join(parts), file=sys.stderr)
