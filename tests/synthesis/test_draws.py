import numpy as np
import pytest
import torch
from scipy import stats

from clearpane.synthesis.draws import normal, truncated_normal, uniform


def draws(function, *arguments):
    generator = torch.Generator().manual_seed(0)
    return np.asarray([function(*arguments, generator) for _ in range(4000)])


# Under the right distribution, a p-value below 1e-3 comes once in a thousand seeds.
def test_uniform():
    assert stats.kstest(draws(uniform, -2, 3), stats.uniform(-2, 5).cdf).pvalue > 1e-3


def test_normal():
    assert stats.kstest(draws(normal, 1.0, 0.5), stats.norm(1, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("limits", [(0.82, 1.42), (1.3, 1.5), (1.0, 1.1)])
def test_truncated_normal(limits):
    mean, deviation = 1.109, 0.118
    drawn = draws(truncated_normal, mean, deviation, limits)
    assert limits[0] <= drawn.min() and drawn.max() <= limits[1]
    a, b = ((limit - mean) / deviation for limit in limits)
    assert stats.kstest(drawn, stats.truncnorm(a, b, mean, deviation).cdf).pvalue > 1e-3
