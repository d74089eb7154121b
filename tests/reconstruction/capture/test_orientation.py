"""Cameras for stored and for upright pixels, at every EXIF orientation, against the arrays written."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clearpane.reconstruction.capture.cutting_out import load_photograph
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.orientation import camera_orientation, read_as_posed
from clearpane.reconstruction.capture.transforms import read_transforms, write_transforms

HEIGHT, WIDTH = 6, 10
PIXELS = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[1:3, 2:7] = 255


def save(path: Path, orientation: int, pixels: np.ndarray = PIXELS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As Pillow turns it."""
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


def views(folder: Path, orientation: int, pixels: np.ndarray = PIXELS, **camera: float) -> Path:
    frames = []
    for name in "ab":
        save(folder / "images" / f"{name}.png", orientation, pixels)
        pose = np.eye(4).tolist()
        frames.append({"file_path": f"images/{name}.png", "transform_matrix": pose})
    path = folder / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": 0.7, **camera, "frames": frames}))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("camera", [{}, {"w": WIDTH, "h": HEIGHT}, {"cx": 5.1, "cy": 2.9}])
def test_a_camera_for_stored_pixels_gets_them(
    tmp_path: Path, orientation: int, camera: dict[str, float]
) -> None:
    (photograph, _) = read_transforms(views(tmp_path, orientation, **camera)).photographs
    assert photograph.size == (HEIGHT, WIDTH)
    found = read_as_posed(photograph.path, photograph.orientation).pixels
    np.testing.assert_allclose(found * 255, PIXELS, atol=1e-3)


@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize("camera", [{"w": HEIGHT, "h": WIDTH}, {"cx": 3.1, "cy": 4.9}])
def test_a_camera_for_the_upright_picture_gets_it(
    tmp_path: Path, orientation: int, camera: dict[str, float]
) -> None:
    (photograph, _) = read_transforms(views(tmp_path, orientation, **camera)).photographs
    assert photograph.size == (WIDTH, HEIGHT) and photograph.orientation == 1
    found = read_as_posed(photograph.path, photograph.orientation).pixels
    np.testing.assert_allclose(found * 255, upright(PIXELS, orientation), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "orientation"),
    [
        *product(("stored", "tagged"), range(1, 9)),
        *product(("upright",), range(5, 9)),  # an untagged mask of the same size is taken as stored
    ],
)
def test_masks_are_turned_as_their_photographs(tmp_path: Path, kind: str, orientation: int) -> None:
    path = views(tmp_path, orientation)
    mask = upright(MASK, orientation) if kind == "upright" else MASK
    for name in "ab":
        save(tmp_path / "masks" / f"{name}.png", orientation if kind == "tagged" else 1, mask)
    (photograph, _) = open_views(path).photographs
    pixels, found = load_photograph(photograph)
    np.testing.assert_allclose(pixels * 255, PIXELS, atol=1e-3)
    np.testing.assert_allclose(found * 255, MASK)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_too(tmp_path: Path, orientation: int) -> None:
    (photograph, _) = read_transforms(views(tmp_path, orientation, np.dstack([PIXELS, MASK]))).photographs
    np.testing.assert_allclose(load_photograph(photograph)[1] * 255, MASK)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_written_for_upright_pictures_stay_so(tmp_path: Path, orientation: int) -> None:
    """The size cannot show a half turn, or any turn of a square; the file does."""
    path = views(tmp_path, orientation, np.ascontiguousarray(PIXELS[:, :HEIGHT]))
    known = read_transforms(path)
    posed = tuple(replace(p, orientation=1) for p in known.photographs)
    write_transforms(replace(known, photographs=posed), path, overwrite=True)
    assert {p.orientation for p in read_transforms(path).photographs} == {1}
    write_transforms(known, path, overwrite=True)
    assert {p.orientation for p in read_transforms(path).photographs} == {orientation}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_of_another_resolution_is_matched_by_its_form(tmp_path: Path, orientation: int) -> None:
    save(tmp_path / "a.png", orientation)
    assert camera_orientation(tmp_path / "a.png", (3 * HEIGHT, 3 * WIDTH)) == (
        (3 * HEIGHT, 3 * WIDTH),
        orientation,
    )
