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
    check_equal(read_transforms(path), photographs)
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
    check_equal(read_transforms(tmp_path / "results" / "duck.json"), photographs)


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
