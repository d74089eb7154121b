"""The analytic renderer against a slow plain twin, and its behaviour."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from clearpane.optics.fresnel import dielectric_reflectance
from clearpane.optics.slab import slab_reflectance, slab_transmittance
from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
from clearpane.synthesis.glass.geometry import (
    Rectangle,
    background_rectangle,
    dome_directions,
    pane_normal,
    screen_rectangle,
    view_tangents,
)
from clearpane.synthesis.glass.layers import SceneLayers
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld
from clearpane.synthesis.glass.textures import SceneTextures

SMALL = AnalyticOptions(height=12, width=16)
LAYERS = ("transmission", "reflection", "background", "mirror_reflection")


def smooth(height: int, width: int, seed: int) -> Tensor:
    """A texture of a few waves, so that bilinear look-ups at close points agree."""
    generator = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    waves = [
        0.5 + 0.4 * np.sin(2 * np.pi * (generator.integers(1, 4) * x + generator.integers(1, 3) * y + phase))
        for phase in generator.random(3)
    ]
    return torch.tensor(np.stack(waves), dtype=torch.float32)


def scene(**pane: object) -> GlassScene:
    return GlassScene(
        Background("b", distance=3.0),
        ReflectedWorld("w", distance=2.0),
        Pane(**{"yaw": 30.0, "pitch": 8.0} | pane),
    )


def textures(world: tuple[int, int] = (96, 128), seed: int = 0) -> SceneTextures:
    return SceneTextures(smooth(96, 128, seed), smooth(*world, seed + 1))


def bilinear(texture: np.ndarray, x: float, y: float, wrap: bool = False) -> np.ndarray:
    """At x and y from 0 to 1; black outside."""
    height, width = texture.shape[1:]
    if not wrap and not (0 <= x <= 1 and 0 <= y <= 1):
        return np.zeros(3)
    column, row = x * width - 0.5, y * height - 0.5
    i, j = math.floor(row), math.floor(column)
    total = np.zeros(3)
    for di in (0, 1):
        for dj in (0, 1):
            weight = (1 - abs(row - i - di)) * (1 - abs(column - j - dj))
            at = (j + dj) % width if wrap else min(max(j + dj, 0), width - 1)
            total += weight * texture[:, min(max(i + di, 0), height - 1), at]
    return total


def seen_on(
    rectangle: Rectangle, texture: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    normal = np.cross(rectangle.across, rectangle.down)
    reach = ((rectangle.centre - origin) @ normal) / (direction @ normal)
    if reach <= 0:
        return np.zeros(3)
    point = origin + reach * direction - rectangle.centre
    u, v = (point @ axis / (axis @ axis) for axis in (rectangle.across, rectangle.down))
    return bilinear(texture, (u + 1) / 2, (v + 1) / 2)


def seen_on_dome(s: GlassScene, texture: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    origin = origin - np.array([0, 0, s.pane.distance])
    forward = origin @ direction
    reach = -forward + math.sqrt(forward**2 - origin @ origin + s.world.distance**2)
    u, v = dome_directions(origin + reach * direction, s.world.rotation)
    return bilinear(texture, u, v, wrap=True)


def plain_pixel(
    s: GlassScene, t: SceneTextures, row: int, column: int, options: AnalyticOptions
) -> dict[str, np.ndarray]:
    """One pixel of a flat pane's layers: real geometry, Snell's and Fresnel's laws, ray by ray."""
    n = options.subsamples
    tangents = view_tangents(s.camera.field_of_view, options.height, options.width)
    normal, pane = pane_normal(s.pane), s.pane
    behind, world = t.background.numpy(), t.world.numpy()
    screen = screen_rectangle(s, options.height, options.width)
    back = background_rectangle(s, options.height, options.width)
    total = {name: np.zeros(3) for name in LAYERS}
    for a in range(n):
        for b in range(n):
            x = (2 * (column + (b + 0.5) / n) / options.width - 1) * tangents[0]
            y = (2 * (row + (a + 0.5) / n) / options.height - 1) * tangents[1]
            d = np.array([x, y, 1.0]) / math.sqrt(x * x + y * y + 1)
            cos_i = -d @ normal
            sin_t = math.sqrt(1 - cos_i**2) / pane.ior
            cos_t = math.sqrt(1 - sin_t**2)
            along = d + cos_i * normal
            along = along / np.linalg.norm(along)
            hit = d * (np.array([0, 0, pane.distance]) @ normal) / (d @ normal)
            mirrored = d + 2 * cos_i * normal
            loss = np.exp(-np.array(pane.absorption) * pane.thickness / cos_t)
            faces = [float(r) for r in dielectric_reflectance(np.asarray(cos_i), pane.ior)]
            if not options.polarized:
                faces = [sum(faces) / 2] * 2
            step = pane.thickness * sin_t / cos_t

            def show(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
                if s.world.shape == "dome":
                    return seen_on_dome(s, world, origin, direction)
                return seen_on(screen, world, origin, direction)

            for k in range(options.orders):
                weight = (
                    sum(r if k == 0 else (1 - r) ** 2 * r ** (2 * k - 1) * loss ** (2 * k) for r in faces) / 2
                )
                total["reflection"] += weight * show(hit + 2 * k * step * along, mirrored)
            for j in range(options.orders - 1):
                weight = sum((1 - r) ** 2 * r ** (2 * j) * loss ** (2 * j + 1) for r in faces) / 2
                origin = hit - pane.thickness * normal + (2 * j + 1) * step * along
                total["transmission"] += weight * seen_on(back, behind, origin, d)
            total["background"] += seen_on(back, behind, np.zeros(3), d)
            total["mirror_reflection"] += show(hit, mirrored)
    return {name: value / n**2 for name, value in total.items()}


@pytest.mark.parametrize("world", ["screen", "dome"])
@pytest.mark.parametrize("polarized", [True, False])
def test_flat_pane_is_its_slow_plain_twin(world: str, polarized: bool) -> None:
    s = scene(thickness=0.02, absorption=(5.0, 20.0, 60.0))
    s = replace(s, world=replace(s.world, shape=world, rotation=70.0))
    t = textures((64, 128) if world == "dome" else (96, 128))
    options = replace(SMALL, polarized=polarized)
    layers = render_analytic([s], [t], options)
    for row, column in [(0, 0), (3, 11), (6, 8), (11, 15)]:
        expected = plain_pixel(s, t, row, column, options)
        for name in LAYERS:
            found = getattr(layers, name)[0, :, row, column].numpy()
            np.testing.assert_allclose(found, expected[name], atol=2e-4, rtol=2e-3, err_msg=name)


def test_input_is_the_sum_and_nothing_is_negative() -> None:
    layers = render_analytic([scene()], [textures()], SMALL)
    assert torch.equal(layers.input, layers.transmission + layers.reflection)
    assert all((getattr(layers, name) >= 0).all() for name in LAYERS)
    assert (layers.transmission <= layers.background.amax()).all()


def test_a_batch_is_its_scenes() -> None:
    scenes = [scene(), scene(yaw=-50.0, thickness=0.012, ior=1.6), scene(shape="double"), scene(pitch=-10.0)]
    scenes[1] = replace(scenes[1], camera=Camera(field_of_view=35.0, polarizer=20.0))
    sets = [textures(seed=k) for k in range(4)]
    together = render_analytic(scenes, sets, SMALL)
    for index in range(4):
        alone = render_analytic(scenes[index : index + 1], sets[index : index + 1], SMALL)
        for name in LAYERS:
            torch.testing.assert_close(getattr(together, name)[index], getattr(alone, name)[0])


@pytest.mark.parametrize(
    "pane",
    [
        {"shape": "wedged", "wedge_angle": 0.0},
        {"shape": "bent", "front_curvature": 1e-5},
        {"shape": "lens", "front_curvature": 0.0, "back_curvature": 0.0},
    ],
    ids=lambda pane: pane["shape"],
)
@pytest.mark.parametrize("polarizer", [None, 30.0])
def test_traced_panes_that_are_flat_are_flat_panes(pane: dict[str, object], polarizer: float | None) -> None:
    camera = Camera(polarizer=polarizer)
    flat, other = (replace(s, camera=camera) for s in (scene(), scene(**pane)))
    expected = render_analytic([flat], [textures()], SMALL)
    found = render_analytic([other], [textures()], SMALL)
    for name in LAYERS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-3, rtol=1e-3)


def test_uniform_worlds_show_the_totals_of_the_slab() -> None:
    s = scene(yaw=0.0, pitch=0.0, absorption=(0.0, 10.0, 50.0))
    s = replace(s, camera=Camera(field_of_view=0.1))
    plain = SceneTextures(torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 2.0))
    layers = render_analytic([s], [plain], replace(SMALL, orders=5))
    face = np.asarray(((1.52 - 1) / (1.52 + 1)) ** 2)
    loss = np.exp(-np.array(s.pane.absorption) * s.pane.thickness)
    np.testing.assert_allclose(layers.reflection[0, :, 6, 8], 2.0 * slab_reflectance(face, loss), rtol=1e-4)
    np.testing.assert_allclose(
        layers.transmission[0, :, 6, 8], 0.5 * slab_transmittance(face, loss), rtol=1e-4
    )


def test_averaging_at_each_bounce_makes_the_ghost_too_strong() -> None:
    s = replace(
        scene(yaw=60.0, pitch=0.0, ior=1.5, absorption=(0.0, 0.0, 0.0)), camera=Camera(field_of_view=20)
    )
    plain = SceneTextures(torch.ones(3, 8, 8), torch.ones(3, 8, 8))
    options = AnalyticOptions(height=13, width=17, orders=6)  # the middle pixel lies on the axis
    totals = [
        render_analytic([s], [plain], replace(options, polarized=p)).reflection[0, 0, 6, 8].item()
        for p in (True, False)
    ]
    assert totals == pytest.approx([0.1519, 0.1638], abs=1e-4)


def test_a_filter_at_brewsters_angle_takes_the_reflection_away() -> None:
    s = scene(yaw=math.degrees(math.atan(1.52)), pitch=0.0)
    # Turned about the vertical, the plane of incidence is horizontal: s is vertical, p horizontal.
    kept, taken = (
        render_analytic([replace(s, camera=Camera(field_of_view=2.0, polarizer=a))], [textures()], SMALL)
        for a in (90.0, 0.0)
    )
    assert taken.reflection.max() < 1e-3 * kept.reflection.max()
    assert taken.transmission.mean() > kept.transmission.mean()


def test_gradients_reach_the_textures() -> None:
    t = textures()
    world = t.world.clone().requires_grad_()
    layers = render_analytic([scene()], [SceneTextures(t.background, world)], SMALL)
    layers.reflection.sum().backward()
    assert world.grad is not None
    step = 1e-2 * torch.randn(world.shape, generator=torch.Generator().manual_seed(0))
    moved = render_analytic([scene()], [SceneTextures(t.background, t.world + step)], SMALL)
    change = (moved.reflection - layers.reflection.detach()).double().sum()
    torch.testing.assert_close((world.grad * step).double().sum(), change, rtol=1e-3, atol=1e-5)


def test_blur_of_planes_is_what_many_lens_samples_give() -> None:
    s = replace(scene(yaw=0.0, pitch=0.0), camera=Camera(lens_radius=0.03, focus_distance=0.5))
    options = AnalyticOptions(height=48, width=64)
    sharp = render_analytic([replace(s, camera=Camera())], [textures()], options)
    layered = render_analytic([s], [textures()], options)
    sampled = render_analytic([s], [textures()], replace(options, lens_samples=64))
    inner = (..., slice(12, -12), slice(12, -12))
    for name in LAYERS:
        pinhole, plane, rays = (getattr(x, name)[inner] for x in (sharp, layered, sampled))
        blur = (pinhole - rays).abs().max()
        assert blur > 0.02 * pinhole.amax()
        assert (plane - rays).abs().max() < 0.15 * blur


def test_rough_panes_blur_and_keep_the_light() -> None:
    smooth_pane, rough = (render_analytic([scene(roughness=r)], [textures()], SMALL) for r in (0.0, 0.2))
    assert rough.reflection.std(dim=-1).mean() < 0.8 * smooth_pane.reflection.std(dim=-1).mean()
    assert rough.reflection.mean() == pytest.approx(smooth_pane.reflection.mean().item(), rel=0.05)
    assert torch.equal(rough.background, smooth_pane.background)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AnalyticOptions(orders=0)


def test_layers_are_cut_and_joined() -> None:
    layers = render_analytic([scene(), scene()], [textures(), textures(seed=5)], SMALL)
    again = SceneLayers.concatenated([layers[0:1], layers[1:2]])
    assert torch.equal(again.input, layers.input)
