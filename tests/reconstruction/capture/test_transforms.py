"""Cameras written to a transforms.json and read again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet
from clearpane.reconstruction.capture.placement import upright
from clearpane.reconstruction.capture.transforms import read_transforms, write_transforms

LENS = Lens((700.0, 690.5), (280.0, 481.0), (0.058, -0.081, 0.01), (-0.001, 0.0002))


@pytest.fixture
def photographs(tmp_path: Path) -> PhotographSet:
    """Three of them, the last by another lens; up is not known, and nowhere near z."""
    posed = []
    for name, lens in (("a b.jpg", LENS), ("b.png", LENS), ("c.png", LENS.scaled(0.5, 0.5))):
        path = tmp_path / "duck" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
        rotation = np.linalg.qr(np.random.default_rng(len(posed)).normal(size=(3, 3)))[0]
        pose = np.eye(4)
        pose[:3, :3] = rotation * np.linalg.det(rotation)
        pose[:3, 3] = [1.0, len(posed), 2.5]
        posed.append(Photograph(path, pose, lens, (960, 560)))
    mask = tmp_path / "duck" / "cut" / "b.png"
    mask.parent.mkdir()
    Image.new("L", (8, 6)).save(mask)
    posed[1] = replace(posed[1], mask=mask)
    return PhotographSet(tuple(posed), np.ones((1, 3)), None, ("something",), poses_found=True)


def check_equal(found: PhotographSet, expected: PhotographSet) -> None:
    for one, other in zip(found.photographs, expected.photographs, strict=True):
        np.testing.assert_allclose(one.camera_to_world, other.camera_to_world, atol=1e-12)
        assert one.path.samefile(other.path)
        assert (one.lens, one.size) == (other.lens, other.size)
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or other.mask is None or one.mask.samefile(other.mask)
    assert not found.poses_found


@pytest.mark.parametrize("folder", [".", "results", "duck/images"])
def test_what_was_written_is_read(tmp_path: Path, photographs: PhotographSet, folder: str) -> None:
    path = tmp_path / folder / "duck_transforms.json"
    path.parent.mkdir(exist_ok=True)
    write_transforms(photographs, path)
    check_equal(read_transforms(path, tmp_path / "duck"), photographs)
    assert str(tmp_path) not in path.read_text()
    content = json.loads(path.read_text())
    assert content["k2"] == -0.081 and "fl_x" not in content
    assert [frame["fl_x"] for frame in content["frames"]] == [700, 700, 350]


def test_pictures_named_from_elsewhere_are_found_too(
    tmp_path: Path, photographs: PhotographSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = tuple(replace(p, path=p.path.relative_to(tmp_path)) for p in photographs.photographs)
    (tmp_path / "results").mkdir()
    write_transforms(replace(photographs, photographs=here), Path("results/duck.json"))
    check_equal(read_transforms(tmp_path / "results" / "duck.json", Path("duck")), photographs)


def test_the_world_is_turned_as_before(tmp_path: Path, photographs: PhotographSet) -> None:
    poses = [p.camera_to_world for p in photographs.photographs]
    for number, up in enumerate((None, np.asarray([0.0, 0.0, 1.0]), np.asarray([0.3, -2.0, 0.1]))):
        path = tmp_path / f"{number}.json"
        write_transforms(replace(photographs, up=up), path)
        read = read_transforms(path)
        np.testing.assert_allclose(upright(poses, read.up), upright(poses, up), atol=1e-12)


def test_a_file_that_is_there_stays(tmp_path: Path, photographs: PhotographSet) -> None:
    path = tmp_path / "transforms.json"
    path.write_text("mine")
    with pytest.raises(ClearpaneError, match="exists already"):
        write_transforms(photographs, path)
    assert path.read_text() == "mine"
    write_transforms(photographs, path, overwrite=True)
    check_equal(read_transforms(path), photographs)


def naming(tmp_path: Path, **frame: object) -> Path:
    """A file of views with one frame, beside a folder of pictures; a secret lies above both."""
    for name in ("views/images/a.png", "views/images/a_mask.png", "secret.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    path = tmp_path / "views" / "transforms.json"
    frames = [{"file_path": "images/a.png", "transform_matrix": np.eye(4).tolist(), **frame}]
    path.write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))
    return path


@pytest.mark.parametrize("entry", ["file_path", "mask_path"])
@pytest.mark.parametrize(
    "name", ["../secret.png", "images/../../secret.png", "..\\secret.png", "{}/secret.png", "link.png"]
)
def test_pictures_outside_the_folder_are_refused(tmp_path: Path, entry: str, name: str) -> None:
    path = naming(tmp_path, **{entry: name.format(tmp_path)})
    (path.parent / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ClearpaneError, match=r"frame 0: .*lies outside the file's folder; give its folder"):
        read_transforms(path)
    (found,) = read_transforms(path, tmp_path).photographs
    assert (found.path if entry == "file_path" else found.mask).samefile(tmp_path / "secret.png")  # type: ignore[union-attr]


def test_a_link_found_by_a_name_without_ending_is_followed_too(tmp_path: Path) -> None:
    path = naming(tmp_path, file_path="images/link")
    (tmp_path / "views" / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ClearpaneError, match="lies outside"):
        read_transforms(path)


def test_an_absolute_name_inside_the_folder_is_read(tmp_path: Path) -> None:
    path = naming(tmp_path, file_path=str(tmp_path / "views" / "images" / "a.png"))
    assert read_transforms(path).photographs[0].path.name == "a.png"


@pytest.mark.parametrize("name", ["images/*", "images/**", "images/[ab]", "images/?", "", "."])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClearpaneError, match="none of its 1 pictures is there"):
        read_transforms(naming(tmp_path, file_path=name))


@pytest.mark.parametrize(
    "text",
    ['{"frames": ' + "[" * 100_000, '{"frames": [{"file_path": "images/a.png", "transform_matrix": 1e999}]}'],
)
def test_damage_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = naming(tmp_path)
    path.write_text(text)
    with pytest.raises(ClearpaneError, match=r"transforms\.json"):
        read_transforms(path)


@pytest.mark.parametrize(
    "changes",
    [{"w": float("inf"), "h": 6}, {"fl_x": 10**400}, {"camera_angle_x": 10**400}, {"w": 10**400, "h": 1}],
)
def test_numbers_beyond_floats_are_said_in_one_line(tmp_path: Path, changes: dict[str, float]) -> None:
    with pytest.raises(ClearpaneError, match="frame 0: its camera is not complete"):
        read_transforms(naming(tmp_path, **changes))
