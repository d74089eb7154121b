import numpy as np
import pytest

from clearpane.optics.environment import look_up, texel_directions
from clearpane.reconstruction.relighting.lights import LIGHTS, made_light


@pytest.mark.parametrize("name", LIGHTS)
def test_lights_are_maps_with_light_in_them(name):
    radiance = made_light(name).radiance
    assert radiance.shape == (128, 256, 3) and radiance.dtype == np.float32
    assert np.isfinite(radiance).all() and radiance.min() >= 0 and radiance.max() > 1


def test_the_overcast_sky_is_three_times_as_bright_above_as_at_the_horizon():
    radiance = made_light("overcast").radiance
    above, level = look_up(radiance, np.array([[0.0, 1, 0], [0, 0.01, 1]]))
    assert above == pytest.approx(3 * level, rel=0.05)


def test_the_low_sun_is_warm_and_on_the_left():
    seen = made_light("low sun").radiance
    row, column = np.unravel_index(seen.sum(axis=2).argmax(), seen.shape[:2])
    x, y, z = texel_directions(128, 256)[row, column]
    assert x < -0.5 and 0.1 < y < 0.4 and z > 0
    assert seen[row, column, 0] > 1.5 * seen[row, column, 2]
