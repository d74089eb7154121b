"""Dust, lens and exposure on the layers, and the photograph."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.glass.camera import apply_camera, dust_pattern
from clearpane.synthesis.glass.layers import LETTERS, SceneLayers, layer_picture, photograph
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, Post, ReflectedWorld

SCENE = GlassScene(Background("a"), ReflectedWorld("b"))
LAYERS = SceneLayers.composed(
    *torch.rand(4, 1, 3, 24, 32, generator=torch.Generator().manual_seed(0)).unbind()
)


def test_a_plain_camera_changes_nothing() -> None:
    found = apply_camera(LAYERS, [SCENE])
    for name in LETTERS.values():
        torch.testing.assert_close(getattr(found, name), getattr(LAYERS, name))


@pytest.mark.parametrize(
    "scene",
    [
        replace(SCENE, post=Post(exposure=1.0, white_balance=(1.2, 1.0, 0.8))),
        replace(SCENE, camera=Camera(vignetting=0.6)),
        replace(SCENE, camera=Camera(chromatic_aberration=0.02)),
        replace(SCENE, pane=Pane(dust=0.5)),
    ],
    ids=["exposure", "vignetting", "aberration", "dust"],
)
def test_every_effect_keeps_the_sum(scene: GlassScene) -> None:
    found = apply_camera(LAYERS, [scene])
    assert torch.equal(found.input, found.transmission + found.reflection)
    assert not torch.allclose(found.transmission, LAYERS.transmission)
    assert all((getattr(found, name) >= 0).all() for name in LETTERS.values())


def test_exposure_and_white_balance_are_factors() -> None:
    found = apply_camera(LAYERS, [replace(SCENE, post=Post(exposure=-1.0, white_balance=(2.0, 1.0, 1.0)))])
    factor = torch.tensor([1.0, 0.5, 0.5])[:, None, None]
    torch.testing.assert_close(found.background, LAYERS.background * factor)


def test_vignetting_is_what_the_corners_lose() -> None:
    uniform = SceneLayers.composed(*[torch.ones(1, 3, 101, 101)] * 4)
    found = apply_camera(uniform, [replace(SCENE, camera=Camera(vignetting=0.6))]).background
    assert found[0, 0, 50, 50].item() == pytest.approx(1)
    assert found[0, 0, 0, 0].item() == pytest.approx(0.4, abs=0.02)


def test_dust_hides_the_scene_and_scatters_the_light_before_it() -> None:
    dusty = apply_camera(LAYERS, [replace(SCENE, pane=Pane(dust=0.8))])
    dark = SceneLayers.composed(*(x * 0 for x in (LAYERS.transmission,) * 2), LAYERS.background, LAYERS.input)
    scattered = apply_camera(dark, [replace(SCENE, pane=Pane(dust=0.8))]).reflection
    assert dusty.transmission.mean() < LAYERS.transmission.mean()
    assert scattered.amax() > 0
    assert torch.equal(dusty.background, LAYERS.background)
    assert not torch.equal(dust_pattern(24, 32, 0), dust_pattern(24, 32, 1))


def test_scenes_of_a_batch_are_apart() -> None:
    two = SceneLayers.concatenated([LAYERS, LAYERS])
    bright = replace(SCENE, post=Post(exposure=2.0))
    found = apply_camera(two, [SCENE, bright])
    torch.testing.assert_close(found.input[0], LAYERS.input[0])
    torch.testing.assert_close(found.input[1], 4 * LAYERS.input[0])


def test_photograph_saturates_and_carries_the_sensors_noise() -> None:
    grey = torch.full((3, 64, 64), 0.25)
    bright = 3 * LAYERS.input[0]
    torch.testing.assert_close(photograph(bright, Post(), 0), linear_to_srgb(bright.clamp(0, 1)))
    noisy = Post(full_well=1000.0, read_noise=0.0)
    first, again, other = (photograph(grey, noisy, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    slope = 1.055 / 2.4 * 0.25 ** (1 / 2.4 - 1)
    assert (first.std().item() / slope) == pytest.approx(np.sqrt(0.25 / 1000), rel=0.05)


def test_jpeg_leaves_its_mark_on_the_photograph_alone() -> None:
    post = Post(jpeg_quality=30, contrast=1.5)
    picture = photograph(LAYERS.input[0], post, 0)
    clean = layer_picture(LAYERS.input[0], post)
    assert 0.005 < (picture - clean).abs().mean() < 0.2
    torch.testing.assert_close(picture * 255, (picture * 255).round(), atol=1e-3, rtol=0)
