import pytest
import torch

from benchmarks.common.linear_light import LinearLightRanges, add_ghost, linear_light_blend
from clearpane.optics.color import srgb_to_linear

LAYERS = ("input", "transmission", "reflection", "background")

# linear_light_blend of seeds 0 to 7: I, T, R and B in one place, the mean of R, the generator's next number.
DRAWN = [
    (0.704813, 0.685727, 0.179027, 0.737183, 0.183260, 0.615852),
    (0.873627, 0.800826, 0.397324, 0.880414, 0.375607, 0.198019),
    (0.755249, 0.744841, 0.134406, 0.799146, 0.304594, 0.552953),
    (0.830997, 0.488659, 0.704213, 0.524378, 0.719625, 0.175605),
    (0.849000, 0.746722, 0.452656, 0.769762, 0.492705, 0.770060),
    (0.861971, 0.824024, 0.291072, 0.924621, 0.377967, 0.527325),
    (0.700377, 0.697399, 0.053229, 0.776374, 0.118592, 0.428154),
    (0.804496, 0.709035, 0.424264, 0.756901, 0.368675, 0.879704),
]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures():
    generator = seeded(99)
    return torch.rand(3, 24, 32, generator=generator), torch.rand(3, 24, 32, generator=generator)


@pytest.mark.parametrize("seed", range(8))
def test_it_draws_what_the_shipped_weights_were_trained_with(pictures, seed):
    generator = seeded(seed)
    blend = linear_light_blend(*pictures, generator)
    drawn = [getattr(blend, layer)[0, 5, 7].item() for layer in LAYERS]
    drawn += [blend.reflection.mean().item(), torch.rand((), generator=generator).item()]
    assert drawn == pytest.approx(DRAWN[seed], abs=2e-5)


@pytest.mark.parametrize("size", [(24, 32), (5, 300)])
def test_layers_are_pictures_that_add_up_and_the_arguments_stay(size):
    background, reflected = torch.rand(2, 3, *size, generator=seeded(1))
    copies = background.clone(), reflected.clone()
    for seed in range(12):
        blend = linear_light_blend(background, reflected, seeded(seed))
        for layer in LAYERS:
            values = getattr(blend, layer)
            assert values.shape == background.shape
            assert values.min() >= 0 and values.max() <= 1 + 1e-6
        total = srgb_to_linear(blend.transmission) + srgb_to_linear(blend.reflection)
        assert torch.allclose(srgb_to_linear(blend.input), total.clamp(max=1), atol=2e-6)
    assert torch.equal(background, copies[0]) and torch.equal(reflected, copies[1])


def test_without_a_reflection_and_with_clear_glass_linear_light_changes_only_the_tint(pictures):
    background = pictures[0]
    ranges = LinearLightRanges(exposure=(1.0, 1.0), transmittance=(1.0, 1.0), veil_chance=0)
    blend = linear_light_blend(background, torch.zeros_like(background), seeded(0), ranges)
    assert torch.allclose(blend.background, background, atol=1e-5)
    tint = srgb_to_linear(blend.input) / srgb_to_linear(background)
    assert torch.allclose(tint, tint.mean((1, 2), keepdim=True), atol=1e-4)
    assert tint.min() >= 0.95 - 1e-5 and tint.max() <= 1 + 1e-5


def reflected_index(i, length):
    """The index that a picture mirrored at its edge pixels has at i."""
    while not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-4, 1), (0, 5)])
def test_add_ghost_against_a_plain_loop(offset):
    picture = torch.rand(3, 8, 9, generator=seeded(4), dtype=torch.float64)
    expected = torch.zeros_like(picture)
    for y in range(8):
        for x in range(9):
            ghost = picture[:, reflected_index(y - offset[0], 8), reflected_index(x - offset[1], 9)]
            expected[:, y, x] = (picture[:, y, x] + 0.6 * ghost) / 1.6
    assert torch.allclose(add_ghost(picture, offset, 0.6), expected, atol=1e-12)
