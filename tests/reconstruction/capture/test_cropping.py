"""From files to views in the cube: a ball and a box somewhere in a world of other axes and units."""

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import check_views
from clearpane.reconstruction.capture import cutting_out
from clearpane.reconstruction.capture.cropping import load_capture
from clearpane.reconstruction.capture.photographs import Lens, Photograph
from clearpane.reconstruction.capture.placement import (
    Placement,
    axes_meet,
    place_by_masks,
    place_by_points,
    upright,
)
from clearpane.reconstruction.capture.transforms import read_transforms
from clearpane.reconstruction.field.evidence import Evidence, add_views, voxel_centres

CENTRE, RADIUS = np.asarray([5.0, -3.0, 2.0]), 0.8
LENS = Lens((150.0, 150.0), (62.0, 47.0), (0.05, -0.02, 0.0), (0.001, 0.0005))
WIDTH, HEIGHT = 128, 96


def undistorted(lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """The inverse of a lens's `project`, by iteration: [..., 2] -> [..., 2]."""
    distorted = (pixels - lens.principal) / np.asarray(lens.focal)
    plane = distorted
    for _ in range(20):
        plane = plane + distorted - lens.distort(plane)
    return np.asarray(plane)


def placed_back(placement: Placement, points: np.ndarray) -> np.ndarray:
    """The inverse of a placement's `place`."""
    return np.asarray(points @ placement.rotation / placement.scale + placement.centre)


def write_ball(folder: Path, views: int = 8, masks: bool = False) -> Path:
    """Photographs of a ball, coloured by its normal, by a lens with distortion; the world's z is up."""
    folder.mkdir(parents=True, exist_ok=True)
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    plane = undistorted(LENS, np.stack([column, row], axis=-1))
    frames = []
    for view in range(views):
        angle, height = 2.4 * view, 2 * (view + 0.5) / views - 1
        level = math.sqrt(1 - height**2)
        away = np.asarray([level * math.cos(angle), level * math.sin(angle), height])
        origin = CENTRE + 4 * away
        right = np.cross(-away, [0.1, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.stack([right, np.cross(-away, right), -away], axis=-1)
        directions = np.concatenate([plane, np.ones((HEIGHT, WIDTH, 1))], axis=-1) @ pose.T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        along = directions @ (CENTRE - origin)
        root = along**2 - 16 + RADIUS**2
        mask = root > 0
        normal = (origin + (along - np.sqrt(np.maximum(root, 0)))[..., None] * directions - CENTRE) / RADIUS
        colour = np.where(mask[..., None], normal / 2 + 0.5, 0.3)
        pixels = np.concatenate([colour, mask[..., None]], axis=-1)
        image = Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8))
        if masks:
            beside = folder / "train_mask"
            beside.mkdir(exist_ok=True)
            image.getchannel("A").save(beside / f"{view:04d}.png")
            image = image.convert("RGB")
        (folder / "train").mkdir(exist_ok=True)
        image.save(folder / "train" / f"{view:04d}.png")
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = pose * [1, -1, -1], origin  # the file's axes are OpenGL's
        frames.append({"file_path": f"train/{view:04d}", "transform_matrix": matrix.tolist()})
    path = folder / "transforms_train.json"
    (k1, k2, k3), (p1, p2) = LENS.radial, LENS.tangential
    lens = {"fl_x": LENS.focal[0], "fl_y": LENS.focal[1], "cx": LENS.principal[0], "cy": LENS.principal[1]}
    distortion = {"k1": k1, "k2": k2, "k3": k3, "p1": p1, "p2": p2, "w": WIDTH, "h": HEIGHT}
    path.write_text(json.dumps({**lens, **distortion, "frames": frames}))
    return path


@pytest.mark.parametrize("masks", [False, True])
def test_the_object_comes_to_fill_the_cube(tmp_path: Path, masks: bool) -> None:
    capture = load_capture(read_transforms(write_ball(tmp_path, masks=masks)), 64)
    check_views(capture.pictures, capture.masks, capture.cameras)
    placement = capture.placement
    # The hull of eight views is larger than the ball, by little.
    assert np.linalg.norm(placement.centre - CENTRE) < 0.1
    assert 1 / placement.scale / (2 * RADIUS) == pytest.approx(1.12, abs=0.1)
    evidence = add_views(
        Evidence.empty(32, capture.pictures), capture.pictures, capture.masks, capture.cameras
    )
    inside = voxel_centres(32, capture.pictures)[evidence.hull > 0.5].numpy()
    ball = np.linalg.norm(placed_back(placement, inside) - CENTRE, axis=-1)
    assert ball.max() < 1.5 * RADIUS
    middle = placement.place(CENTRE)
    near = np.linalg.norm(voxel_centres(32, capture.pictures).numpy() - middle, axis=-1)
    assert (evidence.hull.numpy()[near < 0.9 * RADIUS * placement.scale] > 0.5).all()


def test_views_show_what_their_cameras_see(tmp_path: Path) -> None:
    capture = load_capture(read_transforms(write_ball(tmp_path)), 64)
    from clearpane.geometry.cameras import picture_rays

    origins, directions = (x.double().numpy() for x in picture_rays(capture.cameras))
    placement = capture.placement
    middle, radius = placement.place(CENTRE), RADIUS * placement.scale
    offset = origins - middle
    along = -(offset * directions).sum(-1)
    root = along**2 - (offset**2).sum(-1) + radius**2
    expected = root > 0
    masks = capture.masks[:, 0].numpy()
    assert ((masks > 0.5) == expected).mean() > 0.985
    normal = (offset + (along - np.sqrt(np.maximum(root, 0)))[..., None] * directions) / radius
    back = normal @ placement.rotation  # in the photographs' world, where colours were given
    inner = (root > 0.3 * radius**2) & (masks > 0.99)
    error = np.abs(capture.pictures.permute(0, 2, 3, 1).numpy() - (back / 2 + 0.5))[inner]
    assert error.mean() < 0.02
    # Up in the file is the world's z: in the cube it is y.
    assert (placement.rotation @ [0, 0, 1]).tolist() == pytest.approx([0, 1, 0])


def test_larger_pictures_than_their_cameras_are_for_are_scaled(tmp_path: Path) -> None:
    path = write_ball(tmp_path)
    small = load_capture(read_transforms(path), 48)
    for picture in (tmp_path / "train").iterdir():
        with Image.open(picture) as opened:
            opened.resize((4 * WIDTH, 4 * HEIGHT), Image.Resampling.BICUBIC).save(picture)
    large = load_capture(read_transforms(path), 48)
    assert torch.allclose(small.cameras.camera_to_world, large.cameras.camera_to_world, atol=0.02)
    assert (small.pictures - large.pictures).abs().mean() < 0.02


def without_alpha(folder: Path) -> None:
    for picture in (folder / "train").iterdir():
        with Image.open(picture) as opened:
            opened.convert("RGB").save(picture)


def test_without_masks_the_plain_backdrop_tells_the_object(tmp_path: Path) -> None:
    path = write_ball(tmp_path)
    known = load_capture(read_transforms(path), 64)
    without_alpha(tmp_path)
    found = load_capture(read_transforms(path), 64)
    assert np.linalg.norm(found.placement.centre - known.placement.centre) < 0.05
    assert 1 / found.placement.scale == pytest.approx(1 / known.placement.scale, rel=0.05)
    assert (found.masks - known.masks).abs().mean() < 0.03


def test_a_segmenter_sees_each_picture_once_and_what_only_one_view_has_is_left_out(tmp_path: Path) -> None:
    path = write_ball(tmp_path)
    known = load_capture(read_transforms(path), 64)
    without_alpha(tmp_path)
    seen: list[np.ndarray] = []

    def segment(pixels: np.ndarray) -> np.ndarray:
        mask = np.abs(pixels - 77 / 255).max(-1) > 0.004  # all but the grey behind
        if not seen:  # in the first picture alone, something in a corner as well
            mask[:36, :52] = True
        seen.append(pixels)
        return mask

    found = load_capture(read_transforms(path), 64, segment)
    assert len(seen) == 8 and all(0 <= pixels.min() < pixels.max() <= 1 for pixels in seen)
    assert not any((a == b).all() for i, a in enumerate(seen) for b in seen[:i])
    assert (found.masks - known.masks).abs().mean() < 0.02
    corner = found.masks[0, 0, :8, :8]
    assert (corner == 0).all() and (found.pictures[0, :, :8, :8] == 1).all()
    (warning,) = found.warnings
    assert warning.startswith(f"{found.names[0]}: ") and "Check the mask" in warning


def test_views_whose_intrinsics_are_wrong_are_told(tmp_path: Path) -> None:
    path = write_ball(tmp_path)
    assert load_capture(read_transforms(path), 64).warnings == ()
    content = json.loads(path.read_text())
    content["frames"][3] |= {"cx": LENS.principal[0] + 12}
    path.write_text(json.dumps(content))
    wrong = load_capture(read_transforms(path), 64)
    assert [warning.split(":")[0] for warning in wrong.warnings] == [wrong.names[3]]


def test_where_all_views_cut_the_object_off_points_tell_its_size(tmp_path: Path) -> None:
    read = read_transforms(write_ball(tmp_path, masks=True))
    for mask in (tmp_path / "train_mask").iterdir():
        with Image.open(mask) as opened:
            values = np.asarray(opened).copy()
        values[45:50] = np.where(np.arange(WIDTH) < 64, 255, values[45:50])  # reaches out to the left
        Image.fromarray(values).save(mask)
    sphere = np.random.default_rng(0).normal(size=(500, 3))
    sphere *= RADIUS / np.linalg.norm(sphere, axis=-1, keepdims=True)
    floor = np.asarray([[3.0, 0.0, 0.0], [0.0, 3.5, 1.0]]) + CENTRE
    points = np.concatenate([CENTRE + 0.97 * sphere, floor])
    placement = load_capture(replace(read, points=points), 32).placement
    assert np.linalg.norm(placement.centre - CENTRE) < 0.1
    assert 1 / placement.scale == pytest.approx(2 * RADIUS, rel=0.1)


def test_full_size_masks_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting_out, "_KEPT_BYTES", 0)  # no decoded photographs: memory holds masks alone
    path = write_ball(tmp_path)
    factor = 6
    for picture in (tmp_path / "train").iterdir():
        with Image.open(picture) as opened:
            opened.convert("RGB").resize((factor * WIDTH, factor * HEIGHT)).save(picture)
    held: list[int] = []

    def segment(pixels: np.ndarray) -> np.ndarray:
        held.append(tracemalloc.get_traced_memory()[0])
        return np.abs(pixels - 77 / 255).max(-1) > 0.1

    tracemalloc.start()
    try:
        load_capture(read_transforms(path), 32, segment)
    finally:
        tracemalloc.stop()
    # A mask in bytes has as many as the picture has pixels.
    assert (held[-1] - held[1]) / 6 < 0.6 * factor**2 * WIDTH * HEIGHT


@pytest.mark.parametrize("kept", [8, 7])
def test_photographs_are_decoded_once_as_far_as_memory_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    path = write_ball(tmp_path)
    monkeypatch.setattr(cutting_out, "_KEPT_BYTES", kept * WIDTH * HEIGHT * 3 * 4)
    photographs = read_transforms(path)
    for photograph in photographs.photographs:  # without alpha: the segmenter is asked
        with Image.open(photograph.path) as opened:
            opened.convert("RGB").save(photograph.path)
    seen = 0

    def segment(pixels: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += 1
        if seen == len(photographs.photographs):  # all are decoded: whatever is read again is missing
            for photograph in photographs.photographs:
                photograph.path.unlink()
        return np.abs(pixels - 77 / 255).max(-1) > 0.1

    if kept == 8:
        assert len(load_capture(photographs, 32, segment).names) == 8 == seen
    else:
        with pytest.raises(ClearpaneError, match=photographs.photographs[-1].path.name):
            load_capture(photographs, 32, segment)


def test_what_a_lens_does_not_see_is_in_no_mask(tmp_path: Path) -> None:
    # Beyond 49 degrees, the formula brings points back into the picture: (2, 0, 2) into the middle of both.
    lens = Lens((60.0, 60.0), (50.0, 50.0), (-0.25, 0.0, 0.0))
    column, row = np.meshgrid(np.arange(100) + 0.5, np.arange(100) + 0.5)
    mask = (np.hypot(column - 50, row - 50) < 12).astype(np.float32)
    photographs = []
    for name, forward in (("a", np.asarray([0.0, 0, -1])), ("b", np.asarray([-1.0, 0, 0]))):
        right = np.cross(forward, [0.0, 1, 0])
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, 3.0 * -forward], axis=-1)
        photographs.append(Photograph(tmp_path / name, pose, lens, (100, 100)))
    placement = place_by_masks(photographs, [mask] * 2, None)
    assert np.linalg.norm(placement.centre) < 0.1
    assert 1 / placement.scale < 1.7  # two silhouettes of a ball of 1.2


def test_the_axes_of_cameras_meet() -> None:
    poses = []
    for away in ([1.0, 0, 0], [0, 0, 1.0], [0.6, 0, 0.8]):
        pose = np.eye(4)
        pose[:3, 2], pose[:3, 3] = -np.asarray(away), CENTRE + 3 * np.asarray(away)
        poses.append(pose)
    np.testing.assert_allclose(axes_meet(poses), CENTRE)
    with pytest.raises(ClearpaneError, match="all point the same way"):
        axes_meet([np.eye(4)] * 3)


def test_up_is_what_is_given_or_what_the_cameras_have() -> None:
    pose = np.eye(4)
    for up in (None, np.asarray([0.0, 0.0, 2.0]), np.asarray([0.3, -0.2, 0.5])):
        rotation = upright([pose, pose], up)
        expected = np.asarray([0.0, -1.0, 0.0]) if up is None else up / np.linalg.norm(up)
        np.testing.assert_allclose(rotation @ expected, [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
    usual = upright([pose], np.asarray([0.0, 0.0, 1.0])) @ [1.0, 2.0, 3.0]
    np.testing.assert_allclose(usual, [1, 3, -2], atol=1e-12)


def test_points_give_a_box_without_the_stray_ones() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * [2, 1, 1] + CENTRE
    stray = np.concatenate([points, [[1e3, 0, 0], [0, -1e3, 0]]])
    placement = place_by_points(stray, [np.eye(4)], np.asarray([0.0, 0, 1]))
    np.testing.assert_allclose(placement.centre, CENTRE, atol=0.05)
    assert 1 / placement.scale == pytest.approx(4, rel=0.06)
    back = placed_back(placement, placement.place(points))
    np.testing.assert_allclose(back, points)


def test_what_cannot_be_cut_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearpane.reconstruction.capture.object_network.PACKAGE", "not-installed-here")
    path = write_ball(tmp_path / "one", views=1)
    with pytest.raises(ClearpaneError, match="at least two photographs"):
        load_capture(read_transforms(path), 32)
    path = write_ball(tmp_path / "bare", views=2)
    picture = tmp_path / "bare" / "train" / "0001.png"
    with Image.open(picture) as opened:
        bare = opened.convert("RGB")
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    with pytest.raises(ClearpaneError, match=r"0001\.png: the backdrop is not plain.*give masks"):
        load_capture(read_transforms(path), 32)
    bare.putalpha(0)
    bare.save(picture)
    with pytest.raises(ClearpaneError, match=r"0001\.png: the mask is empty"):
        load_capture(read_transforms(path), 32)
    bare.putalpha(254)
    bare.save(picture)
    with pytest.raises(ClearpaneError, match=r"0001\.png: the mask is full"):
        load_capture(read_transforms(path), 32)
    bare.rotate(90, expand=True).save(picture)
    with pytest.raises(ClearpaneError, match=r"is 96 x 128, but its camera is for 128 x 96"):
        load_capture(read_transforms(path), 32)


def test_masks_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    path = write_ball(tmp_path, views=4)
    content = json.loads(path.read_text())
    content["frames"][0]["transform_matrix"][0][3] += 30.0
    path.write_text(json.dumps(content))
    with pytest.raises(ClearpaneError, match="no point of space in common"):
        load_capture(read_transforms(path), 32)
