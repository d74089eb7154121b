import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearpane.optics.color import linear_to_srgb, srgb_to_linear

values = st.floats(-8, 8, width=64)


# Computed by hand from IEC 61966-2-1: straight below the knee, ((V + 0.055) / 1.055) ** 2.4 above.
@pytest.mark.parametrize(
    ("srgb", "linear"), [(0, 0), (0.02, 0.0015479876), (0.2, 0.033104767), (0.5, 0.21404114), (1, 1)]
)
def test_known_values(srgb, linear):
    assert srgb_to_linear(np.asarray([srgb], np.float64))[0] == pytest.approx(linear, abs=1e-8)
    assert linear_to_srgb(np.asarray([linear], np.float64))[0] == pytest.approx(srgb, abs=1e-7)


@given(values)
def test_the_round_trip_is_exact_both_ways(value):
    array = np.asarray([value])
    # At the knee the standard's rounded constants leave a step of some 1e-8.
    assert linear_to_srgb(srgb_to_linear(array)) == pytest.approx(array, rel=1e-6, abs=1e-7)
    assert srgb_to_linear(linear_to_srgb(array)) == pytest.approx(array, rel=1e-6, abs=1e-7)


@given(values)
def test_both_are_odd(value):
    array = np.asarray([value])
    assert srgb_to_linear(-array) == -srgb_to_linear(array)
    assert linear_to_srgb(-array) == -linear_to_srgb(array)


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_rises_from_0_to_1(function):
    result = function(np.linspace(0, 1, 10_001))
    assert (result[0], result[-1]) == (0, pytest.approx(1, abs=1e-12))
    assert np.all(np.diff(result) > 0)


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_numpy_and_torch_agree_and_keep_the_type(function):
    array = np.linspace(-0.5, 2, 997, dtype=np.float32).reshape(1, 997)
    result = function(torch.from_numpy(array))
    assert result.dtype == torch.float32 and function(array).dtype == np.float32
    assert result.numpy() == pytest.approx(function(array), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_gradients_match_finite_differences(function):
    points = torch.tensor([-0.6, -0.01, 0.0, 0.001, 0.3, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (points,))


def test_gradients_at_black_are_the_straight_part_s():
    black = torch.zeros(2, requires_grad=True)
    (slope,) = torch.autograd.grad(srgb_to_linear(black).sum(), black)
    assert slope.tolist() == pytest.approx([1 / 12.92] * 2)
    (slope,) = torch.autograd.grad(linear_to_srgb(black).sum(), black)
    assert slope.tolist() == pytest.approx([12.92] * 2)
