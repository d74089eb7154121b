"""Whatever a user names, the photographs in it are found, or one line says what to name."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture import opening as views
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet


def write_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 6)).save(folder / name)


def write_transforms(path: Path, **frame: Any) -> Path:
    write_pictures(path.parent / "train", "a.png", "b.png")
    frames = [
        {"file_path": f"train/{name}", "transform_matrix": np.eye(4).tolist(), **frame} for name in "ab"
    ]
    path.write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    return path


@pytest.mark.parametrize("name", ["transforms.json", "transforms_train.json"])
def test_transforms_are_named_themselves_or_by_their_folder(tmp_path: Path, name: str) -> None:
    path = write_transforms(tmp_path / name)
    for named in (path, tmp_path):
        found = open_views(named)
        assert [p.path.name for p in found.photographs] == ["a.png", "b.png"]
        assert found.up is not None and not found.poses_found


def test_masks_are_those_given_or_those_beside(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "transforms.json")
    write_pictures(tmp_path / "masks", "a.png", "b.png")
    write_pictures(tmp_path / "other", "b.png")
    assert [p.mask for p in open_views(path).photographs] == [tmp_path / "masks" / f"{n}.png" for n in "ab"]
    found = open_views(tmp_path, tmp_path / "other")
    assert [p.mask for p in found.photographs] == [None, tmp_path / "other" / "b.png"]
    assert found.warnings == (f"{tmp_path / 'other'} holds no mask of a.png",)
    write_pictures(tmp_path / "empty")
    with pytest.raises(ClearpaneError, match=r"empty: holds no mask of any photograph"):
        open_views(tmp_path, tmp_path / "empty")
    # Masks that the file names are not looked for in a folder that happens to be there.
    write_pictures(tmp_path / "masks", "of both.png")
    named = open_views(write_transforms(tmp_path / "transforms.json", mask_path="masks/of both.png"))
    assert {p.mask for p in named.photographs} == {tmp_path / "masks" / "of both.png"}


def write_model(folder: Path, frames: int, binary: bool = False) -> list[str]:
    """The names of a model's pictures."""
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, frames, 20
    options.camera_width, options.camera_height = 8, 6
    options.camera_model_id, options.camera_params = pycolmap.CameraModelId.SIMPLE_PINHOLE, [7.0, 4.0, 3.0]
    made = pycolmap.synthesize_dataset(options)
    for index, image in enumerate(made.images.values()):
        image.name = f"{index}.png"
    folder.mkdir(parents=True)
    (made.write_binary if binary else made.write_text)(str(folder))
    return sorted(image.name for image in made.images.values())


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "pictures", "named"),
    [
        ("sparse/0", "images", "."),
        ("sparse/0", "images", "sparse/0"),
        ("sparse", "images", "."),
        ("model", "images", "model"),
        ("model", "model", "model"),
        ("sparse/0", ".", "."),
    ],
)
def test_colmaps_layouts(tmp_path: Path, model: str, pictures: str, named: str, binary: bool) -> None:
    names = write_model(tmp_path / model, 4, binary)
    write_pictures(tmp_path / pictures, *names)
    found = open_views(tmp_path / named)
    assert [p.path for p in found.photographs] == [tmp_path / pictures / name for name in names]
    assert found.up is None and len(found.points) == 20


def test_of_several_models_the_largest_is_taken(tmp_path: Path) -> None:
    for number, frames in enumerate((3, 5, 2)):
        names = write_model(tmp_path / "sparse" / str(number), frames)
        write_pictures(tmp_path / "images", *names)
    assert len(open_views(tmp_path).photographs) == 5


def test_a_model_without_pictures_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "deep" / "sparse" / "0", 3)
    with pytest.raises(ClearpaneError, match=r"the model's pictures are not there; put them into .*images"):
        open_views(tmp_path / "deep")
    write_pictures(tmp_path / "deep" / "images", "other.png")
    with pytest.raises(ClearpaneError, match=r"none of the 3 pictures of .* is there"):
        open_views(tmp_path / "deep")


@pytest.fixture
def posed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Path], list[Path | None]]]:
    """What poses are asked for; the first picture gets none."""
    asked: list[tuple[list[Path], list[Path | None]]] = []

    def find(
        pictures: Sequence[Path], masks: Sequence[Path | None], on_step: Callable[[str], object]
    ) -> PhotographSet:
        asked.append((list(pictures), list(masks)))
        on_step("finding")
        lens = Lens((7.0, 7.0), (4.0, 3.0))
        found = tuple(Photograph(path, np.eye(4), lens, (6, 8)) for path in pictures[1:])
        return PhotographSet(found, np.zeros((0, 3)), None, ("one was left out",), poses_found=True)

    monkeypatch.setattr(views, "find_poses", find)
    return asked


@pytest.mark.parametrize("folder", [".", "images"])
def test_plain_photographs_get_poses(tmp_path: Path, posed: list[Any], folder: str) -> None:
    write_pictures(tmp_path / folder, "b.jpg", "a.PNG", "c.webp", ".hidden.jpg", "a_mask.png")
    (tmp_path / folder / "notes.txt").write_text("no picture")
    steps: list[str] = []
    found = open_views(tmp_path, on_step=steps.append)
    pictures = [tmp_path / folder / name for name in ("a.PNG", "b.jpg", "c.webp")]
    assert posed == [(pictures, [])] and steps == ["finding"]
    assert [p.path for p in found.photographs] == pictures[1:] and found.poses_found
    write_pictures(tmp_path / "masks", "a.png", "b.png")
    found = open_views(tmp_path)
    assert posed[1] == (pictures, [tmp_path / "masks" / "a.png", tmp_path / "masks" / "b.png", None])
    assert found.warnings == (f"{tmp_path / 'masks'} holds no mask of c.webp", "one was left out")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no photograph"),
        (["a.jpg"], "holds a single photograph"),
        (["a.jpg", "b.jpg"], "holds 2 photographs"),
    ],
)
def test_too_few_photographs_are_refused(tmp_path: Path, names: list[str], says: str) -> None:
    write_pictures(tmp_path, *names)
    with pytest.raises(ClearpaneError, match=f"{says}; name a transforms.json.*at least 3") as error:
        open_views(tmp_path)
    assert "\n" not in str(error.value)


def test_anything_else_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    with pytest.raises(ClearpaneError, match=r"a\.jpg: is a file that describes no object; name a"):
        open_views(tmp_path / "a.jpg")
    with pytest.raises(ClearpaneError, match=r"none: no such file or folder; name a transforms\.json"):
        open_views(tmp_path / "none")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ClearpaneError, match=r"other\.json: has no list of frames"):
        open_views(tmp_path / "other.json")


def test_windows_paths_a_byte_order_mark_and_poses_of_three_rows(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.png", "b.png")
    write_pictures(tmp_path / "cut", "a.png")
    pose = np.eye(4)[:3].tolist()
    frames = [
        {"file_path": ".\\images\\a.png", "mask_path": "cut\\a.png", "transform_matrix": pose},
        {"file_path": "images\\b", "transform_matrix": pose},
    ]
    text = json.dumps({"camera_angle_x": 0.8, "frames": frames})
    (tmp_path / "transforms.json").write_text(text, encoding="utf-8-sig")
    first, second = open_views(tmp_path).photographs
    assert first.path.samefile(tmp_path / "images" / "a.png")
    assert first.mask is not None and first.mask.samefile(tmp_path / "cut" / "a.png")
    assert second.path.samefile(tmp_path / "images" / "b.png") and second.mask is None
    np.testing.assert_array_equal(first.camera_to_world, np.diag([1.0, -1, -1, 1]))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("pictures", ["images", "input"])
@pytest.mark.parametrize("model", ["colmap/sparse/0", "colmap", "distorted/sparse/0", "sparse/0"])
def test_layouts_of_other_programs(tmp_path: Path, model: str, pictures: str, binary: bool) -> None:
    names = write_model(tmp_path / model, 4, binary)
    write_pictures(tmp_path / pictures, *names)
    (tmp_path / "transforms.json").write_text('{"frames": []}')
    found = open_views(tmp_path)
    assert [p.path for p in found.photographs] == [tmp_path / pictures / name for name in names]
    assert not found.poses_found


@pytest.mark.parametrize("binary", [True, False])
def test_a_model_without_points_gives_its_cameras(tmp_path: Path, binary: bool) -> None:
    names = write_model(tmp_path / "sparse" / "0", 4, binary)
    write_pictures(tmp_path / "images", *names)
    expected = open_views(tmp_path)
    (tmp_path / "sparse" / "0" / f"points3D.{'bin' if binary else 'txt'}").unlink()
    found = open_views(tmp_path)
    assert found.points.shape == (0, 3) and len(found.photographs) == 4
    for one, other in zip(found.photographs, expected.photographs, strict=True):
        np.testing.assert_array_equal(one.camera_to_world, other.camera_to_world)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("prefix", ["my photo ", "day 1/IMG ", "day 1\\IMG "])
def test_names_with_spaces_and_folders(tmp_path: Path, prefix: str, binary: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    folder = tmp_path / "sparse" / "0"
    write_model(folder, 4, binary=True)
    model = pycolmap.Reconstruction(str(folder))
    expected = {}
    for number, image in model.images.items():
        image.name = f"{prefix}{number}.png"
        expected[image.name.replace("\\", "/")] = np.linalg.inv(
            np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        )
    for file in folder.iterdir():
        file.unlink()
    (model.write_binary if binary else model.write_text)(str(folder))
    for name in expected:
        write_pictures((tmp_path / "images" / name).parent, Path(name).name)
    found = open_views(tmp_path).photographs
    assert {p.path.relative_to(tmp_path / "images").as_posix() for p in found} == set(expected)
    for p in found:
        pose = expected[p.path.relative_to(tmp_path / "images").as_posix()]
        np.testing.assert_allclose(p.camera_to_world, pose, atol=1e-9)


@pytest.mark.parametrize("extra", [[0.0, 0, 0], [0.1, 0, 0], [0.0, 0.1, 0]])
def test_full_opencv_without_its_denominator_is_read(tmp_path: Path, extra: list[float]) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    folder = tmp_path / "sparse" / "0"
    names = write_model(folder, 3)
    lines = (folder / "cameras.txt").read_text().splitlines()
    numbers = [line.split()[0] for line in lines if not line.startswith("#")]
    values = [7.0, 7.5, 4.0, 3.0, 0.01, -0.02, 0.001, 0.002, 0.03, *extra]
    text = "".join(f"{n} FULL_OPENCV 8 6 {' '.join(map(str, values))}\n" for n in numbers)
    (folder / "cameras.txt").write_text(text)
    write_pictures(tmp_path / "images", *names)
    if any(extra):
        with pytest.raises(ClearpaneError, match="k4 to k6 is not supported; undistort"):
            open_views(tmp_path)
        return
    lens = open_views(tmp_path).photographs[0].lens
    camera = pycolmap.Camera(model="FULL_OPENCV", width=8, height=6, params=values)
    rays = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 2))
    expected = camera.img_from_cam(np.column_stack([rays, np.ones(20)]))
    np.testing.assert_allclose(lens.project(rays), expected, atol=1e-9)
