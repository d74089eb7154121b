"""Poses found again: a corner of three textured planes, photographed from eight places."""

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture import structure_from_motion
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet
from clearpane.reconstruction.capture.placement import place_object
from clearpane.reconstruction.capture.structure_from_motion import find_poses, triangulate

pytest.importorskip("pycolmap")

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
VIEWS = 8
TURNED, LARGE = 2, 5  # lies on its side in the file; has twice the resolution


@functools.cache
def texture(seed: int, side: int = 512) -> np.ndarray:
    """Noise of several sizes, [side, side, 3]."""
    generator = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells, weight in ((8, 0.4), (32, 0.6), (128, 0.6), (256, 0.4)):
        noise = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += weight * np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / 255
    return np.asarray((total - total.mean() + 0.5).clip(0, 1))


def poses() -> list[np.ndarray]:
    found = []
    for view in range(VIEWS):
        angle = np.pi / 4 + 1.2 * (view / (VIEWS - 1) - 0.5)
        eye = np.asarray([3.7 * np.cos(angle), 3.7 * np.sin(angle), 1.2 + 0.4 * (view % 2)])
        forward = np.asarray([0.6, 0.6, 0.5]) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=-1)
        found.append(pose)
    return found


def photograph(pose: np.ndarray, seed: int = 0, scale: int = 1) -> np.ndarray:
    """The corner, two metres along each axis, as a pinhole sees it, [H, W, 3] uint8."""
    x, y = np.meshgrid(np.arange(scale * WIDTH) + 0.5, np.arange(scale * HEIGHT) + 0.5)
    plane = np.stack([x / scale - WIDTH / 2, y / scale - HEIGHT / 2], axis=-1) / FOCAL
    directions = np.concatenate([plane, np.ones((*x.shape, 1))], axis=-1) @ pose[:3, :3].T
    colours, nearest = np.full((*x.shape, 3), 0.5), np.full(x.shape, np.inf)
    for axis in range(3):
        distance = -pose[axis, 3] / directions[..., axis]
        across = np.delete(pose[:3, 3] + distance[..., None] * directions, axis, axis=-1)
        seen = (distance > 0) & (distance < nearest) & ((across >= 0) & (across < 2)).all(-1)
        image = texture(3 * seed + axis)
        index = (across * 256)[seen].astype(int)
        nearest = np.where(seen, distance, nearest)
        colours[seen] = image[index[:, 0], index[:, 1]]
    return (255 * colours).round().astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("corner")
    paths = []
    for view, pose in enumerate(poses()):
        paths.append(folder / f"view {view}.{'png' if view % 2 else 'jpg'}")
        image = Image.fromarray(photograph(pose, scale=2 if view == LARGE else 1))
        if view == TURNED:
            exif = Image.Exif()
            exif[0x0112] = 6
            image.rotate(90, expand=True).save(paths[-1], quality=95, exif=exif)
        else:
            image.save(paths[-1], quality=95)
    return paths


def as_known(pictures: list[Path], posed_as: list[np.ndarray]) -> PhotographSet:
    """The photographs by poses that are given."""
    lens = Lens((FOCAL, FOCAL), (WIDTH / 2, HEIGHT / 2))
    posed = [Photograph(p, pose, lens, (HEIGHT, WIDTH)) for p, pose in zip(pictures, posed_as, strict=True)]
    return PhotographSet(tuple(posed), np.zeros((0, 3)), None)


def test_poses_come_back_and_a_stranger_is_left_out(
    pictures: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger.png"
    Image.fromarray(photograph(poses()[0], seed=1)).save(stranger)
    steps: list[str] = []
    found = find_poses([pictures[0], stranger, *pictures[1:]], on_step=steps.append)
    assert found.warnings == ("no pose was found for stranger.png; left out",)
    assert [p.path for p in found.photographs] == pictures
    assert steps == ["reading 9 photographs", "matching 36 pairs of photographs", "finding the poses"]
    assert capfd.readouterr() == ("", "")
    assert found.up is None and len(found.points) > 100 and found.poses_found
    for view, photo in enumerate(found.photographs):
        scale = 2 if view == LARGE else 1
        assert photo.size == (scale * HEIGHT, scale * WIDTH)
        assert photo.lens.focal == pytest.approx((scale * FOCAL, scale * FOCAL), rel=0.02)
    centres = np.stack([p.camera_to_world[:3, 3] for p in found.photographs])
    true = np.stack([pose[:3, 3] for pose in poses()])
    rotation, scale, offset = similarity(centres, true)
    np.testing.assert_allclose(scale * centres @ rotation.T + offset, true, atol=0.02)
    for photo, pose in zip(found.photographs, poses(), strict=True):
        turned = rotation @ photo.camera_to_world[:3, :3]
        assert np.degrees(np.arccos((np.trace(turned @ pose[:3, :3].T) - 1) / 2)) < 1


def similarity(points: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Umeyama's: rotation, scale and offset that bring points nearest to others."""
    a, b = points - points.mean(0), onto - onto.mean(0)
    left, values, right = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.linalg.det(left @ right)])
    rotation = left @ sign @ right
    scale = float(values @ np.diag(sign) / (a**2).sum())
    return rotation, scale, onto.mean(0) - scale * rotation @ points.mean(0)


def test_points_by_known_poses_lie_on_the_planes(pictures: list[Path]) -> None:
    found = triangulate(as_known(pictures[2:6], poses()[2:6]))
    assert len(found.points) > 100 and found.error < 0.5
    assert found.seen.shape == (4,) and found.seen.min() > 30
    assert np.median(np.abs(found.points).min(-1)) < 0.005  # metres off the nearest of the three planes


def test_where_all_views_cut_the_object_off_it_is_where_its_points_are(pictures: list[Path]) -> None:
    # Of the corner, each mask shows what is nearer to it than a metre, and something at the frame.
    masks = []
    for pose in poses()[2:6]:
        x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        centre = -pose[:3, :3].T @ pose[:3, 3]
        middle = FOCAL * centre[:2] / centre[2] + [WIDTH / 2, HEIGHT / 2]
        mask = np.hypot(x - middle[0], y - middle[1]) < FOCAL / centre[2]
        mask[:, :2] = True
        masks.append(mask.astype(np.float32))
    placement = place_object(as_known(pictures[2:6], poses()[2:6]), masks)
    low, high = placement.centre - 0.5 / placement.scale, placement.centre + 0.5 / placement.scale
    assert np.abs(low).max() < 0.2 and np.abs(high - 1).max() < 0.2


def test_large_pictures_are_looked_at_small_and_their_lenses_are_their_own(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure_from_motion, "_SIDE", WIDTH)
    masks, large = [], []
    for view in range(2, 6):
        large.append(tmp_path / f"{view}.png")
        Image.fromarray(photograph(poses()[view], scale=2)).save(large[-1])
        masks.append(tmp_path / f"{view}_mask.png")
        Image.new("L", (2 * WIDTH, 2 * HEIGHT), 255).save(masks[-1])
    found = find_poses(large, masks)
    assert found.poses_found
    for photo in found.photographs:
        assert photo.size == (2 * HEIGHT, 2 * WIDTH)
        assert photo.lens.focal == pytest.approx((2 * FOCAL, 2 * FOCAL), rel=0.03)
        assert photo.lens.principal == pytest.approx((WIDTH, HEIGHT))


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    strangers = []
    for seed in range(3):
        strangers.append(tmp_path / f"{seed}.png")
        Image.fromarray(photograph(poses()[0], seed=seed)).save(strangers[-1])
    with pytest.raises(ClearpaneError, match="do not fit together; photograph with more overlap") as error:
        find_poses(strangers)
    assert "\n" not in str(error.value)
    nothing = triangulate(as_known(strangers, poses()[:3]))
    assert nothing.points.shape == (0, 3) and np.isnan(nothing.error) and nothing.seen.tolist() == [0, 0, 0]
    with pytest.raises(ClearpaneError, match="2 photographs are too few"):
        find_poses(strangers[:2])


def test_on_a_turntable_masks_tell_what_moves(pictures: list[Path], tmp_path: Path) -> None:
    still = photograph(poses()[0], seed=2)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[50:200, 60:260] = True
    turned, masks = [], []
    for view, pose in enumerate(poses()[2:6]):
        turned.append(tmp_path / f"{view}.png")
        Image.fromarray(np.where(inside[..., None], photograph(pose), still)).save(turned[-1])
        masks.append(tmp_path / f"{view}_mask.png")
        Image.fromarray(inside).save(masks[-1])
    turned.append(tmp_path / "bare.png")
    Image.fromarray(still).save(turned[-1])
    steps: list[str] = []
    found = find_poses(turned, [*masks, None], steps.append)
    assert "matching again within the masks" in steps
    assert found.warnings == ("no pose was found for bare.png; left out",)
    assert [p.mask for p in found.photographs] == masks
    centres = np.stack([p.camera_to_world[:3, 3] for p in found.photographs])
    true = np.stack([pose[:3, 3] for pose in poses()[2:6]])
    rotation, scale, offset = similarity(centres, true)
    np.testing.assert_allclose(scale * centres @ rotation.T + offset, true, atol=0.1)
