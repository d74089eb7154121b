"""Open a user's photographs of an object: poses from NeRF's files, COLMAP's models, or plain photographs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.images.formats import is_picture_name
from clearpane.reconstruction.capture.colmap import read_colmap
from clearpane.reconstruction.capture.masks import find_masks, with_masks
from clearpane.reconstruction.capture.photographs import PhotographSet
from clearpane.reconstruction.capture.structure_from_motion import LEAST_PHOTOGRAPHS, find_poses
from clearpane.reconstruction.capture.transforms import TRANSFORMS_FILES, names_frames, read_transforms

_ACCEPTED = (
    "name a transforms.json, a folder with one, a folder of a COLMAP model beside its pictures (images), or "
    f"a folder of at least {LEAST_PHOTOGRAPHS} photographs"
)


# Names of the picture folder: COLMAP's, and the one that 3D Gaussian Splatting uses for original pictures.
_PICTURE_FOLDERS = ("images", "input")
# Folders of models: COLMAP's, Nerfstudio's, and 3D Gaussian Splatting's.
_MODEL_FOLDERS = ("sparse", "colmap/sparse", "colmap", "distorted/sparse")


def open_views(
    path: Path,
    masks: Path | None = None,
    on_step: Callable[[str], object] = lambda step: None,
    pictures: Path | None = None,
) -> PhotographSet:
    """Open the photographs of an object with their cameras, from any source of poses.

    ``path`` is ``transforms.json``, or a folder with it (or with ``transforms_train.json``, as in NeRF and
    Stanford-ORB); a COLMAP model, text or binary, with its pictures in ``images`` beside or above it, or in
    its own folder; a folder with such a model in ``sparse``; or a folder of photographs, or with them in
    ``images``, whose poses are then computed (``poses_found``; `write_transforms` stores them).

    Args:
        masks: Folder of masks (see `find_masks`). Default: ``masks`` in the same folder, if it exists and the
            file of poses names no masks.
        on_step: Called with a description of each step where poses have to be computed, which takes minutes.
        pictures: Folder of the photographs that ``transforms.json`` or the model names, if it is not where
            they are looked for. They may not lie elsewhere.

    Raises:
        ClearpaneError: The path is none of these, or cannot be used.
        MissingExtraError: Pycolmap is needed and not installed.
    """
    elsewhere = [folder for folder in (pictures, masks) if folder is not None]
    try:
        if path.is_file():
            if path.suffix.lower() != ".json":
                raise ClearpaneError(f"{path}: is a file that describes no object; {_ACCEPTED}")
            return _masked(read_transforms(path, *elsewhere), masks, path.parent)
        if not path.is_dir():
            raise ClearpaneError(f"{path}: no such file or folder; {_ACCEPTED}")
        model = _find_model(path)
        for name in TRANSFORMS_FILES:
            if (path / name).is_file() and (model is None or names_frames(path / name)):
                return _masked(read_transforms(path / name, *elsewhere), masks, path)
        if model is not None:
            return _masked(read_colmap(model, pictures or _pictures_of(model)), masks, path)
        return _plain(path, masks, on_step)
    except OSError as error:
        raise ClearpaneError(f"{path}: cannot be read ({error.strerror})") from error


def _masked(photographs: PhotographSet, masks: Path | None, folder: Path) -> PhotographSet:
    if not any(p.mask for p in photographs.photographs):
        masks = _masks_folder(masks, folder)
    return photographs if masks is None else with_masks(photographs, masks)


def _masks_folder(masks: Path | None, folder: Path) -> Path | None:
    beside = folder / "masks"
    return beside if masks is None and beside.is_dir() else masks


def _is_model(folder: Path) -> bool:
    return any(
        all((folder / f"{part}{end}").is_file() for part in ("cameras", "images")) for end in (".bin", ".txt")
    )


def _find_model(path: Path) -> Path | None:
    """Find a model in the folder, its ``sparse`` or ``colmap/sparse``; of several, return the largest."""
    candidates = [path]
    for name in _MODEL_FOLDERS:
        sparse = path / name
        candidates += [sparse, *(sorted(sparse.iterdir()) if sparse.is_dir() else [])]
    models = [folder for folder in candidates if _is_model(folder)]
    return max(models, key=_images_size, default=None)


def _images_size(model: Path) -> int:
    return max(p.stat().st_size for p in (model / "images.bin", model / "images.txt") if p.is_file())


def _pictures_of(model: Path) -> Path:
    """Return ``images`` or ``input`` beside a model or above it, or else the nearest folder with pictures."""
    above = (model, *model.resolve().parents[:3])
    for folder in above:
        for name in _PICTURE_FOLDERS:
            if (folder / name).is_dir():
                return folder / name
    for folder in above:
        if _pictures_in(folder):
            return folder
    raise ClearpaneError(f"{model}: the model's pictures are not there; put them into {model / 'images'}")


def _pictures_in(folder: Path) -> list[Path]:
    """List the photographs of a folder by name, without the masks that lie beside them."""
    found = sorted(
        p for p in folder.iterdir() if is_picture_name(p) and not p.name.startswith(".") and p.is_file()
    )
    return [p for p in found if not p.stem.endswith("_mask")]


def _plain(path: Path, masks: Path | None, on_step: Callable[[str], object]) -> PhotographSet:
    pictures = _pictures_in(path)
    for name in _PICTURE_FOLDERS:
        if not pictures and (path / name).is_dir():
            pictures = _pictures_in(path / name)
    if len(pictures) < LEAST_PHOTOGRAPHS:
        count = {0: "no photograph", 1: "a single photograph"}.get(
            len(pictures), f"{len(pictures)} photographs"
        )
        raise ClearpaneError(f"{path}: holds {count}; {_ACCEPTED}")
    folder = _masks_folder(masks, path)
    found, warnings = ([], ()) if folder is None else find_masks(folder, pictures)
    posed = find_poses(pictures, found, on_step)
    return replace(posed, warnings=(*warnings, *posed.warnings))
