"""COLMAP's models, text or binary, read by pycolmap."""

from pathlib import Path
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.reconstruction.photographs import Lens, Photograph, PhotographSet

# Of each kind of lens that is known, where its parameters go: f or fx, fy, then cx, cy, then the rest.
_MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
}
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}


def read_colmap(model: Path, pictures: Path, masks: Path | None = None) -> PhotographSet:
    """The photographs of a model; those that are not there are left out with a warning.

    Args:
        model: folder with cameras, images and points3D, .txt or .bin.
        pictures: folder of the pictures, by the names that the model has.
        masks: folder of masks, by the same names with the ending .png, or .png after the whole name.

    Raises:
        ClearpaneError: there is no model, or none of its pictures.
        MissingExtraError: pycolmap is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise MissingExtraError("reading COLMAP's models", "3d") from error
    try:
        reconstruction = pycolmap.Reconstruction(str(model))
    except Exception as error:  # pycolmap raises its own kinds
        raise ClearpaneError(f"{model}: cannot be read as a COLMAP model; name its folder") from error
    return photographs_of(reconstruction, model, pictures, masks)


def photographs_of(reconstruction: Any, model: Path, pictures: Path, masks: Path | None) -> PhotographSet:
    """The photographs of a pycolmap ``Reconstruction``, as `read_colmap`."""
    photographs, warnings = [], []
    for image in sorted(reconstruction.images.values(), key=lambda i: i.name):
        path = pictures / image.name
        if not path.is_file():
            warnings.append(f"{image.name} is not in {pictures}; it is left out")
            continue
        camera = reconstruction.cameras[image.camera_id]
        world_to_camera = np.eye(4)
        world_to_camera[:3] = image.cam_from_world().matrix()
        lens = _lens(camera, model)
        mask = _find_mask(masks, image.name)
        size = (int(camera.height), int(camera.width))
        photographs.append(Photograph(path, np.linalg.inv(world_to_camera), lens, size, mask))
    if not photographs:
        raise ClearpaneError(
            f"{pictures}: none of the {len(reconstruction.images)} pictures of {model} is there"
        )
    points = np.asarray([p.xyz for p in reconstruction.points3D.values()]).reshape(-1, 3)
    return PhotographSet(tuple(photographs), points, None, tuple(warnings))


def _lens(camera: Any, model: Path) -> Lens:
    name = camera.model.name
    if name not in _MODELS:
        raise ClearpaneError(f"{model}: a lens of kind {name} is not supported; undistort the pictures first")
    values = [float(v) for v in camera.params]
    focal = (values[0], values[0]) if name in _ONE_FOCAL else (values[0], values[1])
    rest = values[1:] if name in _ONE_FOCAL else values[2:]
    extra = dict(zip(_MODELS[name], rest[2:], strict=True))
    return Lens(
        focal,
        (rest[0], rest[1]),
        (extra.get("k1", 0.0), extra.get("k2", 0.0), 0.0),
        (extra.get("p1", 0.0), extra.get("p2", 0.0)),
    )


def _find_mask(masks: Path | None, name: str) -> Path | None:
    if masks is None:
        return None
    for candidate in (masks / f"{name}.png", masks / Path(name).with_suffix(".png")):
        if candidate.is_file():
            return candidate
    return None
