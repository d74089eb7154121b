"""Find the poses of plain photographs, and measure how well known poses fit the pictures, with COLMAP."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.files import temporary_folder
from clearpane.images.picture import Picture
from clearpane.images.writing import write_picture
from clearpane.reconstruction.capture.colmap import load_pycolmap, photographs_of, quiet
from clearpane.reconstruction.capture.masks import given_mask, named
from clearpane.reconstruction.capture.orientation import read_as_posed
from clearpane.reconstruction.capture.photographs import PhotographSet

LEAST_PHOTOGRAPHS = 3
"""Smallest number of photographs whose poses can be checked."""

# Longer side, in pixels, of the copies in which features are detected.
_SIDE = 2000
_ADVICE = (
    "photograph with more overlap and more texture, if only below the object; mask out whatever "
    "moves between the photographs"
)


@dataclass(frozen=True, eq=False)
class Triangulation:
    """Hold points triangulated from known poses.

    Attributes:
        points: Points [P, 3], in the photographs' world.
        error: Mean reprojection error over all points' features, in pixels of pictures no larger than 2000;
            NaN without points. Features more than 4 pixels off are not assigned to a point.
        seen: Number of points that each photograph sees, [V].
    """

    points: np.ndarray
    error: float
    seen: np.ndarray


def find_poses(
    pictures: Sequence[Path],
    masks: Sequence[Path | None] = (),
    on_step: Callable[[str], object] = lambda step: None,
) -> PhotographSet:
    """Find the poses and lenses of photographs of a still scene by incremental structure from motion.

    Pictures of one size and focal length (EXIF) share one lens, a pinhole with one radial term. Where fewer
    than half of the pictures fit together, only the masked object is matched, as for an object on a
    turntable, and pictures without a mask are left out. Up and scale remain unknown: COLMAP does not
    determine them. The same pictures give the same poses.

    Args:
        masks: Mask file of each picture, or None; alpha serves as well.
        on_step: Called with a description at the beginning of each step.

    Returns:
        The photographs in the given order; those without a pose are left out, and a warning names them.

    Raises:
        ClearpaneError: Fewer than three pictures are given, fewer than half of them (at least three) fit
            together, or a picture cannot be read.
        MissingExtraError: Pycolmap is not installed.
    """
    if len(pictures) < LEAST_PHOTOGRAPHS:
        raise ClearpaneError(
            f"{len(pictures)} photographs are too few to find their poses; take at least "
            f"{LEAST_PHOTOGRAPHS}, better twenty"
        )
    pycolmap = load_pycolmap("finding the poses of photographs")
    needed = max(LEAST_PHOTOGRAPHS, (len(pictures) + 1) // 2)
    with _workplace(pycolmap) as folder:
        on_step(f"reading {len(pictures)} photographs")
        given = list(masks) or [None] * len(pictures)
        sizes = [_write_copy(folder, i, *pair) for i, pair in enumerate(zip(pictures, given, strict=True))]
        model = _largest_model(pycolmap, folder, sizes, on_step)
        if _registered(model) < needed and any((folder / "masks").iterdir()):
            on_step("matching again within the masks")
            masked = _largest_model(pycolmap, folder, sizes, on_step, folder / "masks")
            model = max(model, masked, key=_registered)
        if _registered(model) < LEAST_PHOTOGRAPHS:
            raise ClearpaneError(f"{pictures[0].parent}: the photographs do not fit together; {_ADVICE}")
        found = photographs_of(model, folder, folder / "pictures")
    index = [int(p.path.stem) for p in found.photographs]
    left_out = named([path.name for i, path in enumerate(pictures) if i not in index])
    if len(index) < needed:
        raise ClearpaneError(
            f"only {len(index)} of {len(pictures)} photographs fit together, not {left_out}; {_ADVICE}"
        )
    photographs = tuple(
        replace(p, path=pictures[i], mask=given[i], size=sizes[i], lens=p.lens_for(sizes[i]))
        for p, i in zip(found.photographs, index, strict=True)
    )
    warnings = (f"no pose was found for {left_out}; left out",) if left_out else ()
    return replace(found, photographs=photographs, warnings=warnings, poses_found=True)


def triangulate(photographs: PhotographSet) -> Triangulation:
    """Triangulate points of the scene from known poses, to check the poses and to locate objects.

    Correct poses give an error below a pixel and hundreds of points for each photograph; wrong ones give
    hardly any points, or none.

    Raises:
        ClearpaneError: A picture cannot be read.
        MissingExtraError: Pycolmap is not installed.
    """
    pycolmap = load_pycolmap("triangulating points")
    with _workplace(pycolmap) as folder:
        count = len(photographs.photographs)
        for i, photograph in enumerate(photographs.photographs):
            _write_copy(folder, i, photograph.path, orientation=photograph.orientation)
        database = _database(pycolmap, folder, [[_copy_name(i)] for i in range(count)])
        posed = _posed(pycolmap, database, photographs)
        _match(pycolmap, folder, database, [_copy_name(i) for i in range(count)])
        options = _mapping_options(pycolmap)
        with _explained("triangulation"):
            model = pycolmap.triangulate_points(
                posed, str(database), str(folder / "pictures"), str(folder), options=options
            )
        model.update_point_3d_errors()
        points = np.asarray([p.xyz for p in model.points3D.values()]).reshape(-1, 3)
        by_name = {image.name: int(image.num_points3D) for image in model.images.values()}
        seen = np.asarray([by_name[_copy_name(i)] for i in range(count)])
        error = float(model.compute_mean_reprojection_error()) if len(points) else float("nan")
        return Triangulation(points, error, seen)


@contextlib.contextmanager
def _workplace(pycolmap: Any) -> Iterator[Path]:
    """Yield a temporary folder for pictures, masks and COLMAP's files, with COLMAP silenced."""
    with temporary_folder() as folder, quiet(pycolmap):
        for part in ("pictures", "masks"):
            (folder / part).mkdir()
        yield folder


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # pycolmap raises its own kinds
        reason = str(error).strip().splitlines()
        raise ClearpaneError(f"{what} failed ({reason[0] if reason else type(error).__name__})") from error


def _copy_name(index: int) -> str:
    return f"{index:05d}.jpg"


def _write_copy(
    folder: Path, index: int, path: Path, mask: Path | None = None, orientation: int = 1
) -> tuple[int, int]:
    """Write a picture for COLMAP: upright, sRGB, 8 bits, not too large, with its EXIF; and its mask.

    Returns:
        Height and width of the original picture.
    """
    # Cropping decodes the photograph a second time: it needs all pixels, which this copy does not have, and a
    # whole set of decoded photographs (144 MB for 12 megapixels) would not fit in memory during the matching.
    picture = read_as_posed(path, orientation)
    copy = Picture(_shrunk(picture.pixels.clip(0, 1)), "jpeg", "uint8", exif=picture.exif)
    write_picture(folder / "pictures" / _copy_name(index), copy)
    shown = given_mask(picture, mask, orientation)
    if shown is not None:
        pixels = np.repeat((_shrunk(shown[..., None]) > 0.5).astype(np.float32), 3, axis=-1)
        white = Picture(pixels, "png", "uint8", is_gray=True)
        write_picture(folder / "masks" / f"{_copy_name(index)}.png", white)
    height, width = picture.pixels.shape[:2]
    return height, width


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """Shrink [H, W, C], in [0, 1], to the size at which features are detected."""
    scale = _SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
    values = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    small = F.interpolate(values, size, mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).clamp(0, 1).numpy()


def _largest_model(
    pycolmap: Any,
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    on_step: Callable[[str], object],
    masks: Path | None = None,
) -> Any:
    """Return the model with the most pictures, or None if no pictures fit together.

    Args:
        sizes: Height and width of each original picture.
    """
    count = len(sizes)
    names = [_copy_name(i) for i in range(count)]
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, size in zip(names, sizes, strict=True):
        camera = pycolmap.infer_camera_from_image(str(folder / "pictures" / name))
        groups.setdefault((*size, round(camera.mean_focal_length())), []).append(name)
    database = _database(pycolmap, folder, list(groups.values()))
    on_step(f"matching {count * (count - 1) // 2} pairs of photographs")
    _match(pycolmap, folder, database, names, masks)
    on_step("finding the poses")
    with _explained("structure from motion"):
        models = pycolmap.incremental_mapping(
            str(database), str(folder / "pictures"), str(folder), _mapping_options(pycolmap)
        )
    return max(models.values(), key=_registered, default=None)


def _registered(model: Any) -> int:
    return 0 if model is None else int(model.num_reg_images())


def _database(pycolmap: Any, folder: Path, groups: Sequence[Sequence[str]]) -> Path:
    """Make a database with the pictures in order; pictures of one group share a camera."""
    path = folder / "database.db"
    path.unlink(missing_ok=True)
    pycolmap.Database.open(str(path)).close()
    with _explained("making a database"):
        for names in groups:
            pycolmap.import_images(
                str(path),
                str(folder / "pictures"),
                camera_mode=pycolmap.CameraMode.SINGLE,
                image_names=list(names),
            )
    return path


def _match(
    pycolmap: Any, folder: Path, database: Path, names: Sequence[str], masks: Path | None = None
) -> None:
    """Detect features in all pictures, and match those of each pair that a common motion explains."""
    reading = pycolmap.ImageReaderOptions()
    if masks is not None:
        reading.mask_path = str(masks)
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = _SIDE
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = 0
    with _explained("finding features"):
        pycolmap.extract_features(
            str(database),
            str(folder / "pictures"),
            image_names=list(names),
            reader_options=reading,
            extraction_options=extraction,
        )
        pycolmap.match_exhaustive(str(database), verification_options=verification)


def _mapping_options(pycolmap: Any) -> Any:
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = LEAST_PHOTOGRAPHS
    # Several threads would sum the same numbers in a different order each time.
    options.random_seed, options.num_threads = 0, 1
    return options


def _posed(pycolmap: Any, database: Path, photographs: PhotographSet) -> Any:
    """Make a reconstruction from the cameras alone, to be filled from the database."""
    result = pycolmap.Reconstruction()
    opened = pycolmap.Database.open(str(database))
    for i, photograph in enumerate(photographs.photographs):
        image = opened.read_image_with_name(_copy_name(i))
        camera = opened.read_camera(image.camera_id)
        lens = photograph.lens_for((camera.height, camera.width))
        camera.model = pycolmap.CameraModelId.FULL_OPENCV
        k1, k2, k3 = lens.radial
        camera.params = [*lens.focal, *lens.principal, k1, k2, *lens.tangential, k3, 0.0, 0.0, 0.0]
        camera.has_prior_focal_length = True
        opened.update_camera(camera)
        result.add_camera_with_trivial_rig(camera)
        world_to_camera = np.linalg.inv(photograph.camera_to_world)[:3]
        result.add_image_with_trivial_frame(image, pycolmap.Rigid3d(world_to_camera))
    opened.close()
    return result
