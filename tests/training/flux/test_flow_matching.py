import math

import pytest
import torch

from clearpane.separation.flux.sampling import Sampling, draw_noise, sample
from clearpane.training.flux.flow_matching import distillation_loss, draw_sigma, flow_matching_loss


class Known:
    """In the backbone's place: knows the picture to make, and says the true velocity plus an error."""

    def __init__(self, latents: torch.Tensor, error: torch.Tensor | float) -> None:
        self._latents, self._error = latents, error
        self.sigma = None

    def shift(self, tokens: int) -> float:
        return 1.0

    def velocity(self, noisy, reference, sigma, task, guidance):
        self.sigma = sigma
        noise = (noisy - (1 - sigma)[:, None, None, None] * self._latents) / sigma[:, None, None, None]
        return noise - self._latents + self._error


def loss(backbone, latents, weight=None) -> float:
    generator = torch.Generator().manual_seed(3)
    return flow_matching_loss(backbone, latents, latents, None, 1.0, generator, weight).item()


def test_the_true_velocity_has_no_loss():
    latents = torch.randn(4, 3, 4, 4)
    assert loss(Known(latents, 0.0), latents) == pytest.approx(0, abs=1e-8)
    assert loss(Known(latents, 0.5), latents) == pytest.approx(0.25, rel=1e-4)


def test_what_is_not_known_has_no_weight():
    latents = torch.randn(2, 3, 4, 6)
    error = torch.zeros(4, 6)
    error[:, 4:] = 100.0
    weight = torch.ones(2, 1, 1, 6)
    weight[..., 4:] = 0
    assert loss(Known(latents, error), latents, weight) == pytest.approx(0, abs=1e-6)
    assert loss(Known(latents, 0.5), latents, weight) == pytest.approx(0.25, rel=1e-4)


def test_what_is_not_known_is_not_seen_either():
    """The transformer's input does not depend on what stands in the place of the unknown."""
    seen = []

    class Watching(Known):
        def velocity(self, noisy, reference, sigma, task, guidance):
            seen.append(noisy.clone())
            return super().velocity(noisy, reference, sigma, task, guidance)

    latents = torch.randn(2, 3, 4, 6)
    weight = torch.ones(2, 1, 1, 6)
    weight[..., 4:] = 0
    for value in (1.0, -3.0):
        latents[..., 4:] = value
        loss(Watching(latents, 0.0), latents, weight)
    first, second = seen
    assert torch.equal(first, second)


def test_shares_of_noise_are_logit_normal_and_shifted():
    plain = draw_sigma(20000, 1.0, torch.Generator().manual_seed(0))
    logit = torch.log(plain / (1 - plain))
    assert logit.mean().item() == pytest.approx(0, abs=0.03)
    assert logit.std().item() == pytest.approx(1, abs=0.03)
    shifted = draw_sigma(20000, 3.0, torch.Generator().manual_seed(0))
    moved = torch.log(shifted / (1 - shifted)) - logit
    torch.testing.assert_close(moved, torch.full_like(moved, math.log(3)), atol=1e-3, rtol=0)


def test_shares_of_noise_may_be_uniform():
    plain = draw_sigma(20000, 1.0, torch.Generator().manual_seed(0), "uniform").sort().values
    torch.testing.assert_close(plain, torch.linspace(0, 1, 20000), atol=0.02, rtol=0)


def test_distillation_has_no_error_where_one_step_ends_as_many_do(backbone, task):
    """One step of sampling from the same noise ends at the latents that the loss compares with."""
    reference = torch.zeros(1, 4, 4, 4)
    ends = sample(backbone, reference, task, Sampling(1, seed=3))
    noise = draw_noise((1, 4, 4, 4), 3)
    given = (noise, reference, task, Sampling().guidance)
    with torch.no_grad():
        assert distillation_loss(backbone, ends, *given).item() == pytest.approx(0, abs=1e-9)
        assert distillation_loss(backbone, ends + 0.5, *given).item() == pytest.approx(0.25, rel=1e-4)
