import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clearpane.optics.color import srgb_to_linear
from clearpane.training.compact.camera import balance, expose, jpeg, photograph, s_curve
from clearpane.training.loop import step_generator


def layers(seed=0):
    coarse = torch.rand(6, 1, 4, 6, generator=step_generator(seed, 0)) * 0.4
    passed, added = F.interpolate(coarse, (32, 48), mode="bilinear").reshape(2, 3, 32, 48)
    return [passed + added, passed, added]


@pytest.mark.parametrize("change", [expose, balance])
def test_layers_still_add_up(change):
    for step in range(10):
        seen, passed, added = change(layers(), step_generator(0, step))
        torch.testing.assert_close(seen, passed + added)


def test_exposure_brings_dark_and_bright_pictures_to_a_like_mean():
    means = [
        expose([factor * x for x in layers()], step_generator(0, 3))[0].mean() for factor in (0.15, 0.25)
    ]
    torch.testing.assert_close(means[0], means[1])
    black = torch.zeros(3, 8, 8)
    assert torch.equal(expose([black], step_generator(0, 0))[0], black)


def test_pale_scenes_are_exposed_brighter():
    dim = [0.4 * x for x in layers()]
    pale, other = (
        np.mean([expose(dim, step_generator(0, k), pale=pale)[0].mean().item() for k in range(20)])
        for pale in (True, False)
    )
    assert pale > 1.5 * other


def test_the_curve_keeps_black_middle_and_white():
    fixed = torch.tensor([0.0, 0.5, 1.0])
    for strength in (-0.3, 0.0, 0.8):
        torch.testing.assert_close(s_curve(fixed, strength), fixed)
    assert s_curve(torch.tensor(0.25), 0.8) < 0.25 < s_curve(torch.tensor(0.25), -0.3)


def test_jpeg_changes_little_at_high_quality_and_more_at_low():
    smooth = torch.linspace(0, 1, 64).expand(3, 64, 64)
    fine, coarse = ((jpeg(smooth, quality) - smooth).abs().mean() for quality in (97, 30))
    assert fine < 0.004 < 0.1 and fine < coarse < 0.05


def test_light_adds_up_in_photographs_that_are_called_lawful():
    curved = 0
    for step in range(40):
        pictures, lawful = photograph(layers(), step_generator(0, step))
        assert all(p.min() >= 0 and p.max() <= 1 for p in pictures)
        curved += not lawful
        if lawful:
            seen, passed, added = map(srgb_to_linear, pictures)
            unsaturated = pictures[0] < 0.98
            error = (seen - passed - added).abs()[unsaturated].mean()
            assert error < 0.06  # grain and compression are left
    assert 3 <= curved <= 18
