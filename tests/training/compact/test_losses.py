import pytest
import torch
from torch.nn import functional as F

from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.training.compact.losses import Batch, best_shift, gradient_loss, separation_loss


def smooth(seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    coarse = torch.rand(2, 3, 8, 8)
    return F.interpolate(coarse, (40, 48), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-2, 2)])
def test_best_shift_undoes_a_shift_of_up_to_two_pixels(shift):
    picture = smooth()
    shifted = torch.roll(picture, shift, dims=(-2, -1))
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.equal(best_shift(picture, shifted)[inside], picture[inside])


def test_best_shift_leaves_a_larger_shift():
    picture = smooth()
    assert not torch.allclose(best_shift(picture, torch.roll(picture, 6, -1))[..., 8:-8], picture[..., 8:-8])


def test_gradient_loss_ignores_an_offset_and_counts_a_step_by_hand():
    picture = smooth()
    torch.testing.assert_close(gradient_loss(picture + 0.1, picture), torch.zeros(2), atol=1e-6, rtol=0)
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1
    # Along rows one difference in three is 1; half the size has 2 columns and one difference of 1.
    assert gradient_loss(step, torch.zeros_like(step), scales=2).item() == pytest.approx(1 / 3 + 1)


def mixed_batch() -> tuple[Batch, torch.Tensor]:
    """Two synthetic pictures with I = t B + R in linear light, the second declared real."""
    background, reflection = 0.6 * smooth(1), 0.4 * smooth(2)
    photo = linear_to_srgb(0.9 * srgb_to_linear(background) + srgb_to_linear(reflection))
    real = torch.tensor([False, True])
    return Batch(photo, background, reflection, torch.tensor([[0.9] * 3, [torch.nan] * 3]), real), reflection


def test_the_truth_has_no_loss():
    batch, reflection = mixed_batch()
    assert separation_loss(batch.target, reflection, batch).item() == pytest.approx(0, abs=1e-4)


def test_a_real_pair_says_nothing_of_the_reflection_and_forgives_a_shift():
    batch, reflection = mixed_batch()
    wrong = reflection.clone()
    wrong[1] = 1
    assert separation_loss(batch.target, wrong, batch).item() == pytest.approx(0, abs=1e-4)
    wrong[0] = 1
    assert separation_loss(batch.target, wrong, batch).item() > 0.05
    moved = F.pad(batch.target, (1, 0, 0, 0), mode="replicate")[..., :-1]
    real_moved = torch.stack([batch.target[0], moved[1]])
    drawn_moved = torch.stack([moved[0], batch.target[1]])
    assert separation_loss(real_moved, reflection, batch).item() == pytest.approx(0, abs=1e-4)
    assert separation_loss(drawn_moved, reflection, batch).item() > 0.05


def test_the_loss_has_finite_gradients_at_black_and_white():
    batch, _ = mixed_batch()
    transmission = torch.stack([torch.zeros(3, 40, 48), torch.ones(3, 40, 48)]).requires_grad_()
    reflection = torch.zeros_like(transmission).requires_grad_()
    separation_loss(transmission, reflection, batch).backward()
    assert torch.isfinite(transmission.grad).all()
    assert torch.isfinite(reflection.grad).all()
    assert transmission.grad.any()
