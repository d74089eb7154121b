"""Read COLMAP models, text or binary, with pycolmap."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.files import temporary_folder
from clearpane.named_files import lies_in
from clearpane.reconstruction.capture.colmap_layout import check_binary_model
from clearpane.reconstruction.capture.orientation import camera_orientation
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet

# Order of the parameters of each supported camera model: f or fx, fy, then cx, cy, then distortion.
_MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}


def read_colmap(model: Path, pictures: Path) -> PhotographSet:
    """Read the photographs of a model; skip missing ones with a warning.

    Args:
        model: Folder with cameras, images and points3D, .txt or .bin.
        pictures: Folder of the pictures, which have the names in the model.

    Raises:
        ClearpaneError: The folder holds no model, or none of its pictures exists.
        MissingExtraError: Pycolmap is not installed.
    """
    pycolmap = load_pycolmap("reading COLMAP's models")
    try:
        with quiet(pycolmap):
            reconstruction = _reconstruction(pycolmap, model)
            for number, name in _names_in_text(model).items():
                reconstruction.images[number].name = name
    except Exception as error:  # pycolmap raises its own kinds
        raise ClearpaneError(f"{model}: cannot be read as a COLMAP model; name its folder") from error
    return photographs_of(reconstruction, model, pictures)


def photographs_of(reconstruction: Any, model: Path, pictures: Path) -> PhotographSet:
    """Return the photographs of a pycolmap ``Reconstruction`` that have a pose, as `read_colmap` does."""
    photographs, warnings = [], []
    images = [image for image in reconstruction.images.values() if image.has_pose]
    for image in sorted(images, key=lambda i: i.name):
        path = next((p for p in _candidates(pictures, image.name) if p.is_file()), None)
        if path is None:
            warnings.append(f"{image.name} is not in {pictures}; it is left out")
            continue
        camera = reconstruction.cameras[image.camera_id]
        world_to_camera = np.eye(4)
        world_to_camera[:3] = image.cam_from_world().matrix()
        lens = _lens(camera, model)
        size, orientation = camera_orientation(path, (camera.height, camera.width), lens.principal)
        pose = np.linalg.inv(world_to_camera)
        photographs.append(Photograph(path, pose, lens, size, orientation=orientation))
    if not photographs:
        raise ClearpaneError(f"{pictures}: none of the {len(images)} pictures of {model} is there")
    points = np.asarray([p.xyz for p in reconstruction.points3D.values()]).reshape(-1, 3)
    return PhotographSet(tuple(photographs), points, None, tuple(warnings))


def _candidates(pictures: Path, name: str) -> list[Path]:
    """Return where a picture may be; a backslash separates folders where no name holds one."""
    candidates = [pictures / text for text in dict.fromkeys((name, name.replace("\\", "/")))]
    if not all(lies_in(path, [pictures]) for path in candidates):
        raise ClearpaneError(
            f"{name}: lies outside {pictures}, the folder of the model's pictures; give its folder "
            "(`pictures`), or put it there"
        )
    return candidates


def _reconstruction(pycolmap: Any, model: Path) -> Any:
    """Read a model, also one whose points are missing: the cameras do not need them."""
    end = ".bin" if _is_binary(model) else ".txt"
    if end == ".bin":
        check_binary_model(model)
    if (model / f"points3D{end}").is_file():
        return pycolmap.Reconstruction(str(model))
    with temporary_folder() as folder:
        for part in ("cameras", "images", "rigs", "frames"):
            if (model / f"{part}{end}").is_file():
                shutil.copyfile(model / f"{part}{end}", folder / f"{part}{end}")
        (folder / f"points3D{end}").write_bytes(bytes(8) if end == ".bin" else b"")
        return pycolmap.Reconstruction(str(folder))


def _is_binary(model: Path) -> bool:
    return all((model / f"{part}.bin").is_file() for part in ("cameras", "images"))


def _names_in_text(model: Path) -> dict[int, str]:
    """Read the picture names of a text model by their numbers; pycolmap cuts them at the first space."""
    if _is_binary(model):
        return {}
    lines = (model / "images.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    while lines and not lines[0].strip():
        lines.pop(0)
    fields = [line.split(maxsplit=9) for line in lines[::2]]  # every second line holds points
    return {int(f[0]): f[9].strip() for f in fields if len(f) == 10}


def load_pycolmap(what: str) -> Any:
    """Import pycolmap, which is large and optional.

    Raises:
        MissingExtraError: Pycolmap is not installed; ``what`` needs it.
    """
    # Python's zlib first: pycolmap brings its own, and if that one loads the system's first, the two are
    # mixed up and the next PNG written crashes the process.
    import zlib  # noqa: F401

    try:
        import pycolmap
    except ImportError as error:
        raise MissingExtraError(what, "3d") from error
    return pycolmap


@contextlib.contextmanager
def quiet(pycolmap: Any) -> Iterator[None]:
    """Suppress COLMAP's own log, hundreds of lines."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


def _lens(camera: Any, model: Path) -> Lens:
    name = camera.model.name
    if name not in _MODELS:
        raise ClearpaneError(f"{model}: a lens of kind {name} is not supported; undistort the pictures first")
    values = [float(v) for v in camera.params]
    focal = (values[0], values[0]) if name in _ONE_FOCAL else (values[0], values[1])
    rest = values[1:] if name in _ONE_FOCAL else values[2:]
    extra = dict(zip(_MODELS[name], rest[2:], strict=True))
    if any(extra.get(k, 0.0) for k in ("k4", "k5", "k6")):
        raise ClearpaneError(f"{model}: a lens with k4 to k6 is not supported; undistort the pictures first")
    return Lens(
        focal,
        (rest[0], rest[1]),
        (extra.get("k1", 0.0), extra.get("k2", 0.0), extra.get("k3", 0.0)),
        (extra.get("p1", 0.0), extra.get("p2", 0.0)),
    )
