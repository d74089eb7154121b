"""Photographs with their cameras as a ``transforms.json``, for `read_transforms` and NeRF's programs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearpane.images.writing import atomic_path
from clearpane.reconstruction.photographs import Photograph, PhotographSet
from clearpane.reconstruction.placing import upright
from clearpane.reconstruction.reading_transforms import TO_OPENCV


def write_transforms(photographs: PhotographSet, path: Path, overwrite: bool = False) -> None:
    """Write what is known of the cameras, so that it need not be found again.

    Intrinsics that all photographs share stand at the top, others at their frames. Pictures and masks are
    named as seen from the file's folder. ``up``, as instant-ngp has it, says where up is in the file's world,
    which is not turned: where up is not known, the mean of what the cameras have for up, which is what
    `place_object` would take. Points and warnings are not kept.

    Raises:
        ClearpaneError: the file is there and may not be overwritten, or cannot be written.
    """
    posed = photographs.photographs
    cameras = [_camera(photograph) for photograph in posed]
    shared = {k: v for k, v in cameras[0].items() if all(camera[k] == v for camera in cameras)}
    frames = [
        _frame(photograph, path.parent) | {k: v for k, v in camera.items() if k not in shared}
        for photograph, camera in zip(posed, cameras, strict=True)
    ]
    up = upright([photograph.camera_to_world for photograph in posed], photographs.up)[1]
    content = {"camera_model": "OPENCV", **shared, "up": up.tolist(), "frames": frames}
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


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
