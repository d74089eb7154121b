import pytest
import torch

from clearpane.synthesis.blending import half_plane_mask, smooth_mask, vignette_mask


def seeded(seed):
    return torch.Generator().manual_seed(seed)


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
