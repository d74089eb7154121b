"""Render pictures of an asset under other light, from one side or all around, into a folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.images.picture import Picture
from clearpane.json_files import parse_untyped
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.relighting.lighting import Environment
from clearpane.reconstruction.relighting.relight import OnStep, RelightSettings, relight
from clearpane.reconstruction.relighting.turntable import turntable_cameras

PictureKind = Literal["png", "exr"]
_FILM = "mp4"
# Settings that a preview ignores.
_OF_PATHS = ("samples", "denoise", "seed")


@dataclass(frozen=True)
class Turntable:
    """Configure the pictures to render.

    Attributes:
        views: Number of views, evenly spaced all around.
        turn: Part that turns from one view to the next: the camera, or the light around the fixed object.
        size: Side of the square pictures, pixels.
        azimuth, elevation: Direction of the first camera, degrees (`turntable_cameras`).
        exposure: Exposure of the light, stops.
        rendering: Settings of each rendering.
    """

    views: int = 1
    turn: Literal["camera", "light"] = "camera"
    size: int = 512
    azimuth: float = 0.0
    elevation: float = 20.0
    exposure: float = 0.0
    rendering: RelightSettings = field(default_factory=RelightSettings)

    def made_with(self, asset: Path, environment: Path) -> dict[str, Any]:
        """List everything that the pictures depend on, the files by their hashes."""
        own = {**asdict(self), **asdict(self.rendering)}
        unused = ("rendering", *(_OF_PATHS if self.rendering.preview else ()))
        files = {"asset": asset, "environment": environment}
        return {
            **{name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
            **{name: value for name, value in own.items() if name not in unused},
        }


def relit_views(
    asset: Asset,
    environment: Environment,
    turntable: Turntable,
    views: Sequence[int],
    on_step: OnStep | None = None,
) -> Iterator[np.ndarray]:
    """Render some of the views, one after the other: [S, S, 4] float32, see `relight`.

    Args:
        views: Indices of the views, from 0.

    Raises:
        ClearpaneError, MissingExtraError: See `relight`.
    """
    if not views:
        return
    light = environment.exposed(turntable.exposure)
    round_it = turntable.turn == "camera"
    cameras = turntable_cameras(
        asset.mesh,
        turntable.views if round_it else 1,
        turntable.size,
        turntable.elevation,
        turntable.azimuth,
    )
    if round_it:
        yield from relight(asset, light, cameras[list(views)], turntable.rendering, on_step)
        return
    for view in views:
        turned = light.turned(360 * view / turntable.views)
        yield from relight(asset, turned, cameras, turntable.rendering, on_step)


def as_picture(rendered: np.ndarray, kind: PictureKind) -> Picture:
    """Prepare a rendered picture for a file.

    Args:
        rendered: Linear light premultiplied by coverage, and coverage, [H, W, 4].
    """
    share = rendered[..., 3]
    colour = rendered[..., :3] / np.where(share > 0, share, 1)[..., None]
    alpha = None if (share == 1).all() else share
    return Picture(linear_to_srgb(colour), kind, "half" if kind == "exr" else "uint8", alpha=alpha)


def on_white(picture: Picture) -> np.ndarray:
    """Convert a picture to a video frame [H, W, 3], sRGB in [0, 1]: transparent pixels become white."""
    pixels = np.clip(picture.pixels, 0, 1)
    if picture.alpha is None:
        result: np.ndarray = pixels
        return result
    share = picture.alpha[..., None]
    return np.asarray(linear_to_srgb(srgb_to_linear(pixels) * share + 1 - share))


@dataclass(frozen=True)
class RelitFolder:
    """Name the files in a folder: FOLDER/NAME_000.png and so on, a video NAME.mp4, and NAME.json.

    NAME.json records the settings that each kind of file was made with.
    """

    folder: Path
    name: str

    def picture(self, view: int, kind: PictureKind) -> Path:
        """Return the path of a view's picture."""
        return self.folder / f"{self.name}_{view:03d}.{kind}"

    @property
    def film(self) -> Path:
        """Return the path of the video."""
        return self.folder / f"{self.name}.{_FILM}"

    def prepare(
        self, made_with: dict[str, Any], kind: PictureKind, film: bool = False, overwrite: bool = False
    ) -> None:
        """Make the folder, check that its pictures have the same settings, and record these.

        Args:
            made_with: Settings from `Turntable.made_with`.
            film: True if a video will be written too.
            overwrite: Remove the pictures of this kind, and the video, instead of checking.

        Raises:
            ClearpaneError: The folder has pictures of this kind, or a video, with other settings; or it
                cannot be written to.
        """
        pictures = [self.picture(view, kind) for view in range(made_with["views"])]
        files: dict[str, list[Path]] = {kind: pictures, **({_FILM: [self.film]} if film else {})}
        before = self._record()
        try:
            for name, paths in files.items():
                there = [path for path in paths if path.exists()]
                if there and not overwrite:
                    _compare(there[0], before.get(name), made_with)
            if overwrite:
                for path in (*pictures, self.film):
                    path.unlink(missing_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ClearpaneError(f"{self.folder}: cannot write there ({error.strerror})") from error
        with atomic_path(self._record_path, overwrite=True) as temporary:
            record = {**before, **dict.fromkeys(files, made_with)}
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    @property
    def _record_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    def _record(self) -> dict[str, Any]:
        """Read the record of each kind of file; empty where it is missing or damaged."""
        try:
            record = parse_untyped(self._record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def _compare(there: Path, before: Any, wanted: dict[str, Any]) -> None:
    if isinstance(before, dict):
        changed = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
    else:
        changed = ["settings that are not known"]
    if changed:
        what = changed[0] if len(changed) == 1 else f"{', '.join(changed[:-1])} and {changed[-1]}"
        raise ClearpaneError(
            f"{there}: exists already, made with other {what}; name another folder, or give `overwrite` to "
            "make all pictures again"
        )
