"""Poses of plain photographs, and how well known poses agree with the pictures: both by COLMAP."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.reconstruction.masking import given_mask, named
from clearpane.reconstruction.photographs import PhotographSet
from clearpane.reconstruction.reading_colmap import load_pycolmap, photographs_of, quiet

LEAST_PHOTOGRAPHS = 3
"""Fewer photographs have no poses that could be checked."""

# Features are looked for in pictures no larger than this along the longer side.
_SIDE = 2000
_ADVICE = (
    "photograph with more overlap and more texture, if only of what the object stands on; what moves between "
    "the photographs masks have to leave out"
)


@dataclass(frozen=True, eq=False)
class Triangulation:
    """What known poses make of the pictures' features.

    Attributes:
        points: [P, 3], in the photographs' world.
        error: mean distance between a point's projection and the feature, in pixels, over all points'
            features. Features farther than 4 pixels off are not a point's.
        seen: how many points each photograph sees, [V].
    """

    points: np.ndarray
    error: float
    seen: np.ndarray


def find_poses(
    pictures: Sequence[Path],
    masks: Sequence[Path | None] = (),
    on_step: Callable[[str], object] = lambda step: None,
) -> PhotographSet:
    """Photographs of a still scene with the poses and lenses that incremental structure from motion finds.

    Pictures of one size and focal length (EXIF) have one lens between them, a pinhole with one radial term.
    Where fewer than half of the pictures fit together as a whole, only what the masks show is looked at, as
    for an object on a turntable, and pictures without a mask are left out. Without up and scale: COLMAP's
    world has none. The same pictures give the same poses.

    Args:
        masks: of each picture, or none; alpha serves as well.
        on_step: told what is done, as it begins.

    Returns:
        The photographs in the order given; those without a pose are left out, and a warning names them.

    Raises:
        ClearpaneError: fewer than three pictures, or fewer than half of them (at least three) fit together;
            a picture cannot be read.
        MissingExtraError: pycolmap is not installed.
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
        is_masked = [
            _write_copy(folder, i, *pair) for i, pair in enumerate(zip(pictures, given, strict=True))
        ]
        model = _largest_model(pycolmap, folder, len(pictures), on_step)
        if _registered(model) < needed and any(is_masked):
            on_step("once more, by what the masks show")
            masked = _largest_model(pycolmap, folder, len(pictures), on_step, folder / "masks")
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
        replace(p, path=pictures[i], mask=given[i]) for p, i in zip(found.photographs, index, strict=True)
    )
    warning = f"no pose was found for {left_out}; left out"
    return replace(found, photographs=photographs, warnings=(warning,) if left_out else ())


def triangulate(photographs: PhotographSet) -> Triangulation:
    """Points of the scene by the poses that are known: whether they are right, and where something is.

    Poses that are right leave an error below a pixel and hundreds of points to each photograph; of wrong ones
    hardly a point is left.

    Raises:
        ClearpaneError: a picture cannot be read; there is no point at all.
        MissingExtraError: pycolmap is not installed.
    """
    pycolmap = load_pycolmap("triangulating points")
    with _workplace(pycolmap) as folder:
        count = len(photographs.photographs)
        for i, photograph in enumerate(photographs.photographs):
            _write_copy(folder, i, photograph.path)
        database = _database(pycolmap, folder, [[_copy_name(i)] for i in range(count)])
        posed = _posed(pycolmap, database, photographs)
        _match(pycolmap, folder, database, [_copy_name(i) for i in range(count)])
        options = _mapping_options(pycolmap)
        with _explained("triangulation"):
            model = pycolmap.triangulate_points(
                posed, str(database), str(folder / "pictures"), str(folder), options=options
            )
        if not model.num_points3D():
            raise ClearpaneError("by these poses the photographs have no point in common; they are wrong")
        model.update_point_3d_errors()
        points = np.stack([p.xyz for p in model.points3D.values()])
        by_name = {image.name: int(image.num_points3D) for image in model.images.values()}
        seen = np.asarray([by_name[_copy_name(i)] for i in range(count)])
        return Triangulation(points, float(model.compute_mean_reprojection_error()), seen)


@contextlib.contextmanager
def _workplace(pycolmap: Any) -> Iterator[Path]:
    """A temporary folder for pictures, masks and what COLMAP writes, while it keeps quiet."""
    with TemporaryDirectory(prefix="clearpane-") as name, quiet(pycolmap):
        for part in ("pictures", "masks"):
            (Path(name) / part).mkdir()
        yield Path(name)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # pycolmap raises its own kinds
        reason = str(error).strip().splitlines()
        raise ClearpaneError(f"{what} failed ({reason[0] if reason else type(error).__name__})") from error


def _copy_name(index: int) -> str:
    return f"{index:05d}.jpg"


def _write_copy(folder: Path, index: int, path: Path, mask: Path | None = None) -> bool:
    """A picture as COLMAP is to see it: upright, sRGB, 8 bits, its EXIF kept. Whether there is a mask."""
    picture = read_picture(path)
    copy = Picture(picture.pixels.clip(0, 1), "jpeg", "uint8", exif=picture.exif)
    write_picture(folder / "pictures" / _copy_name(index), copy)
    shown = given_mask(picture, mask)
    if shown is not None:
        pixels = np.repeat((shown > 0.5).astype(np.float32)[..., None], 3, axis=-1)
        white = Picture(pixels, "png", "uint8", is_gray=True)
        write_picture(folder / "masks" / f"{_copy_name(index)}.png", white)
    return shown is not None


def _largest_model(
    pycolmap: Any,
    folder: Path,
    count: int,
    on_step: Callable[[str], object],
    masks: Path | None = None,
) -> Any:
    """Of the models that fit together, that with the most pictures; None where nothing does."""
    names = [_copy_name(i) for i in range(count)]
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        camera = pycolmap.infer_camera_from_image(str(folder / "pictures" / name))
        key = (camera.width, camera.height, round(camera.mean_focal_length()))
        groups.setdefault(key, []).append(name)
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
    """A new database with the pictures in their order, those of a group with one camera."""
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
    """Features of all pictures, and those of each pair that a common motion explains."""
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
    # Threads would add up the same numbers in another order each time.
    options.random_seed, options.num_threads = 0, 1
    return options


def _posed(pycolmap: Any, database: Path, photographs: PhotographSet) -> Any:
    """A reconstruction of the cameras alone, which the database takes over."""
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
