import numpy as np
import pytest
import torch

from clearpane.synthesis import blending
from clearpane.synthesis.blending import (
    ceilnet_blend,
    dsrnet_blend,
    gaussian_blur,
    half_plane_mask,
    rdnet_blend,
    smooth_mask,
    vignette_mask,
    zhang_blend,
)

BLENDS = [ceilnet_blend, zhang_blend, dsrnet_blend, rdnet_blend]
LAYERS = ("input", "transmission", "reflection", "background")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures():
    generator = seeded(99)
    return torch.rand(3, 24, 32, generator=generator), torch.rand(3, 24, 32, generator=generator)


@pytest.mark.parametrize("function", BLENDS)
def test_the_same_seed_gives_the_same_picture_and_another_does_not(pictures, function):
    first, again, other = (function(*pictures, seeded(seed)) for seed in (5, 5, 6))
    for layer in LAYERS:
        assert torch.equal(getattr(first, layer), getattr(again, layer))
    assert not torch.equal(first.input, other.input)


@pytest.mark.parametrize("function", BLENDS)
@pytest.mark.parametrize("size", [(24, 32), (5, 300)])
def test_layers_are_pictures_and_the_arguments_stay(function, size):
    background, reflected = torch.rand(2, 3, *size, generator=seeded(1))
    copies = background.clone(), reflected.clone()
    for seed in range(12):
        blend = function(background, reflected, seeded(seed))
        for layer in LAYERS:
            values = getattr(blend, layer)
            assert values.shape == background.shape
            assert values.min() >= 0 and values.max() <= 1 + 1e-6
    assert torch.equal(background, copies[0]) and torch.equal(reflected, copies[1])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("function", "decode"),
    [(ceilnet_blend, lambda v: v), (zhang_blend, lambda v: v**2.2)],
)
def test_the_layers_add_up_where_the_blend_adds(pictures, function, decode, seed):
    blend = function(*pictures, seeded(seed))
    total = decode(blend.transmission) + decode(blend.reflection)
    assert torch.allclose(decode(blend.input), total.clamp(max=1), atol=2e-6)


@pytest.fixture(scope="module")
def dsrnet_blends():
    pictures = torch.rand(2, 3, 6, 8, generator=seeded(99))
    return [dsrnet_blend(*pictures, seeded(seed)) for seed in range(300)]


def test_dsrnet_screens_in_7_of_10_cases_and_adds_otherwise(dsrnet_blends):
    screened = 0
    for blend in dsrnet_blends:
        sum_, product = blend.transmission + blend.reflection, blend.transmission * blend.reflection
        is_screen = torch.allclose(blend.input, sum_ - product, atol=1e-6)
        assert is_screen != torch.allclose(blend.input, sum_.clamp(max=1), atol=1e-6)
        screened += is_screen
    assert screened == pytest.approx(210, abs=4 * (300 * 0.7 * 0.3) ** 0.5)


def test_dsrnet_s_gain_on_the_transmission(dsrnet_blends):
    gains = [(blend.transmission.sum() / blend.background.sum()).item() for blend in dsrnet_blends]
    assert 0.8 <= min(gains) < 0.81 and 0.99 < max(gains) <= 1


def test_rdnet_s_reflection_is_the_residual_and_its_gains_keep_to_their_limits(pictures):
    background, reflected = pictures[0] * 0.7, pictures[1]
    gains = []
    for seed in range(200):
        blend = rdnet_blend(background, reflected, seeded(seed))
        assert torch.allclose(blend.reflection, blend.input - blend.transmission, atol=1e-6)
        gains.append(blend.transmission.sum((1, 2)) / background.sum((1, 2)))
    gains = torch.stack(gains)
    assert torch.all(gains > torch.tensor([0.82, 0.85, 0.85]) - 1e-5)
    assert torch.all(gains < torch.tensor([1.42, 1.35, 1.31]) + 1e-5)
    assert gains.mean(0).tolist() == pytest.approx([1.109, 1.1, 1.078], abs=0.03)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("function", [ceilnet_blend, zhang_blend, dsrnet_blend, rdnet_blend])
def test_without_a_reflection_the_input_is_the_transmission(pictures, function, seed):
    background = pictures[0] * 0.7
    blend = function(background, torch.zeros_like(background), seeded(seed))
    assert torch.allclose(blend.input, blend.transmission, atol=1e-6)
    assert blend.reflection.abs().max() < 1e-6
    ratio = blend.transmission / background
    assert torch.allclose(ratio, ratio.mean((1, 2), keepdim=True), atol=1e-4)
    assert torch.equal(blend.background, background)


def test_ceilnet_s_clip_rule_by_hand():
    # An even reflection stays as it is under the blur. The sums above 1 are 1.1 and 1.3, their mean excess is
    # 0.2, so R falls by 1.3 x 0.2 = 0.26 everywhere: from 0.4 to 0.14.
    background = torch.tensor([0.1, 0.5, 0.7, 0.9])[None, :, None].expand(3, 4, 12).clone()
    blend = ceilnet_blend(background, torch.full((3, 4, 12), 0.4), seeded(0))
    assert blend.reflection.numpy() == pytest.approx(np.full((3, 4, 12), 0.14), abs=1e-5)
    assert blend.input[0, :, 0].tolist() == pytest.approx([0.24, 0.64, 0.84, 1.0], abs=1e-5)
    assert torch.equal(blend.transmission, background)


def test_ceilnet_leaves_a_reflection_that_fits():
    blend = ceilnet_blend(torch.full((3, 12, 12), 0.5), torch.full((3, 12, 12), 0.4), seeded(0))
    assert blend.reflection.numpy() == pytest.approx(np.full((3, 12, 12), 0.4), abs=1e-6)


def test_zhang_lowers_each_channel_by_its_own_excess(monkeypatch):
    monkeypatch.setattr(blending, "vignette_mask", lambda height, width, generator: torch.ones(height, width))
    background = torch.tensor([0.2, 0.6, 0.9])[:, None, None].expand(3, 12, 12) ** (1 / 2.2)
    light = zhang_blend(background, torch.full((3, 12, 12), 0.7 ** (1 / 2.2)), seeded(0)).reflection ** 2.2
    red, green, blue = light.mean((1, 2)).tolist()
    assert red == pytest.approx(0.7, abs=1e-5)  # 0.2 + 0.7 fits
    factor = (0.7 - green) / 0.3  # 0.6 + 0.7 is 0.3 too much
    assert 1.08 <= factor <= 1.18
    assert blue == pytest.approx(0.7 - factor * 0.6, abs=1e-5)


def reflected_index(i, length):
    """The index that a picture mirrored at its edge pixels has at i."""
    while not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i


@pytest.mark.parametrize(("sigma", "size"), [(0.7, None), (2.5, None), (3.0, 5), (30.0, None)])
def test_gaussian_blur_against_a_plain_loop(sigma, size):
    picture = torch.rand(2, 7, 9, generator=seeded(3), dtype=torch.float64)
    radius = min(size // 2 if size else int(np.ceil(3 * sigma)), 6)  # at most the height less one
    weights = [
        [np.exp(-(i * i + j * j) / (2 * sigma**2)) for j in range(-radius, radius + 1)]
        for i in range(-radius, radius + 1)
    ]
    expected = torch.zeros_like(picture)
    for y in range(7):
        for x in range(9):
            for i in range(-radius, radius + 1):
                for j in range(-radius, radius + 1):
                    source = picture[:, reflected_index(y + i, 7), reflected_index(x + j, 9)]
                    expected[:, y, x] += weights[i + radius][j + radius] * source
    expected /= np.sum(weights)
    assert torch.allclose(gaussian_blur(picture, sigma, size), expected, atol=1e-12)


@pytest.mark.parametrize("function", [smooth_mask, half_plane_mask, vignette_mask])
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (300, 700)])
def test_masks_keep_to_0_and_1_and_follow_the_seed(function, size):
    masks = [function(*size, seeded(seed)) for seed in range(20)]
    for mask in masks:
        assert mask.shape == size
        assert mask.min() >= 0 and mask.max() <= 1
    assert torch.equal(function(*size, seeded(0)), masks[0])
    if size != (1, 1):
        assert not torch.equal(masks[0], masks[1])


def test_the_smooth_mask_spans_the_range_without_steps():
    mask = smooth_mask(60, 80, seeded(0))
    assert mask.min() == 0 and mask.max() > 0.999
    assert mask.diff(dim=0).abs().max() < 0.2 and mask.diff(dim=1).abs().max() < 0.2


def test_the_half_plane_mask_rises_along_one_direction():
    for seed in range(20):
        mask = half_plane_mask(40, 50, seeded(seed)).double()
        for dim in (0, 1):
            steps = mask.diff(dim=dim)
            assert torch.all(steps >= -1e-6) or torch.all(steps <= 1e-6)


@pytest.mark.parametrize("size", [(256, 256), (900, 1200)])
def test_the_vignette_is_the_published_gaussian(size):
    # ln V = -(x^2 + y^2) / 4 with steps of 6 / side: its second difference is -(6 / side)^2 / 2 everywhere.
    side = 560 if size[1] <= 550 else 560 * 1200 / 550
    for seed in range(5):
        logarithm = vignette_mask(*size, seeded(seed)).double().log()
        bend = logarithm[::40].diff(dim=1).diff(dim=1).mean().item()
        assert bend == pytest.approx(-((6 / side) ** 2) / 2, rel=0.02)
        assert logarithm.min() >= -2 * 3**2 / 4


def test_the_vignette_s_brightest_place_moves():
    rows = {divmod(int(vignette_mask(256, 256, seeded(seed)).argmax()), 256)[0] for seed in range(20)}
    assert len(rows) > 10
