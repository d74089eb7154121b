"""Read and write ``transforms.json`` as NeRF, instant-ngp and Stanford-ORB do.

Poses have OpenGL axes (x to the right, y up, z backward), and the world's z is up, unless ``up`` says
otherwise. Lengths are in the scene's own unit: instant-ngp's ``scale`` and ``offset`` concern its own cube
and are ignored.
"""

import glob
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.images.formats import PICTURE_SUFFIXES
from clearpane.json_files import parse_untyped
from clearpane.named_files import lies_in
from clearpane.reconstruction.capture.orientation import camera_orientation
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet, check_pose
from clearpane.reconstruction.capture.placement import upright

TRANSFORMS_FILES = ("transforms.json", "transforms_train.json")
"""File names in a folder; NeRF and Stanford-ORB have one file for training and one for testing."""

TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Matrix that converts the file's poses to OpenCV axes; its own inverse."""

_UPRIGHT = "exif_orientation_applied"
"""Entry of files that this program writes: cameras describe upright pictures, whatever their EXIF says."""

_LENSES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


def read_transforms(path: Path, *elsewhere: Path) -> PhotographSet:
    """Read the photographs that a file names; skip missing ones with a warning.

    Intrinsics stand at the top level or in each frame: ``fl_x``, ``fl_y``, ``cx``, ``cy``, ``k1`` to ``k3``,
    ``p1``, ``p2``, ``w``, ``h``, or ``camera_angle_x``. A name without a suffix matches a picture of any
    format. A mask is named by ``mask_path``, or lies in the folder beside the picture's that is named after
    it and ends in ``_mask``. ``up`` at the top level is a vector of the world. Cameras describe the stored
    pixels, whatever the EXIF orientation, unless their size shows otherwise (see `camera_orientation`) or the
    file has ``exif_orientation_applied``.

    Args:
        path: File; the pictures and masks that it names lie in its folder.
        elsewhere: Further folders that they may lie in.

    Raises:
        ClearpaneError: The file cannot be read, holds no usable camera, or names files outside the folders.
    """
    folders = (path.parent, *elsewhere)
    try:
        content = parse_untyped(path.read_text(encoding="utf-8-sig"))  # with or without a byte-order mark
        frames = list(content["frames"])
    except (OSError, ValueError) as error:
        raise ClearpaneError(f"{path}: cannot be read as JSON; is it a transforms.json?") from error
    except (KeyError, TypeError) as error:
        raise ClearpaneError(f"{path}: has no list of frames; is it a transforms.json?") from error
    photographs, warnings = [], []
    for index, frame in enumerate(frames):
        where = f"{path}: frame {index}"
        if not isinstance(frame, dict) or "file_path" not in frame:
            raise ClearpaneError(f"{where} names no picture (file_path)")
        picture = _named_picture(folders, str(frame["file_path"]), where)
        if picture is None:
            warnings.append(f"{frame['file_path']} is not there; it is left out")
            continue
        photographs.append(_photograph(picture, {**content, **frame}, folders, where))
    if not photographs:
        raise ClearpaneError(f"{path}: none of its {len(frames)} pictures is there; are they beside it?")
    ordered = sorted(photographs, key=lambda p: p.path.name)
    return PhotographSet(tuple(ordered), np.zeros((0, 3)), _up(content, path), tuple(warnings))


def names_frames(path: Path) -> bool:
    """Return False for a file with an empty list of frames, as some programs leave beside a COLMAP model."""
    try:
        return bool(parse_untyped(path.read_text(encoding="utf-8-sig"))["frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return True  # `read_transforms` reports the error


def _up(content: dict[str, Any], path: Path) -> np.ndarray:
    try:
        up = np.asarray(content.get("up", (0, 0, 1)), float)
    except (ArithmeticError, TypeError, ValueError):
        up = np.zeros(0)
    if up.shape != (3,) or not np.isfinite(up).all() or not up.any():
        raise ClearpaneError(f"{path}: up is {content['up']}, not three numbers that are a direction")
    return up


def _named_picture(folders: Sequence[Path], name: str, where: str) -> Path | None:
    """Find a picture by its name in the file; a backslash separates folders where no name holds one."""
    for path in dict.fromkeys(folders[0] / text for text in (name, _slashed(name))):
        found = _find_picture(path) if lies_in(path, folders) else path
        if found is not None and not lies_in(found, folders):
            raise _outside(where, name)
        if found is not None:
            return found
    return None


def _outside(where: str, name: str) -> ClearpaneError:
    return ClearpaneError(
        f"{where}: {name} lies outside the file's folder; give its folder (`pictures`), or put it beside the "
        "file"
    )


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _find_picture(path: Path) -> Path | None:
    if path.is_file():
        return path
    if path.suffix.lower() in PICTURE_SUFFIXES or not path.name or not path.parent.is_dir():
        return None
    named = path.parent.glob(f"{glob.escape(path.name)}.*")
    found = [p for p in sorted(named) if p.suffix.lower() in PICTURE_SUFFIXES]
    return found[0] if found else None


def _photograph(picture: Path, frame: dict[str, Any], folders: Sequence[Path], where: str) -> Photograph:
    model = frame.get("camera_model", "OPENCV")
    if model not in _LENSES or frame.get("is_fisheye"):
        raise ClearpaneError(f"{where}: the lens {model} is not supported; undistort the pictures first")
    try:
        pose = check_pose(np.asarray(frame["transform_matrix"], float), where) @ TO_OPENCV
        lens, size, orientation = _lens(picture, frame)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise ClearpaneError(f"{where}: its camera is not complete ({error})") from error
    return Photograph(picture, pose, lens, size, _find_mask(picture, frame, folders, where), orientation)


def _lens(picture: Path, frame: dict[str, Any]) -> tuple[Lens, tuple[int, int], int]:
    """Return the lens, the height and width that it is for, and the orientation that it does not include."""

    def number(name: str, otherwise: float) -> float:
        value = float(frame.get(name, otherwise))
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        return value

    if any(number(name, 0) for name in ("k4", "k5", "k6")):
        raise ValueError("k4 to k6 are not supported; undistort the pictures first")
    stated = None
    if "w" in frame and "h" in frame:
        width, height = int(frame["w"]), int(frame["h"])
        if min(width, height) < 1:
            raise ValueError(f"w and h are {width} and {height}; give numbers above 0")
        stated = (height, width)
    principal = (number("cx", 0), number("cy", 0)) if "cx" in frame and "cy" in frame else None
    (height, width), orientation = camera_orientation(picture, stated, principal)
    if frame.get(_UPRIGHT):
        orientation = 1
    if "fl_x" in frame:
        focal = number("fl_x", 0)
    else:
        angle = float(frame["camera_angle_x"])
        if not 0 < angle < math.pi:
            raise ValueError(f"camera_angle_x is {angle:g}; give an angle between 0 and pi")
        focal = width / 2 / math.tan(angle / 2)
    vertical = number("fl_y", focal)
    if min(focal, vertical) <= 0:
        raise ValueError("give focal lengths above 0")
    lens = Lens(
        (focal, vertical),
        (number("cx", width / 2), number("cy", height / 2)),
        (number("k1", 0), number("k2", 0), number("k3", 0)),
        (number("p1", 0), number("p2", 0)),
    )
    return lens, (height, width), orientation


def _find_mask(picture: Path, frame: dict[str, Any], folders: Sequence[Path], where: str) -> Path | None:
    if "mask_path" in frame:
        text = str(frame["mask_path"])
        # Relative to the file that names it, or to some folder above the picture.
        for parent in (folders[0], *picture.parents):
            for named in dict.fromkeys((text, _slashed(text))):
                if lies_in(parent / named, folders) and (parent / named).is_file():
                    return parent / named
        if not all(lies_in(folders[0] / named, folders) for named in (text, _slashed(text))):
            raise _outside(where, f"its mask {text}")
        raise ClearpaneError(f"{where}: its mask {text} is not there")
    beside = picture.parent.with_name(f"{picture.parent.name}_mask") / f"{picture.stem}.png"
    return beside if beside.is_file() else None


def write_transforms(photographs: PhotographSet, path: Path, overwrite: bool = False) -> None:
    """Write the known cameras to a file, so that they need not be computed again.

    Intrinsics that all photographs share stand at the top level, others in their frames. Paths of pictures
    and masks are relative to the file's folder. ``up``, as in instant-ngp, is the up direction in the file's
    world, which is not rotated; if it is not known, it is the mean of the cameras' up directions, as
    `place_object` would assume. Points and warnings are not stored.

    Raises:
        ClearpaneError: The file exists and may not be overwritten, or cannot be written.
    """
    posed = photographs.photographs
    cameras = [_camera(photograph) for photograph in posed]
    shared = {k: v for k, v in cameras[0].items() if all(camera[k] == v for camera in cameras)}
    frames = [
        _frame(photograph, path.parent) | {k: v for k, v in camera.items() if k not in shared}
        for photograph, camera in zip(posed, cameras, strict=True)
    ]
    up = upright([photograph.camera_to_world for photograph in posed], photographs.up)[1]
    content = {"camera_model": "OPENCV", **shared, "up": up.tolist(), **_uprightness(posed), "frames": frames}
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _uprightness(photographs: Sequence[Photograph]) -> dict[str, bool]:
    return {_UPRIGHT: True} if all(p.orientation == 1 for p in photographs) else {}


def _camera(photograph: Photograph) -> dict[str, float]:
    lens, (height, width) = photograph.lens, photograph.size
    return {
        **_named(("fl_x", "fl_y"), lens.focal),
        **_named(("cx", "cy"), lens.principal),
        **_named(("k1", "k2", "k3"), lens.radial),
        **_named(("p1", "p2"), lens.tangential),
        "w": width,
        "h": height,
    }


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


def _frame(photograph: Photograph, folder: Path) -> dict[str, Any]:
    matrix = photograph.camera_to_world @ TO_OPENCV  # its own inverse
    frame = {"file_path": _seen_from(folder, photograph.path), "transform_matrix": matrix.tolist()}
    if photograph.mask is not None:
        frame["mask_path"] = _seen_from(folder, photograph.mask)
    return frame


def _seen_from(folder: Path, file: Path) -> str:
    there = file.parent.resolve() / file.name
    try:
        return Path(os.path.relpath(there, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return there.as_posix()
