"""A small ball beside a large one: it appears when later views show it, and goes when they do not."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.changes import added_part, forgotten, outdated
from clearpane.reconstruction.field.evidence import Evidence, add_views, voxel_centres
from clearpane.reconstruction.fitting.true_rays import object_rays

from .conftest import orbit, sphere_views

SMALL, RADIUS, SIDE = torch.tensor([0.0, 0.38, 0.0]), 0.12, 32


def moved(cameras: Cameras, by: Tensor) -> Cameras:
    poses = cameras.camera_to_world.clone()
    poses[:, :3, 3] -= by
    return Cameras(poses, cameras.intrinsics, cameras.height, cameras.width)


def views(cameras: Cameras, both: bool) -> Capture:
    """Views of a ball of 0.25 m, with or without a small black one on top."""
    pictures, masks = sphere_views(cameras, 0.25)
    if both:
        small = sphere_views(moved(cameras, SMALL), RADIUS)[1]
        hidden = (cameras.centres[:, 1] < 0.25)[:, None, None, None] * masks  # from below, by the large one
        pictures, masks = pictures * (1 - small * (1 - hidden)), torch.maximum(masks, small)
    names = tuple(str(i) for i in range(len(masks)))
    return Capture(pictures, masks, cameras, names, Placement(np.zeros(3), np.eye(3), 1.0))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clearpane.reconstruction.field.evidence._DEPTH_SIDE", 32)
        patch.setattr("clearpane.reconstruction.changes.SIDE", 48)
        yield


def seen(evidence: Evidence, capture: Capture) -> Evidence:
    return add_views(evidence, capture.pictures, capture.masks, capture.cameras)


def test_what_was_added_appears_and_earlier_pixels_of_its_place_are_dropped() -> None:
    first, later = views(orbit(8), both=False), views(orbit(5, seed=3), both=True)
    before = seen(Evidence.empty(SIDE, first.pictures), first)
    added = added_part(before, later)
    centres = voxel_centres(SIDE, before.hull)
    inside = (centres - SMALL).norm(dim=-1) < RADIUS - 0.03
    assert added[inside].float().mean() > 0.8
    assert not added[(centres - SMALL).norm(dim=-1) > RADIUS + 0.12].any()
    after = seen(forgotten(before, added), later)
    assert (after.hull[inside] > 0.5).float().mean() > 0.9 and (
        after.distance[inside] < 0
    ).float().mean() > 0.9
    assert (seen(before, later).hull[inside] > 0.5).sum() == 0  # else the earlier masks would forbid it
    rays = object_rays(first)
    old = outdated(rays, before, after, added)
    along = ((SMALL - rays.origins) * rays.directions).sum(-1, keepdim=True)
    passing = (rays.origins + along * rays.directions - SMALL).norm(dim=-1)
    assert old[passing < RADIUS - 0.04].all() and not old[passing > RADIUS + 0.12].any()


def test_what_was_taken_away_goes_with_its_pixels() -> None:
    first, later = views(orbit(8), both=True), views(orbit(5, seed=3), both=False)
    before = seen(Evidence.empty(SIDE, first.pictures), first)
    added = added_part(before, later)
    assert not added.any()
    after = seen(before, later)
    place = voxel_centres(SIDE, before.hull) - SMALL
    assert (before.hull[place.norm(dim=-1) < 0.08] > 0.5).all()
    assert not (after.hull[place.norm(dim=-1) < 0.08] > 0.5).any()
    rays = object_rays(first)
    black = (rays.masks[:, 0] > 0.9) & (rays.colours.amax(-1) < 0.02)
    old = outdated(rays, before, after, added)
    assert old[black].float().mean() > 0.9
    others = (rays.masks[:, 0] > 0.9) & ~black
    assert old[others].float().mean() < 0.05


def test_the_same_object_from_other_sides_has_not_changed() -> None:
    first, later = views(orbit(8), both=True), views(orbit(5, seed=3), both=True)
    before = seen(Evidence.empty(SIDE, first.pictures), first)
    added = added_part(before, later)
    assert not added.any() and forgotten(before, added) is before
    old = outdated(object_rays(first), before, seen(before, later), added)
    assert old.float().mean() < 0.05
