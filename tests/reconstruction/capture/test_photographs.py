"""Lenses, transforms.json and COLMAP's models."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.writing import write_picture
from clearpane.reconstruction.capture.colmap import read_colmap
from clearpane.reconstruction.capture.orientation import read_as_posed
from clearpane.reconstruction.capture.photographs import Lens, check_pose
from clearpane.reconstruction.capture.transforms import read_transforms

CURVED = Lens((700.0, 690.0), (280.0, 480.0), (0.058, -0.081, 0.01), (-0.001, 0.0002))


def write_pictures(folder: Path, names: tuple[str, ...], size: tuple[int, int] = (8, 6)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)


def write_transforms(folder: Path, **changes: Any) -> Path:
    write_pictures(folder / "images", ("a.png", "b.png"))
    pose = [[1, 0, 0, 1.0], [0, 0, -1, -2.0], [0, 1, 0, 3.0], [0, 0, 0, 1]]
    content = {
        "fl_x": 7.0,
        "fl_y": 6.5,
        "cx": 4.2,
        "cy": 2.9,
        "k1": 0.05,
        "p2": 0.001,
        "w": 8.0,
        "h": 6.0,
        "frames": [
            {"file_path": "images/b.png", "transform_matrix": pose},
            {"file_path": "./images/a", "transform_matrix": pose},
        ],
    }
    path = folder / "transforms.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_distortion_is_that_of_opencvs_formula() -> None:
    x, y = 0.3, -0.2
    square = x * x + y * y
    radial = 1 + 0.058 * square - 0.081 * square**2 + 0.01 * square**3
    expected = (
        700 * (x * radial + 2 * -0.001 * x * y + 0.0002 * (square + 2 * x * x)) + 280,
        690 * (y * radial + -0.001 * (square + 2 * y * y) + 2 * 0.0002 * x * y) + 480,
    )
    assert CURVED.project(np.asarray([x, y])).tolist() == pytest.approx(expected)
    plane = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    twice = CURVED.scaled(2, 2).project(plane)
    np.testing.assert_allclose(twice, 2 * CURVED.project(plane))


def test_a_lens_sees_as_far_as_its_formula_grows() -> None:
    # r (1 - r^2 / 4) grows up to r^2 = 4 / 3, and is 0 again at r = 2, 63 degrees off the axis.
    barrel = Lens((700.0, 690.0), (280.0, 480.0), (-0.25, 0.0, 0.0))
    assert barrel.project(np.asarray([2.0, 0.0])).tolist() == [280, 480]
    edge = math.sqrt(4 / 3)
    radii = np.asarray([0.0, 0.999 * edge, 1.001 * edge, 2.0, 50.0])
    for direction in ([1.0, 0.0], [-0.6, 0.8]):
        assert barrel.sees(radii[:, None] * direction).tolist() == [True, True, False, False, False]
    both = (-1.0, 0.1, 0.0)  # 1 - 3 s + s^2 / 2 is 0 at s = 3 - sqrt(7)
    for k, square in (((0.0, -0.2, 0.0), 1.0), ((0.0, 0.0, -1 / 7), 1.0), (both, 3 - math.sqrt(7))):
        lens = Lens((1.0, 1.0), (0.0, 0.0), k)
        r = np.sqrt(square) * np.asarray([0.999, 1.001])
        assert lens.sees(np.stack([r, 0 * r], axis=-1)).tolist() == [True, False]
    far = np.asarray([[1e3, -1e3]])
    assert Lens((1.0, 1.0), (0.0, 0.0)).sees(far).all()
    assert Lens((1.0, 1.0), (0.0, 0.0), (0.1, 0.01, 0.0)).sees(far).all()


def test_transforms_are_turned_to_opencvs_axes(tmp_path: Path) -> None:
    found = read_transforms(write_transforms(tmp_path))
    assert [p.path.name for p in found.photographs] == ["a.png", "b.png"] and found.warnings == ()
    photograph = found.photographs[0]
    # The file's camera looks along its -z, which is the world's +y here; its up is the world's z.
    pose = photograph.camera_to_world
    assert pose[:3, 2].tolist() == [0, 1, 0]
    assert pose[:3, 1].tolist() == [0, 0, -1]
    assert pose[:3, 3].tolist() == [1, -2, 3]
    assert photograph.lens == Lens((7.0, 6.5), (4.2, 2.9), (0.05, 0, 0), (0, 0.001))
    assert photograph.size == (6, 8) and photograph.mask is None
    assert found.up is not None and found.up.tolist() == [0, 0, 1]


def test_a_point_ahead_is_in_the_middle(tmp_path: Path) -> None:
    photograph = read_transforms(write_transforms(tmp_path)).photographs[0]
    point = np.asarray([1.0, 5.0, 3.0, 1.0])  # seven metres along the view
    local = np.linalg.inv(photograph.camera_to_world) @ point
    assert local[2] == pytest.approx(7)
    assert photograph.lens.project(local[:2] / local[2]).tolist() == pytest.approx([4.2, 2.9])


def test_an_angle_of_view_serves_for_a_focal_length(tmp_path: Path) -> None:
    path = write_transforms(tmp_path)
    content = json.loads(path.read_text())
    for name in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        del content[name]
    path.write_text(json.dumps({**content, "camera_angle_x": math.pi / 2}))
    lens = read_transforms(path).photographs[0].lens
    assert lens.focal == pytest.approx((4, 4)) and lens.principal == (4, 3)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.webp", "turned.tif", "plain.exr"])
def test_without_a_size_the_pictures_own_stored_one_serves(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "plain.exr":
        write_picture(path, Picture(np.zeros((6, 8, 3), np.float32), "exr", "half"))
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (6, 8)).save(path, exif=exif)
    frame = {"file_path": name, "transform_matrix": np.eye(4).tolist(), "camera_angle_x": 1.0}
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [frame]}))
    photograph = read_transforms(tmp_path / "transforms.json").photographs[0]
    assert photograph.size == ((6, 8) if name == "plain.exr" else (8, 6))
    assert photograph.orientation == (1 if name == "plain.exr" else 6)
    assert read_as_posed(path, photograph.orientation).pixels.shape[:2] == photograph.size
    assert photograph.lens.principal == (photograph.size[1] / 2, photograph.size[0] / 2)


def test_missing_pictures_are_left_out_and_masks_are_found(tmp_path: Path) -> None:
    path = write_transforms(tmp_path)
    (tmp_path / "images" / "b.png").unlink()
    write_pictures(tmp_path / "images_mask", ("a.png",))
    found = read_transforms(path)
    assert found.warnings == ("images/b.png is not there; it is left out",)
    assert found.photographs[0].mask == tmp_path / "images_mask" / "a.png"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frames": None}, "has no list of frames"),
        ({"frames": [{}]}, "frame 0 names no picture"),
        ({"frames": [{"file_path": "images/none.png"}]}, "none of its 1 pictures is there"),
        ({"frames": [{"file_path": "images/a.png"}]}, "camera is not complete"),
        ({"frames": [{"file_path": "images/a.png", "transform_matrix": [[1, 2], [3, 4]]}]}, "not a 4 x 4"),
        ({"fl_x": math.nan}, "fl_x is nan"),
        ({"fl_x": -3}, "give focal lengths above 0"),
        ({"k5": 0.1}, "k4 to k6 are not supported; undistort the pictures"),
        ({"w": 0}, "w and h are 0 and 6; give numbers above 0"),
        ({"up": [0, 0, 0]}, r"up is \[0, 0, 0\], not three numbers"),
        ({"up": "z"}, "up is z, not three numbers"),
        ({"up": None}, "up is None, not three numbers"),
        ({"camera_model": "OPENCV_FISHEYE"}, "the lens OPENCV_FISHEYE is not supported"),
    ],
)
def test_files_that_say_too_little_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ClearpaneError, match=says) as error:
        read_transforms(write_transforms(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_poses_lose_their_scale_and_mirrored_ones_are_refused() -> None:
    pose = np.diag([2.0, 2.0, 2.0, 1.0])
    np.testing.assert_allclose(check_pose(pose, "here"), np.eye(4))
    with pytest.raises(ClearpaneError, match="here: the pose holds no rotation"):
        check_pose(np.diag([-1.0, 1, 1, 1]), "here")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_PINHOLE", [7.0, 4.0, 3.0]),
        ("PINHOLE", [7.0, 6.5, 4.0, 3.0]),
        ("SIMPLE_RADIAL", [7.0, 4.0, 3.0, 0.05]),
        ("RADIAL", [7.0, 4.0, 3.0, 0.05, -0.02]),
        ("OPENCV", [7.0, 6.5, 4.0, 3.0, 0.05, -0.02, 0.001, 0.002]),
    ],
)
def test_colmaps_models_project_as_pycolmap_does(
    tmp_path: Path, model: str, parameters: list[float], binary: bool
) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, 3, 20
    options.camera_width, options.camera_height = 8, 6
    options.camera_model_id = getattr(pycolmap.CameraModelId, model)
    options.camera_params = parameters
    made = pycolmap.synthesize_dataset(options)
    folder = tmp_path / "sparse"
    folder.mkdir()
    (made.write_binary if binary else made.write_text)(str(folder))
    names = sorted(image.name for image in made.images.values())
    write_pictures((tmp_path / "images" / names[0]).parent, tuple(Path(n).name for n in names[:-1]))
    found = read_colmap(folder, tmp_path / "images")
    assert len(found.photographs) == 2
    assert found.warnings == (f"{names[-1]} is not in {tmp_path / 'images'}; it is left out",)
    assert found.points.shape == (20, 3)
    by_name = {image.name: image for image in made.images.values()}
    for photograph, name in zip(found.photographs, names, strict=False):
        image = by_name[name]
        for point in found.points[:5]:
            expected = image.project_point(point)
            if expected is None:
                continue
            local = np.linalg.inv(photograph.camera_to_world) @ [*point, 1]
            mine = photograph.lens.project(local[:2] / local[2])
            np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-3)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    with pytest.raises(ClearpaneError, match="cannot be read as a COLMAP model"):
        read_colmap(tmp_path, tmp_path)
