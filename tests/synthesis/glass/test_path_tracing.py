"""The path tracer against what can be said in closed form; small and noisy, but with known noise."""

import sys
from dataclasses import replace

import drjit
import numpy as np
import pytest
import torch

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.fresnel import refract_cosine
from clearpane.optics.slab import (
    averaging_reflectance,
    crossing_attenuation,
    slab_reflectance,
    slab_transmittance,
)
from clearpane.synthesis.glass.geometry import COVER, dome_directions, pane_normal, view_tangents
from clearpane.synthesis.glass.path_tracing import PathTracingOptions, path_trace, path_trace_layer
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld
from clearpane.synthesis.glass.textures import SceneTextures

HEIGHT, WIDTH = 9, 12
OPTIONS = PathTracingOptions(HEIGHT, WIDTH, samples=64, variant="scalar_rgb")
CLEAR = (0.0, 0.0, 0.0)
PANE, CAMERA = Pane(), Camera()


def glass_scene(pane=PANE, camera=CAMERA, world="dome"):
    return GlassScene(Background("-"), ReflectedWorld("-", world, 2.0, rotation=40.0), pane, camera)


def white():
    return SceneTextures(torch.ones(3, 6, 8), torch.ones(3, 8, 16))


def ramps(height=48, width=64):
    """Red is the column, green the row, both from 0 to 1; blue is a corner: no turned picture is the same."""
    u = ((torch.arange(width) + 0.5) / width).expand(height, width)
    v = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    return torch.stack([u, v, ((u < 0.5) & (v < 0.5)).float()])


def expected_ramps():
    """What the camera sees of `ramps` on a rectangle that is COVER times its view."""
    x = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) / COVER + 0.5
    y = ((np.arange(HEIGHT) + 0.5) / HEIGHT - 0.5) / COVER + 0.5
    return np.stack(np.broadcast_arrays(x, y[:, None]))


def rays(scene):
    across, down = view_tangents(scene.camera.field_of_view, HEIGHT, WIDTH)
    x = ((np.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * across
    y = ((np.arange(HEIGHT) + 0.5) / HEIGHT * 2 - 1) * down
    directions = np.stack(np.broadcast_arrays(x, y[:, None], 1.0), axis=-1)
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def slab_mean(scene, share):
    """Mean over the picture of a flat pane's share of the light, s and p averaged at each bounce: [3]."""
    cosine = -rays(scene) @ pane_normal(scene.pane)
    face = averaging_reflectance(cosine, scene.pane.ior)[..., None]
    inside = refract_cosine(cosine, scene.pane.ior)[..., None]
    attenuation = crossing_attenuation(inside, scene.pane.thickness, np.asarray(scene.pane.absorption))
    return np.mean(share(face, attenuation), axis=(0, 1))


def test_background_is_the_picture_at_its_place_and_the_right_way_up():
    textures = SceneTextures(ramps(), torch.ones(3, 8, 16))
    layer = path_trace_layer(glass_scene(Pane(yaw=30)), textures, OPTIONS, "B").numpy()
    assert layer[:2] == pytest.approx(expected_ramps(), abs=0.015)  # a pixel is 0.07 wide
    assert layer[2, 1, 1] == 1 and layer[2, -2].max() == layer[2, :, -2].max() == 0


def test_mirror_shows_the_screen_at_its_place_and_the_right_way_up():
    scene = glass_scene(Pane(yaw=25, pitch=-8), world="screen")
    textures = SceneTextures(torch.ones(3, 6, 8), ramps())
    layer = path_trace_layer(scene, textures, OPTIONS, "MR").numpy()
    assert layer[:2] == pytest.approx(expected_ramps(), abs=0.015)
    assert layer[2, 1, 1] == 1 and layer[2, -2].max() == layer[2, :, -2].max() == 0


def test_mirror_shows_the_dome_where_its_map_says():
    scene = glass_scene(Pane(yaw=20, pitch=10), Camera(field_of_view=40))
    d, n, centre = rays(scene), pane_normal(scene.pane), np.array([0, 0, scene.pane.distance])
    point = d * ((centre @ n) / (d @ n))[..., None] - centre
    leaving = d - 2 * (d @ n)[..., None] * n
    forward = (point * leaving).sum(axis=-1)
    reach = np.sqrt(forward**2 - (point**2).sum(axis=-1) + scene.world.distance**2) - forward
    u, v = np.moveaxis(dome_directions(point + reach[..., None] * leaving, scene.world.rotation), -1, 0)
    columns, rows = (torch.arange(256) + 0.5) / 256, (torch.arange(128) + 0.5) / 128
    turns = 2 * torch.pi * columns.expand(128, 256)
    smooth = torch.stack([0.5 + 0.5 * turns.cos(), 0.5 + 0.5 * turns.sin(), rows[:, None].expand(128, 256)])
    layer = path_trace_layer(scene, SceneTextures(torch.ones(3, 6, 8), smooth), OPTIONS, "MR").numpy()
    expected = np.stack([0.5 + 0.5 * np.cos(2 * np.pi * u), 0.5 + 0.5 * np.sin(2 * np.pi * u), v])
    assert np.ptp(expected, axis=(1, 2)).min() > 0.05  # not one value everywhere
    assert layer == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("absorption", [CLEAR, (10.0, 0.0, 90.0)])
def test_transmission_is_the_slab_s(absorption):
    scene = glass_scene(Pane(thickness=0.01, yaw=15, absorption=absorption))
    options = replace(OPTIONS, samples=1024)
    layer = path_trace_layer(scene, white(), options, "T").double().mean(dim=(1, 2)).numpy()
    expected = slab_mean(scene, slab_transmittance)
    # A path passes or does not: four deviations of a binomial share, but for what the channels share.
    noise = 4 * np.sqrt(0.25 / (options.samples * HEIGHT * WIDTH))
    assert layer == pytest.approx(expected, abs=noise)
    assert (np.ptp(expected) > 0.3) == (max(absorption) > 0)


@pytest.mark.parametrize("pane", [Pane(absorption=CLEAR), Pane(yaw=55, absorption=(20.0, 50.0, 110.0))])
def test_reflection_of_an_even_world_is_the_slab_s(pane):
    scene = glass_scene(pane, Camera(field_of_view=30))
    options = replace(OPTIONS, samples=1024)
    layer = path_trace_layer(scene, white(), options, "R").double().mean(dim=(1, 2)).numpy()
    expected = slab_mean(scene, slab_reflectance)
    assert layer == pytest.approx(
        expected, abs=4 * np.sqrt(expected.max() / (options.samples * HEIGHT * WIDTH))
    )


@pytest.mark.parametrize(
    "pane",
    [
        Pane("wedged", wedge_angle=0.3, wedge_direction=30),
        Pane("bent", front_curvature=-0.4),
        Pane("lens", front_curvature=0.3, back_curvature=0.2, distance=0.4),
    ],
    ids=lambda pane: pane.shape,
)
def test_bent_light_keeps_its_brightness_in_an_even_world(pane):
    scene = glass_scene(replace(pane, absorption=CLEAR))
    layers = path_trace(scene, white(), replace(OPTIONS, samples=512))
    flat = glass_scene(Pane(absorption=CLEAR))
    noise = 4 * np.sqrt(0.09 / (512 * HEIGHT * WIDTH))
    assert layers.reflection.mean().item() == pytest.approx(slab_mean(flat, slab_reflectance)[0], abs=noise)
    assert layers.transmission.mean().item() == pytest.approx(
        slab_mean(flat, slab_transmittance)[0], abs=noise
    )
    assert torch.equal(layers.input, layers.transmission + layers.reflection)
    # Some ray in fifty thousand slips through between two facets.
    assert layers.mirror_reflection.mean().item() == pytest.approx(1, abs=1e-3)


def test_double_pane_reflects_as_two():
    scene = glass_scene(Pane("double", absorption=CLEAR), Camera(field_of_view=10))
    options = replace(OPTIONS, samples=1024)
    layer = path_trace_layer(scene, white(), options, "R").mean().item()
    one = slab_mean(scene, slab_reflectance)[0]
    expected = 2 * one / (1 + one)  # of two without absorption
    assert layer == pytest.approx(expected, abs=4 * np.sqrt(expected / (options.samples * HEIGHT * WIDTH)))


def test_lens_magnifies_the_background_as_its_power_says():
    pane = Pane(
        "lens", front_curvature=0.5, back_curvature=0.0, distance=0.5, absorption=CLEAR, thickness=0.004
    )
    scene = glass_scene(pane, Camera(field_of_view=5))
    textures = SceneTextures(ramps(), torch.ones(3, 8, 16))
    layer = path_trace_layer(scene, textures, replace(OPTIONS, samples=1024), "T").numpy()
    background = path_trace_layer(scene, textures, OPTIONS, "B").numpy()

    def slope(picture):
        share = picture[0] / picture[0].mean()
        return np.polyfit(np.arange(WIDTH), share.mean(axis=0), 1)[0]

    power = (pane.ior - 1) * pane.front_curvature
    behind = scene.background.distance - pane.distance
    expected = 1 - power * pane.distance * behind / scene.background.distance
    assert slope(layer) / slope(background) == pytest.approx(expected, abs=0.02)
    assert expected < 0.95


def test_rough_glass_blurs_its_reflection_and_keeps_its_light():
    edge = torch.ones(3, 6, 8), torch.cat([torch.zeros(3, 48, 32), torch.ones(3, 48, 32)], dim=2)
    options = replace(OPTIONS, samples=1024)
    smooth, rough = (
        path_trace_layer(
            glass_scene(Pane(roughness=r, absorption=CLEAR), world="screen"),
            SceneTextures(*edge),
            options,
            "R",
        ).mean(dim=(0, 1))
        for r in (0.0, 0.5)
    )
    assert smooth.isfinite().all() and rough.isfinite().all()
    assert rough[:4].sum() > 0.05 * rough.sum() > smooth[:4].sum()
    even = glass_scene(Pane(roughness=0.2, absorption=CLEAR))
    kept = path_trace_layer(even, white(), options, "R").mean().item()
    assert kept == pytest.approx(slab_mean(even, slab_reflectance)[0], rel=0.06)


def test_lens_blurs_what_is_not_in_focus():
    lines = torch.zeros(3, 48, 64)
    lines[..., 27:37] = 1
    textures = SceneTextures(lines, torch.ones(3, 8, 16))

    def peak(focus):
        camera = Camera(lens_radius=0.1, focus_distance=focus)
        return path_trace_layer(glass_scene(camera=camera), textures, OPTIONS, "B").max().item()

    assert peak(3.0) > 0.9 and peak(0.5) < 0.8


def test_same_seed_same_picture():
    scene = glass_scene()
    first, again, other = (
        path_trace_layer(scene, white(), replace(OPTIONS, samples=16, seed=seed), "R") for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_screen_in_the_view_is_not_seen_directly():
    """At 60 degrees it stands in the view's left, nearer than the pane."""
    scene = glass_scene(Pane(yaw=60), world="screen")
    layer = path_trace_layer(scene, white(), OPTIONS, "R")
    assert layer.max().item() < 0.9


def test_black_picture_gives_black_layers():
    black = SceneTextures(torch.zeros(3, 6, 8), torch.zeros(3, 8, 16))
    layers = path_trace(glass_scene(), black, replace(OPTIONS, samples=1))
    assert layers.input.shape == (1, 3, HEIGHT, WIDTH) and not layers.input.any()


def test_denoising_takes_the_noise_and_keeps_the_brightness():
    options = replace(OPTIONS, height=48, width=64)
    scene = glass_scene(Pane(absorption=CLEAR))
    noisy, clean = (
        path_trace_layer(scene, white(), replace(options, denoise=denoise), "R") for denoise in (False, True)
    )
    assert clean.std() < 0.3 * noisy.std()
    assert clean.mean().item() == pytest.approx(noisy.mean().item(), rel=0.05)


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (glass_scene(camera=Camera(polarizer=0.0)), "llvm_ad_mono_polarized"),
        (glass_scene(Pane(yaw=75), Camera(field_of_view=60)), "passes the pane's edge"),
        (glass_scene(Pane("lens", front_curvature=2.0)), "ends within the view"),
    ],
)
def test_what_cannot_be_rendered_is_one_clear_line(scene, reason):
    with pytest.raises(ClearpaneError, match=reason):
        path_trace(scene, white(), OPTIONS)


@pytest.mark.parametrize("version", [None, (15, 0, 6)])
def test_without_a_new_llvm_its_variants_are_refused_and_auto_does_without(monkeypatch, version):
    monkeypatch.setattr(drjit, "has_backend", lambda backend: version is not None)
    monkeypatch.setattr(drjit.detail, "llvm_version", lambda: version)
    assert use_variant("auto") == "scalar_rgb"
    with pytest.raises(ClearpaneError, match="llvm_ad_rgb needs LLVM 17"):
        use_variant("llvm_ad_rgb")


@pytest.mark.parametrize(("package", "denoise"), [("mitsuba", False), ("mitsuba_oidn", True)])
def test_missing_package_names_the_extra(monkeypatch, package, denoise):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="synthesis"):
        path_trace_layer(glass_scene(), white(), replace(OPTIONS, samples=1, denoise=denoise), "R")


def test_rough_glass_under_a_dome_is_finite_in_every_variant():
    scene = glass_scene(Pane(yaw=-31.0, roughness=0.054, distance=0.8))
    found = path_trace_layer(scene, white(), PathTracingOptions(32, 32, samples=16, variant="auto"), "R")
    assert found.isfinite().all() and found.mean() > 0.05
