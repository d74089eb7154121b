import math

import pytest
import torch

from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.reflections import (
    GHOSTS,
    ReflectionRanges,
    add_ghosts,
    defocus,
    disc_blur,
    reflected_light,
    shifted,
)

PLAIN = ReflectionRanges(
    highlight_gain=0,
    blueness=(0, 0),
    defocus=0,
    ghost_chance=0,
    shadow_chance=0,
    mask_chance=0,
    edge_chance=0,
    faint=0,
    weak=0,
    level=(0.2, 0, 1),
    veil_chance=0,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def ramp(height=20, width=30):
    return (torch.arange(height)[:, None] + 2.0 * torch.arange(width)).expand(3, -1, -1)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0.25, -0.5), (-1.75, 2.5), (3, -2)])
def test_a_ramp_is_shifted_by_fractions_of_a_pixel(down, right):
    moved = shifted(ramp(), down, right)[:, 5:-5, 5:-5]
    torch.testing.assert_close(moved, ramp()[:, 5:-5, 5:-5] - down - 2 * right)


def test_most_ghosts_shift_by_less_than_a_pixel():
    """As behind panes: the centre of a bright line moves by the ghosts' shift times their weight."""
    line = torch.zeros(1, 65, 65)
    line[:, 32, 32] = 1
    rows, columns = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    shifts = []
    for seed in range(200):
        light = add_ghosts(line, seeded(seed))
        assert light.sum().item() == pytest.approx(1, abs=1e-5) and (light >= 0).all()
        shifts.append(math.hypot((light * (rows - 32)).sum(), (light * (columns - 32)).sum()))
    assert 0.15 < sorted(shifts)[100] < 0.7
    assert sum(shift > 3 for shift in shifts) < 30
    assert sum(law.share for law in GHOSTS) == pytest.approx(1)


def test_a_disc_keeps_the_light_and_reaches_as_far_as_its_radius():
    point = torch.zeros(2, 31, 31)
    point[:, 15, 15] = 1
    blurred = disc_blur(point, 4.0)
    torch.testing.assert_close(blurred.sum((1, 2)), torch.ones(2))
    assert blurred[0, 15, 19] > 0 and blurred[0, 15, 20] == 0
    assert blurred[0, 15, 15] == blurred[0, 15, 18]


def test_defocus_blurs_some_and_never_brightens():
    edge = torch.zeros(3, 40, 40)
    edge[..., 20:] = 1
    results = [defocus(edge, 10.0, seeded(seed)) for seed in range(40)]
    assert any(torch.equal(result, edge) for result in results)
    assert any((result[0, 20, 15:25].diff() < 0.3).all() for result in results)
    assert all(result.min() >= -1e-6 and result.max() <= 1 + 1e-5 for result in results)


def test_reflected_light_has_the_strength_that_was_drawn():
    picture = torch.rand(3, 32, 32, generator=seeded(0))
    light = reflected_light(picture, seeded(1), PLAIN)
    assert torch.quantile(light.flatten()[::16], 0.95).item() == pytest.approx(0.2, abs=1e-4)
    grey = linear_to_srgb(torch.full((3, 32, 32), 0.5))
    torch.testing.assert_close(reflected_light(grey, seeded(1), PLAIN), torch.full((3, 32, 32), 0.2))


def test_reflections_of_all_kinds_are_light_and_seeded():
    picture = torch.rand(3, 48, 64, generator=seeded(0))
    levels = []
    for seed in range(60):
        light = reflected_light(picture, seeded(seed), ReflectionRanges())
        assert torch.equal(light, reflected_light(picture, seeded(seed), ReflectionRanges()))
        assert light.shape == picture.shape and light.isfinite().all() and (light >= 0).all()
        levels.append(light.mean().item())
    assert sum(level < 0.005 for level in levels) >= 3
    assert sum(level > 0.05 for level in levels) >= 10
