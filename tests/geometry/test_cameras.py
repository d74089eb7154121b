"""Rays, projection and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import (
    Cameras,
    check_views,
    look_at,
    pinhole_intrinsics,
    pixel_rays,
    plucker_coordinates,
    project,
    reaches_frame,
    spread_order,
)
from clearpane.synthesis.objects.samples import fibonacci_sphere

from ..reconstruction.conftest import orbit, sphere_views


def test_a_point_on_a_pixels_ray_projects_to_the_pixel() -> None:
    cameras = orbit(5).to(torch.float64)
    pixels = 32 * torch.rand(20, 2, generator=torch.Generator().manual_seed(1)).double()
    origins, directions = pixel_rays(cameras, pixels)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(5, 20).double())
    place, depth = project(cameras, origins + 1.7 * directions)
    assert torch.allclose(place, pixels.expand(5, 20, 2))
    assert (depth > 0).all()


def test_cameras_look_where_they_are_told_with_y_up() -> None:
    pose = look_at(torch.tensor([0.0, 0, 2]), torch.zeros(3))
    cameras = Cameras(pose, pinhole_intrinsics(60, 100, 200), 100, 200)
    place, depth = project(cameras, torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]))
    assert torch.allclose(depth, torch.full((3,), 2.0))
    assert place[0].tolist() == [100.0, 50.0]
    assert place[1, 0] > 100 and place[2, 1] < 50  # right is right, up is up
    focal = 100 / math.tan(math.radians(30))
    assert place[1, 0].item() == pytest.approx(100 + focal * 0.1 / 2)


def test_a_camera_above_has_a_pose_too() -> None:
    pose = look_at(torch.tensor([[0.0, 2, 0], [0.0, -2, 0]]), torch.zeros(3))
    rotation = pose[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(2))


def test_pluecker_coordinates_are_those_of_the_line() -> None:
    generator = torch.Generator().manual_seed(2)
    origins, directions = torch.randn(2, 30, 3, generator=generator).double()
    directions = directions / directions.norm(dim=-1, keepdim=True)
    here = plucker_coordinates(origins, directions)
    there = plucker_coordinates(origins + 3.1 * directions, directions)
    assert torch.allclose(here, there)
    assert torch.allclose((here[:, :3] * here[:, 3:]).sum(-1), torch.zeros(30).double(), atol=1e-12)
    beside = plucker_coordinates(origins + 0.1 * torch.randn(30, 3, generator=generator), directions)
    assert not torch.allclose(here, beside)


def test_resized_cameras_see_the_same() -> None:
    cameras = orbit(3, 32)
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(3)) * 0.2
    large = project(cameras.resized(96, 64), points)[0]
    assert torch.allclose(large, project(cameras, points)[0] * torch.tensor([2.0, 3.0]))


def test_good_views_pass() -> None:
    cameras = orbit(4)
    check_views(*sphere_views(cameras), cameras)


def _broken(what: str) -> tuple[torch.Tensor, torch.Tensor, Cameras]:
    cameras = orbit(4)
    pictures, masks = sphere_views(cameras)
    poses, intrinsics = cameras.camera_to_world.clone(), cameras.intrinsics.clone()
    if what == "one view":
        return pictures[:1], masks[:1], cameras[[0]]
    if what == "sizes":
        masks = masks[..., :-2]
    if what == "count":
        return pictures[:3], masks[:3], cameras
    if what == "nan intrinsics":
        intrinsics[2, 0] = math.nan
    if what == "focal":
        intrinsics[2, 0] = -1
    if what == "nan picture":
        pictures[1, 0, 3, 3] = math.nan
    if what == "scaled pose":
        poses[1, :3, :3] *= 2
    if what == "away":
        poses[1, :3, 1:3] *= -1
    if what == "aside":
        poses[3, :3, 3] += 5 * poses[3, :3, 0]
    if what == "range":
        masks[0] *= 255
    if what == "empty":
        masks[2] = 0
    if what == "full":
        masks[2] = 1
    if what == "inverted":
        masks = 1 - masks
    return pictures, masks, replace(cameras, camera_to_world=poses, intrinsics=intrinsics)


def test_errors_name_the_view_as_the_user_knows_it() -> None:
    names = [f"IMG_{view}.jpg" for view in range(4)]
    for what in ("focal", "empty"):
        with pytest.raises(ClearpaneError, match=r"^IMG_2\.jpg: "):
            check_views(*_broken(what), names)


def test_a_mask_reaches_the_frame_at_any_of_its_four_sides() -> None:
    mask = np.zeros((5, 7), np.float32)
    mask[1:-1, 1:-1] = 1
    assert not reaches_frame(mask) and not reaches_frame(torch.from_numpy(mask))
    for row, column in ((0, 3), (4, 3), (2, 0), (2, 6)):
        touching = mask.copy()
        touching[row, column] = 0.6
        assert reaches_frame(touching) and reaches_frame(torch.from_numpy(touching))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("one view", "1 view: reconstruction needs at least two"),
        ("sizes", "bring all views to one size"),
        ("count", "3 pictures and 4 cameras"),
        ("nan intrinsics", "view 2: the camera has numbers that are not finite"),
        ("focal", "view 2: focal lengths are .*; give values above 0"),
        ("nan picture", "view 1: the picture has values that are not finite"),
        ("scaled pose", "view 1: camera_to_world holds no rotation"),
        ("away", "view 1: the camera looks away"),
        ("aside", "view 3: the camera looks away"),
        ("range", r"view 0: the mask has values outside \[0, 1\]"),
        ("empty", "view 2: the mask is empty"),
        ("full", "view 2: the mask is full"),
        ("inverted", "view 0: the mask is inverted"),
    ],
)
def test_bad_views_are_refused_in_one_line(what: str, says: str) -> None:
    with pytest.raises(ClearpaneError, match=says) as error:
        check_views(*_broken(what))
    assert "\n" not in str(error.value)


def _at(eyes: torch.Tensor) -> Cameras:
    return Cameras(look_at(eyes, torch.zeros(3)), pinhole_intrinsics(32, 64, 64).expand(len(eyes), 4), 64, 64)


def test_views_come_from_all_sides_none_twice_and_none_that_is_left_out() -> None:
    cameras = orbit(20)
    for without in ([], [0, 1, 7], [19], list(range(1, 20))):
        order = spread_order(cameras, without)
        assert sorted(order) == [i for i in range(20) if i not in without]
    # Of each camera its opposite, at another distance, in another place of the list.
    directions = fibonacci_sphere(5)
    eyes = torch.cat([2 * directions, -1.5 * directions.flip(0)])
    assert spread_order(_at(eyes), [])[:2] == [0, 9]
    assert spread_order(_at(eyes), [0, 1, 5])[:2] == [2, 7]
    # Of two cameras near each end of each axis, one each before any second.
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    first = spread_order(_at(torch.cat([2 * axes, 2 * axes + 0.2 * axes.roll(1, 0)])), [])[:6]
    assert sorted(index % 6 for index in first) == list(range(6))
