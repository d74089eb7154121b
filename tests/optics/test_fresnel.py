import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearpane.optics.fresnel import (
    dielectric_reflectance,
    dielectric_transmittance,
    reflection_amplitudes,
    refract_cosine,
)

cosines = st.floats(0, 1)
indices = st.floats(0.4, 2.5)
FUNCTIONS = [
    refract_cosine,
    reflection_amplitudes,
    dielectric_reflectance,
    dielectric_transmittance,
]


def at(angle):
    return np.asarray([math.cos(angle)])


def test_normal_incidence_on_glass_reflects_4_percent():
    assert dielectric_reflectance(at(0), 1.5) == (pytest.approx(0.04), pytest.approx(0.04))
    assert reflection_amplitudes(at(0), 1.5) == (pytest.approx(-0.2), pytest.approx(0.2))


def test_60_degrees_against_the_equations_by_hand():
    # sin_t = sin 60 / 1.5, so cos_t = sqrt(2 / 3); r_s = (0.5 - 1.5 cos_t) / (0.5 + 1.5 cos_t), and so on.
    root = math.sqrt(2 / 3)
    r_s, r_p = (0.5 - 1.5 * root) / (0.5 + 1.5 * root), (0.75 - root) / (0.75 + root)
    assert refract_cosine(at(math.pi / 3), 1.5) == pytest.approx(root)
    assert dielectric_reflectance(at(math.pi / 3), 1.5) == (pytest.approx(r_s**2), pytest.approx(r_p**2))


@given(st.floats(0, 1.5), indices)
def test_snell_and_the_sine_and_tangent_forms(theta_i, ior):
    theta_t = math.acos(refract_cosine(at(theta_i), ior)[0])
    if theta_t == math.pi / 2 or theta_i < 0.01:
        return
    assert math.sin(theta_i) == pytest.approx(ior * math.sin(theta_t), abs=1e-7)
    r_s, r_p = reflection_amplitudes(at(theta_i), ior)
    assert r_s[0] == pytest.approx(-math.sin(theta_i - theta_t) / math.sin(theta_i + theta_t), abs=1e-5)
    assert r_p[0] * math.tan(theta_i + theta_t) == pytest.approx(math.tan(theta_i - theta_t), abs=1e-4)


@pytest.mark.parametrize("ior", [1.33, 1.5, 1 / 1.5])
def test_no_p_polarised_light_returns_at_brewster_s_angle(ior):
    reflectance_s, reflectance_p = dielectric_reflectance(at(math.atan(ior)), ior)
    assert reflectance_p == pytest.approx(0, abs=1e-15) and reflectance_s > 0.03
    below, above = (reflection_amplitudes(at(math.atan(ior) + step), ior)[1] for step in (-0.1, 0.1))
    assert below * above < 0


def test_everything_is_reflected_beyond_the_critical_angle():
    ior = 1 / 1.5
    beyond = np.cos(np.linspace(math.asin(ior) + 1e-6, math.pi / 2, 50))
    assert all(np.all(share == 1) for share in dielectric_reflectance(beyond, ior))
    assert all(np.all(share == 0) for share in dielectric_transmittance(beyond, ior))
    assert all(np.all(share < 1) for share in dielectric_reflectance(at(math.asin(ior) - 1e-4), ior))


@pytest.mark.parametrize("ior", [1.5, 1 / 1.5])
def test_everything_is_reflected_at_grazing_incidence(ior):
    assert dielectric_reflectance(np.asarray([0.0]), ior) == (1, 1)
    assert all(share > 0.99 for share in dielectric_reflectance(np.asarray([1e-3]), ior))


@given(cosines, indices)
def test_energy_is_kept(cosine, ior):
    cos_i = np.asarray([cosine])
    cos_t = refract_cosine(cos_i, ior)
    reflected, passed = dielectric_reflectance(cos_i, ior), dielectric_transmittance(cos_i, ior)
    # The transmitted field is 2 cos_i over these.
    sums = (cos_i + ior * cos_t, ior * cos_i + cos_t)
    for reflectance, transmittance, total in zip(reflected, passed, sums, strict=True):
        assert 0 <= reflectance <= 1 + 1e-12 and 0 <= transmittance <= 1 + 1e-12  # up to rounding
        assert reflectance + transmittance == pytest.approx(1, abs=1e-12)
        # The power of the transmitted field: refraction narrows the beam and slows the light.
        if cos_t > 0:
            assert transmittance * cos_i == pytest.approx(ior * cos_t * (2 * cos_i / total) ** 2, abs=1e-12)


@given(cosines, st.floats(1, 2.5))
def test_light_takes_the_same_way_back(cosine, ior):
    cos_i = np.asarray([cosine])
    cos_t = refract_cosine(cos_i, ior)
    assert refract_cosine(cos_t, 1 / ior) ** 2 == pytest.approx(cos_i**2, abs=1e-12)
    # Closer to grazing, rounding alone moves the way back by as much as the angle if the index is near 1.
    if cosine > 1e-4:
        there, back = dielectric_reflectance(cos_i, ior), dielectric_reflectance(cos_t, 1 / ior)
        assert back == (pytest.approx(there[0], abs=1e-6), pytest.approx(there[1], abs=1e-6))
        # Stokes: r' = -r.
        r, r_back = reflection_amplitudes(cos_i, ior), reflection_amplitudes(cos_t, 1 / ior)
        for k in (0, 1):
            assert r_back[k] == pytest.approx(-r[k], abs=1e-6)


def test_nothing_happens_between_equal_media():
    reflectance_s, reflectance_p = dielectric_reflectance(np.asarray([0.1, 0.5, 1.0]), 1.0)
    assert np.abs(reflectance_s).max() < 1e-15 and np.abs(reflectance_p).max() < 1e-15


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("ior", [1.5, 1 / 1.5])
def test_numpy_and_torch_agree_and_keep_the_type(function, ior):
    cosine = np.linspace(0, 1, 101, dtype=np.float32).reshape(101, 1)
    ours, theirs = function(cosine, ior), function(torch.from_numpy(cosine), ior)
    if function is refract_cosine:
        ours, theirs = (ours,), (theirs,)
    for array, tensor in zip(ours, theirs, strict=True):
        assert array.dtype == np.float32 and tensor.dtype == torch.float32
        assert tensor.numpy() == pytest.approx(array, abs=1e-6)


def test_an_index_for_each_channel_broadcasts():
    cosine = np.linspace(0.1, 1, 7)[:, None]
    ior = np.asarray([1.51, 1.52, 1.53])
    together = dielectric_reflectance(cosine, ior)[0]
    assert together.shape == (7, 3)
    assert together[:, 1] == pytest.approx(dielectric_reflectance(cosine[:, 0], 1.52)[0])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("ior", [1.5, 1 / 1.5])
def test_gradients_match_finite_differences(function, ior):
    # Clear of the critical angle (cosine 0.745), where the slope has a pole.
    cosine = torch.tensor([0.05, 0.3, 0.6, 0.8, 0.95, 0.999], dtype=torch.float64, requires_grad=True)
    index = torch.tensor(ior, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (cosine, index))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("ior", [0.6, 1.0, 1.5])
def test_gradients_stay_finite_at_the_critical_angle_and_grazing(function, ior):
    # 1 - 0.8^2 = 0.6^2: exactly critical for an index of 0.6, up to rounding to either side.
    cosine = torch.tensor(
        [0.0, 0.1, np.nextafter(0.8, 0), 0.8, np.nextafter(0.8, 1), 1.0], dtype=torch.float64
    )
    cosine.requires_grad_()
    index = torch.tensor(ior, dtype=torch.float64, requires_grad=True)
    result = function(cosine, index)
    total = result.sum() if function is refract_cosine else result[0].sum() + result[1].sum()
    for gradient in torch.autograd.grad(total, (cosine, index)):
        assert torch.isfinite(gradient).all()
