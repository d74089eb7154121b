"""Equirectangular maps: directions, solid angles, look-ups, and the lights they are cut into."""

import math

import numpy as np
import pytest
import torch

from clearpane.optics.environment import (
    coordinate_directions,
    direction_coordinates,
    halve,
    light_cells,
    look_up,
    look_up_level,
    pyramid,
    solid_angles,
    texel_directions,
)


def random_map(height: int = 16, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.5, 1.0, (height, width, 3))


def power(environment: np.ndarray) -> np.ndarray:
    """All the light of a map, radiance times steradians: [3]."""
    return (environment * solid_angles(*environment.shape[:2])[:, None, None]).sum((0, 1))


def random_directions(count: int, seed: int = 0) -> np.ndarray:
    directions = np.random.default_rng(seed).normal(size=(count, 3))
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def test_gradients_at_the_poles_are_finite() -> None:
    directions = torch.tensor([[1e-4, 1.0, 0], [0, -1, 1e-4], [0, 1 + 1e-7, 1e-5]], requires_grad=True)
    direction_coordinates(directions).sum().backward()
    assert directions.grad is not None and directions.grad.isfinite().all()


def test_axes_lie_where_the_convention_says() -> None:
    places = direction_coordinates(np.asarray([[0.0, 0, -1], [1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 1, 0]]))
    np.testing.assert_allclose(places[:, 0][:4], [0, 0.25, 0.5, 0.75], atol=1e-12)
    np.testing.assert_allclose(places[:, 1], [0.5, 0.5, 0.5, 0.5, 0], atol=1e-12)


def test_directions_and_coordinates_are_inverses() -> None:
    directions = random_directions(200)
    np.testing.assert_allclose(
        coordinate_directions(direction_coordinates(directions)), directions, atol=1e-12
    )


def test_solid_angles_are_those_of_a_fine_sum_and_fill_the_sphere() -> None:
    assert solid_angles(16, 32).sum() * 32 == pytest.approx(4 * math.pi)
    fine = np.linspace(0, math.pi, 16 * 1000 + 1)
    middle = np.sin((fine[:-1] + fine[1:]) / 2) * math.pi / 16000 * 2 * math.pi / 32
    np.testing.assert_allclose(solid_angles(16, 32), middle.reshape(16, 1000).sum(1), rtol=1e-6)


def test_a_look_up_at_a_texel_gives_the_texel_and_wraps_around_the_sides() -> None:
    environment = random_map()
    np.testing.assert_allclose(look_up(environment, texel_directions(16, 32)), environment, atol=1e-9)
    v = (8 + 0.5) / 16
    edge = look_up(environment, coordinate_directions(np.asarray([0.0, v])))
    np.testing.assert_allclose(edge, (environment[8, 0] + environment[8, -1]) / 2, atol=1e-9)


def test_look_ups_agree_with_mitsuba() -> None:
    mitsuba = pytest.importorskip("mitsuba")
    mitsuba.set_variant("scalar_rgb")
    x, y, z = np.moveaxis(texel_directions(64, 128), -1, 0)
    environment = np.stack([1 + x, 1 + y, 1 + z], axis=-1).astype(np.float32)
    emitter = mitsuba.load_dict({"type": "envmap", "bitmap": mitsuba.Bitmap(environment)})
    for direction in random_directions(40):
        interaction = mitsuba.SurfaceInteraction3f()
        interaction.wi = mitsuba.Vector3f(*(-direction))
        seen = np.asarray(emitter.eval(interaction)).ravel()
        np.testing.assert_allclose(look_up(environment, direction), seen, atol=0.06)  # a texel of difference


def test_halving_keeps_the_light() -> None:
    environment = random_map()
    levels = pyramid(environment)
    assert [level.shape[:2] for level in levels] == [(16, 32), (8, 16), (4, 8), (2, 4)]
    for level in levels:
        np.testing.assert_allclose(power(level), power(environment))
    np.testing.assert_allclose(halve(np.ones((4, 8, 3))), np.ones((2, 4, 3)))


def test_levels_are_mixed_between_and_clipped_beyond() -> None:
    levels = pyramid(random_map())
    directions = random_directions(7)
    between = look_up_level(levels, directions, np.full(7, 1.25))
    expected = 0.75 * look_up(levels[1], directions) + 0.25 * look_up(levels[2], directions)
    np.testing.assert_allclose(between, expected)
    np.testing.assert_allclose(
        look_up_level(levels, directions, np.full(7, 99.0)), look_up(levels[-1], directions)
    )


@pytest.mark.parametrize("count", [1, 5, 64, 16 * 32])
def test_lights_send_the_maps_light(count: int) -> None:
    environment = random_map()
    directions, irradiance = light_cells(environment, count)
    assert directions.shape == irradiance.shape == (count, 3)
    np.testing.assert_allclose(irradiance.sum(0), power(environment))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)


def test_as_many_lights_as_texels_are_the_texels() -> None:
    environment = random_map(4, 8)
    directions, irradiance = light_cells(environment, 32)
    order = np.lexsort(np.round(directions, 6).T)
    texels = texel_directions(4, 8).reshape(-1, 3)
    expected = np.lexsort(np.round(texels, 6).T)
    np.testing.assert_allclose(directions[order], texels[expected], atol=1e-6)
    np.testing.assert_allclose(
        irradiance[order],
        (environment * solid_angles(4, 8)[:, None, None]).reshape(-1, 3)[expected],
        rtol=1e-6,
    )


def test_a_small_bright_lamp_gets_a_light_of_its_own() -> None:
    environment = np.full((32, 64, 3), 0.01)
    environment[10, 20] = 5000.0
    directions, irradiance = light_cells(environment, 16)
    lamp = texel_directions(32, 64)[10, 20]
    brightest = irradiance[:, 0].argmax()
    assert directions[brightest] @ lamp > math.cos(math.radians(0.5))


def test_a_black_map_can_be_cut() -> None:
    directions, irradiance = light_cells(np.zeros((4, 8, 3)), 4)
    assert np.isfinite(directions).all() and not irradiance.any()


def test_numpy_and_torch_agree() -> None:
    environment, directions = random_map(), random_directions(9)
    for level in (0.0, 0.6, 2.0):
        ours = look_up_level(pyramid(environment), directions, np.full(9, level))
        theirs = look_up_level(
            pyramid(torch.from_numpy(environment)),
            torch.from_numpy(directions),
            torch.full((9,), level).double(),
        )
        np.testing.assert_allclose(ours, theirs.numpy())
    for ours, theirs in zip(
        light_cells(environment, 8), light_cells(torch.from_numpy(environment), 8), strict=True
    ):
        np.testing.assert_allclose(ours, theirs.numpy())
