"""Read the ground truth of an object in test views: pictures with masks, light, albedo, normals, depth, mesh.

`find_truth` describes the layout. Everything is measured at one size: larger pictures are averaged down, as
Stanford-ORB shrinks its 2048 pixels to 512.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.capture.masks import given_mask
from clearpane.reconstruction.capture.orientation import read_as_posed
from clearpane.reconstruction.capture.photographs import Photograph
from clearpane.reconstruction.capture.placement import upright
from clearpane.reconstruction.capture.transforms import read_transforms

LINEAR_SUFFIXES = (".exr", ".hdr")
MESH_NAMES = ("mesh.glb", "mesh.obj", "mesh.ply", "mesh_blender/mesh.obj")
TRANSFORMS = ("transforms.json", "transforms_test.json")
# Folders of maps, by our names and then Stanford-ORB's, and the suffixes of their files.
_ENVIRONMENTS = (("env_map",), LINEAR_SUFFIXES)
_ALBEDOS = (("albedo", "pseudo_gt_albedo"), (".exr", ".png"))
_NORMALS = (("normal", "surface_normal"), (".npy", ".exr"))
_DEPTHS = (("depth", "z_depth"), (".npy", ".exr"))


@dataclass(frozen=True, eq=False)
class TruthView:
    """List the files of a test view.

    Attributes:
        name: Name of the view, which results share.
        photograph: Picture and its camera, in the photographs' world.
        environment: Surroundings as seen from the view's camera, or None.
        albedo, normal, depth: Maps of the view, or None.
    """

    name: str
    photograph: Photograph
    environment: Path | None
    albedo: Path | None
    normal: Path | None
    depth: Path | None


@dataclass(frozen=True, eq=False)
class ObjectTruth:
    """List all test views of an object.

    Attributes:
        views: Views in the order of their names.
        to_asset: Rotation [3, 3] from the photographs' world to glTF's, whose y is up.
        mesh: Scanned mesh, or None.
        warnings: Messages for the user about files that are listed but missing.
    """

    views: tuple[TruthView, ...]
    to_asset: np.ndarray
    mesh: Path | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TruthPictures:
    """Hold a test view's pictures at the size of the comparison.

    Attributes:
        colour: Linear light [H, W, 3].
        high_range: True for a file with light above white.
        mask: Mask of the object [H, W], in [0, 1].
        albedo: Linear base colour [H, W, 3], or None.
        normal: Normals [H, W, 3], x to the camera's right, y up, z towards it, or None.
        depth: Depth along the camera's axis [H, W], or None.
    """

    colour: np.ndarray
    high_range: bool
    mask: np.ndarray
    albedo: np.ndarray | None
    normal: np.ndarray | None
    depth: np.ndarray | None


def find_truth(path: Path) -> ObjectTruth:
    """Find the test views in a folder, or in a file that lists them.

    The file is ``transforms.json`` or ``transforms_test.json`` (see
    `clearpane.reconstruction.capture.transforms`). The maps of a picture ``FOLDER/NAME.exr`` lie in
    ``FOLDER`` or beside it: ``env_map/NAME``, ``albedo/NAME``, ``normal/NAME``, ``depth/NAME``; so does the
    mesh, ``mesh.glb`` (y up), ``mesh.obj`` or ``mesh.ply`` (the photographs' axes). Stanford-ORB's own names
    are found as well, and its ``ground_truth/OBJECT`` beside ``blender_HDR/OBJECT``.

    Raises:
        ClearpaneError: The file does not exist or cannot be used, or pictures were not undistorted.
    """
    file = path
    if path.is_dir():
        found = [path / name for name in TRANSFORMS if (path / name).is_file()]
        if not found:
            raise ClearpaneError(f"{path}: has no {' or '.join(TRANSFORMS)}, which names the test views")
        file = found[0]
    photographs = read_transforms(file)
    shots = photographs.photographs
    views = []
    for name, shot in zip(_names([shot.path for shot in shots]), shots, strict=True):
        if any((*shot.lens.radial, *shot.lens.tangential)):
            raise ClearpaneError(f"{shot.path}: its lens is distorted; undistort the test views first")
        inner = shot.path.parent
        roots = _roots(inner) if inner == file.parent else _roots(inner) + _roots(inner.parent)
        maps = (_find(roots, shot.path.stem, kind) for kind in (_ENVIRONMENTS, _ALBEDOS, _NORMALS, _DEPTHS))
        views.append(TruthView(name, shot, *maps))
    meshes = (root / name for root in _roots(file.parent) for name in MESH_NAMES)
    mesh = next((place for place in meshes if place.is_file()), None)
    rotation = upright([shot.camera_to_world for shot in shots], photographs.up)
    return ObjectTruth(tuple(views), rotation, mesh, photographs.warnings)


def read_view(view: TruthView, size: int) -> TruthPictures:
    """Read a view's pictures, shrunk so that the longer side is at most ``size``.

    Raises:
        ClearpaneError: A file cannot be read or differs in shape from the picture; the mask is missing (an
            alpha of 1 everywhere does not count), or differs in size.
    """
    path = view.photograph.path
    picture = read_as_posed(path, view.photograph.orientation)
    mask = given_mask(picture, view.photograph.mask, view.photograph.orientation)
    if mask is None:
        raise ClearpaneError(
            f"{path}: has no mask; give one as its alpha, or in {path.parent.name}_mask beside its folder"
        )
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, size / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    albedo, normal, depth = (
        None if place is None else shrunk(read_values(place), shape, place)
        for place in (view.albedo, view.normal, view.depth)
    )
    if depth is not None and depth.ndim == 3:
        depth = depth[..., 0]
    return TruthPictures(
        shrunk(srgb_to_linear(picture.pixels), shape, path),
        path.suffix.lower() in LINEAR_SUFFIXES,
        shrunk(mask, shape, view.photograph.mask or path),
        albedo,
        normal,
        depth,
    )


def read_values(path: Path) -> np.ndarray:
    """Read the numbers of a .npy file, or a picture in linear light: [H, W] or [H, W, 3] float32.

    Raises:
        ClearpaneError: The file cannot be read.
    """
    if path.suffix.lower() != ".npy":
        return np.asarray(srgb_to_linear(read_picture(path).pixels), np.float32)
    try:
        values = np.squeeze(np.load(path, allow_pickle=False)).astype(np.float32)
    except (OSError, ValueError, TypeError) as error:
        raise ClearpaneError(f"{path}: cannot be read as an array of numbers; get a fresh copy") from error
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise ClearpaneError(f"{path}: is an array of {list(values.shape)}, not of a picture's pixels")
    result: np.ndarray = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    return result


def shrunk(values: np.ndarray, shape: tuple[int, int], path: Path) -> np.ndarray:
    """Average [H, W] or [H, W, C] down to another height and width.

    Raises:
        ClearpaneError: The aspect ratios differ, or the picture is smaller.
    """
    height, width = values.shape[:2]
    if (height, width) == shape:
        return values
    if abs(width / height / (shape[1] / shape[0]) - 1) > 0.01 or height < shape[0]:
        raise ClearpaneError(
            f"{path}: is {width} x {height}, which does not fit pictures of {shape[1]} x {shape[0]}"
        )
    planes = np.moveaxis(np.atleast_3d(values).astype(np.float32), -1, 0)
    resized = [
        np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BOX))
        for plane in planes
    ]
    return np.stack(resized, axis=-1) if values.ndim == 3 else resized[0]


def _names(paths: list[Path]) -> list[str]:
    """Return file names without suffixes, with as many parent folders as needed to tell equal names apart."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    above = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    return [path.absolute().relative_to(above).with_suffix("").as_posix() for path in paths]


def _roots(folder: Path) -> list[Path]:
    """Return the folders that may hold a folder's maps: itself, and where Stanford-ORB has them."""
    whole = folder.absolute()
    if whole.parent.name.startswith("blender"):
        return [folder, whole.parent.parent / "ground_truth" / whole.name]
    return [folder]


def _find(roots: list[Path], stem: str, kind: tuple[tuple[str, ...], tuple[str, ...]]) -> Path | None:
    folders, suffixes = kind
    places = (
        root / folder / f"{stem}{suffix}" for root in roots for folder in folders for suffix in suffixes
    )
    return next((place for place in places if place.is_file()), None)
