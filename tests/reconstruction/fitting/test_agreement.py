"""Pixels that other views contradict count less: a spot that stays in place while the camera moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import picture_rays, pixel_rays
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.reconstruction.field.projected_colours import project_colours, surface_sight
from clearpane.reconstruction.field.rendering import Appearance, Rendered
from clearpane.reconstruction.fitting.agreement import view_weights, with_weights
from clearpane.reconstruction.fitting.kept_rays import no_rays
from clearpane.reconstruction.fitting.losses import ray_loss
from clearpane.reconstruction.fitting.true_rays import object_rays

from ..conftest import orbit, sphere_views

VIEWS, SIDE = 16, 48
# The same places in the picture of each view: one that something bright is reflected over, and a dark one.
SPOT, DARK = ((slice(None), slice(None), rows, slice(20, 28)) for rows in (slice(16, 24), slice(27, 32)))


@pytest.fixture(scope="module")
def capture() -> Capture:
    """A ball, coloured by its normals, which all views show alike."""
    cameras = orbit(VIEWS, SIDE)
    pictures, masks = sphere_views(cameras)
    names = tuple(map(str, range(VIEWS)))
    place = Placement(np.zeros(3), np.eye(3), 1.0)
    return Capture(0.7 * pictures + 0.3 * (1 - masks), masks, cameras, names, place)


@pytest.fixture(scope="module")
def ball(capture: Capture) -> Tensor:
    """The distance to its surface."""
    return (voxel_centres(48, capture.pictures).norm(dim=-1) - 0.35)[None, None]


@pytest.fixture(scope="module")
def spotted(capture: Capture, ball: Tensor) -> Capture:
    pictures = capture.pictures.clone()
    pictures[SPOT] += 0.25
    pictures[DARK] -= 0.25
    changed = replace(capture, pictures=pictures)
    return replace(changed, weights=view_weights(changed, ball))


def test_views_that_agree_count_in_full(capture: Capture, ball: Tensor) -> None:
    weights = view_weights(capture, ball)
    assert weights.shape == capture.masks.shape
    assert (weights[capture.masks == 0] == 1).all()
    assert weights.mean() > 0.99 and weights.min() > 0.6


def test_a_bright_spot_that_stays_in_place_counts_little_and_nothing_else_does(spotted: Capture) -> None:
    weights = spotted.weights
    assert weights is not None
    assert weights[SPOT].median() < 0.15 and weights.min() >= 0.049
    elsewhere = torch.ones_like(weights, dtype=torch.bool)
    elsewhere[:, :, 14:26, 18:30] = False
    assert weights[elsewhere].mean() > 0.98
    assert weights[DARK].mean() > 0.95


def test_too_few_views_give_no_verdict(spotted: Capture, ball: Tensor) -> None:
    few = replace(
        spotted, pictures=spotted.pictures[:3], masks=spotted.masks[:3], cameras=spotted.cameras[:3]
    )
    assert (view_weights(few, ball) == 1).all()


def test_views_that_contradict_each_other_everywhere_are_warned_of(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearpane.reconstruction.fitting.agreement._HULL_SIDE", 24)
    assert with_weights(capture).warnings == ()
    noise = torch.rand(VIEWS, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    pictures = F.interpolate(noise, (SIDE, SIDE)) * capture.masks + 1 - capture.masks
    (warning,) = with_weights(replace(capture, pictures=pictures)).warnings
    assert "the views contradict each other on" in warning and "\n" not in warning


def test_the_loss_of_a_pixel_without_weight_has_no_gradient(capture: Capture) -> None:
    rays = object_rays(capture)
    assert (rays.weights == 1).all()
    count = len(rays)
    colours = torch.full((count, 3), 0.5, requires_grad=True)
    opacity = rays.masks.clone()
    seen = Rendered(opacity, opacity, Appearance(colours, colours, opacity, opacity, colours))
    plain = (colours - rays.colours).abs().mean()
    (as_before,) = torch.autograd.grad(plain, colours)
    (all_counting,) = torch.autograd.grad(ray_loss(seen, rays), colours)
    assert torch.equal(as_before, all_counting) and ray_loss(seen, rays) == plain
    half = (torch.arange(count) % 2)[:, None].float()
    (gradient,) = torch.autograd.grad(ray_loss(seen, replace(rays, weights=half)), colours)
    assert (gradient[half[:, 0] == 0] == 0).all() and torch.equal(gradient[1::2], as_before[1::2])


def test_projected_colours_and_kept_pixels_leave_out_what_counts_little(
    spotted: Capture, ball: Tensor
) -> None:
    column = torch.tensor([[24.0, 20.0]])
    origins, directions = (x[:, 0] for x in pixel_rays(spotted.cameras, column))
    along = -(origins * directions).sum(-1, keepdim=True)
    root = (along**2 - origins.square().sum(-1, keepdim=True) + 0.35**2).sqrt()
    points = origins + (along - root) * directions  # what lies behind the bright spots
    true = 0.7 * (points / 0.7 + 0.5)
    sight = surface_sight(ball, spotted.cameras)
    views = (points, points / 0.35, spotted.pictures, spotted.masks, sight)
    errors = [(project_colours(*views, trust)[0] - true).abs().mean() for trust in (None, spotted.weights)]
    assert errors[1] < 0.7 * errors[0]  # the dark spots stay
    kept = no_rays().with_views(spotted, torch.Generator().manual_seed(0)).rays
    assert spotted.weights is not None
    doubted = (spotted.weights < 0.5) & (spotted.masks > 0)
    assert doubted.sum() > 100
    lost = {tuple(x) for x in picture_rays(spotted.cameras)[1][doubted[:, 0]].tolist()}
    assert not lost & {tuple(x) for x in kept.directions.tolist()}
