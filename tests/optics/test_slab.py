import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearpane.optics.fresnel import dielectric_reflectance, refract_cosine
from clearpane.optics.slab import (
    averaging_reflectance,
    crossing_attenuation,
    crossing_shift,
    slab_orders,
    slab_reflectance,
    slab_transmittance,
)

angles = st.floats(0, math.pi / 2)
indices = st.floats(1.01, 2.5)


def at(angle):
    return np.asarray([math.cos(angle)])


def unpolarised(function, cos_theta_i, ior, *arguments):
    """The mean of a function of one face's reflectance over s and p."""
    s, p = (function(face, *arguments) for face in dielectric_reflectance(cos_theta_i, ior))
    return (s + p) / 2


def traced(theta_i, ior, thickness, absorption, count):
    """The pane, bounce by bounce: lists of (place along the pane, weight_s, weight_p) of both sides."""
    theta_t = math.asin(math.sin(theta_i) / ior)
    front = [share.item() for share in dielectric_reflectance(at(theta_i), ior)]
    inside = [share.item() for share in dielectric_reflectance(at(theta_t), 1 / ior)]
    reflected, passed = [(0.0, *front)], []
    place, light = 0.0, [1 - share for share in front]
    for hit in range(2 * count):
        place += thickness * math.tan(theta_t)
        path = thickness / math.cos(theta_t)
        light = [share * math.exp(-absorption * path) for share in light]
        side = reflected if hit % 2 else passed
        side.append((place, *(share * (1 - face) for share, face in zip(light, inside, strict=True))))
        light = [share * face for share, face in zip(light, inside, strict=True)]
    return reflected[:count], passed[:count]


@pytest.mark.parametrize("degrees", [0, 20, 45, 60, 75])
@pytest.mark.parametrize("absorption", [0, 50])
def test_orders_are_those_of_a_ray_followed_bounce_by_bounce(degrees, absorption):
    theta_i, ior, thickness, count = math.radians(degrees), 1.52, 0.01, 5
    reflected, passed = traced(theta_i, ior, thickness, absorption, count)
    cos_theta_t = refract_cosine(at(theta_i), ior)
    attenuation = crossing_attenuation(cos_theta_t, thickness, absorption)
    shift = crossing_shift(np.asarray([math.sin(theta_i)]), cos_theta_t, ior, thickness)
    faces = dielectric_reflectance(at(theta_i), ior)
    for column, face in enumerate(faces, start=1):
        reflections, transmissions = slab_orders(face, attenuation, count)
        assert len(reflections) == len(transmissions) == count
        for order, weight in enumerate(reflections):
            assert weight == pytest.approx(reflected[order][column], rel=1e-9)
            assert 2 * order * shift == pytest.approx(reflected[order][0], rel=1e-9)
        for order, weight in enumerate(transmissions):
            assert weight == pytest.approx(passed[order][column], rel=1e-9)
            assert (2 * order + 1) * shift == pytest.approx(passed[order][0], rel=1e-9)
    # Distances between parallel rays: the part of the step along the pane that lies across them.
    across = (thickness * math.tan(theta_i) - passed[0][0]) * math.cos(theta_i)
    theta_t = math.acos(cos_theta_t.item())
    assert across == pytest.approx(thickness * math.sin(theta_i - theta_t) / math.cos(theta_t), abs=1e-9)


def test_pane_at_60_degrees_reflects_15_percent_and_not_what_averaging_gives():
    assert unpolarised(slab_reflectance, at(math.pi / 3), 1.5, 1.0) == pytest.approx(0.1519, abs=1e-4)
    averaged = averaging_reflectance(at(math.pi / 3), 1.5)
    assert slab_reflectance(averaged, 1.0) == pytest.approx(0.1638, abs=1e-4)
    ghost = unpolarised(lambda face: slab_orders(face, 1.0, 2)[0][1], at(math.pi / 3), 1.5)
    assert slab_orders(averaged, 1.0, 2)[0][1] / ghost == pytest.approx(1.22, abs=0.005)


def test_pane_straight_on_reflects_8_percent():
    assert unpolarised(slab_reflectance, at(0), 1.5, 1.0) == pytest.approx(2 * 0.04 / 1.04, abs=1e-12)
    assert averaging_reflectance(at(0), 1.5) == pytest.approx(0.04, abs=1e-12)


@pytest.mark.parametrize(
    ("degrees", "count", "decibels"), [(60, 3, 84), (70, 3, 64), (60, 2, 54), (70, 2, 43)]
)
def test_a_few_orders_come_as_near_as_stated(degrees, count, decibels):
    cosine = at(math.radians(degrees))
    missing = unpolarised(
        lambda face: slab_reflectance(face, 1.0) - sum(slab_orders(face, 1.0, count)[0]), cosine, 1.5
    )
    assert -20 * math.log10(missing.item()) == pytest.approx(decibels, abs=0.5)


@given(angles, indices, st.floats(0, 1))
def test_the_orders_add_up_to_the_closed_form(angle, ior, attenuation):
    for face in (*dielectric_reflectance(at(angle), ior), averaging_reflectance(at(angle), ior)):
        if face > 0.93:  # too many orders
            continue
        reflected, passed = (sum(weights) for weights in slab_orders(face, attenuation, 200))
        assert reflected == pytest.approx(slab_reflectance(face, attenuation), abs=1e-9)
        assert passed == pytest.approx(slab_transmittance(face, attenuation), abs=1e-9)


@given(angles, indices, st.floats(1e-3, 1))
def test_energy_is_kept_without_absorption_and_lost_with_it(angle, ior, depth):
    cos_theta_t = refract_cosine(at(angle), ior)
    attenuation = crossing_attenuation(cos_theta_t, depth, 1.0)
    for face in (*dielectric_reflectance(at(angle), ior), averaging_reflectance(at(angle), ior)):
        assert slab_reflectance(face, 1.0) + slab_transmittance(face, 1.0) == pytest.approx(1, abs=1e-9)
        left = slab_reflectance(face, attenuation) + slab_transmittance(face, attenuation)
        assert left <= 1 and (left < 1 or face > 0.999)


def test_attenuation_is_exponential_in_the_refracted_path():
    # At 30 degrees inside, the path is 2 / sqrt(3) times the thickness.
    cosine = np.asarray([1.0, math.sqrt(3) / 2])
    expected = [math.exp(-0.5), math.exp(-0.5 * 2 / math.sqrt(3))]
    assert crossing_attenuation(cosine, 0.01, 50.0) == pytest.approx(expected)
    assert crossing_attenuation(cosine, 0.01, 0.0).tolist() == [1, 1]
    twice = crossing_attenuation(cosine, 0.02, 50.0)
    assert twice == pytest.approx(crossing_attenuation(cosine, 0.01, 50.0) ** 2)


def test_no_order_of_p_polarised_light_returns_at_brewster_s_angle():
    cosine = at(math.atan(1.5))
    attenuation = crossing_attenuation(refract_cosine(cosine, 1.5), 0.006, 20.0)
    face_s, face_p = dielectric_reflectance(cosine, 1.5)
    reflections, transmissions = slab_orders(face_p, attenuation, 6)
    assert max(weight.item() for weight in reflections) < 1e-15
    assert slab_reflectance(face_p, attenuation) < 1e-15
    assert transmissions == [pytest.approx(attenuation), *[pytest.approx(0)] * 5]
    assert slab_orders(face_s, attenuation, 2)[0][1] > 0.05


def test_the_shift_follows_the_tangential_direction():
    direction = np.asarray([0.48, -0.36, 0.8])
    shift = crossing_shift(direction[:2], refract_cosine(direction[2:], 1.5), 1.5, 0.008)
    theta_t = math.asin(0.6 / 1.5)
    assert shift == pytest.approx(0.008 * math.tan(theta_t) * np.asarray([0.8, -0.6]))


def test_a_pane_of_air_does_nothing():
    cosine = np.asarray([0.3, 0.8, 1.0])
    face = averaging_reflectance(cosine, 1.0)
    assert slab_reflectance(face, 1.0) == pytest.approx([0, 0, 0])
    assert slab_transmittance(face, 1.0) == pytest.approx([1, 1, 1])


def test_nothing_enters_at_grazing_incidence():
    cosine = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    face = dielectric_reflectance(cosine, 1.5)[0]
    total, passed = slab_reflectance(face, 1.0), slab_transmittance(face, 1.0)
    assert (total.item(), passed.item()) == (1, 0)
    for result in (total, passed):
        (gradient,) = torch.autograd.grad(result, cosine, retain_graph=True)
        assert torch.isfinite(gradient).all()


def batch(kind):
    rng = np.random.default_rng(0)
    cosine = kind(rng.uniform(0.3, 1, (2, 1, 4, 5)).astype(np.float32))
    ior = kind(np.asarray([[1.51, 1.52, 1.53], [1.45, 1.46, 1.47]], np.float32)[..., None, None])
    thickness = kind(np.asarray([0.004, 0.01], np.float32)[:, None, None, None])
    absorption = kind(rng.uniform(1, 100, (2, 3, 1, 1)).astype(np.float32))
    cos_theta_t = refract_cosine(cosine, ior)
    attenuation = crossing_attenuation(cos_theta_t, thickness, absorption)
    face = dielectric_reflectance(cosine, ior)[0]
    reflections, transmissions = slab_orders(face, attenuation, 3)
    return [
        *reflections,
        *transmissions,
        slab_reflectance(face, attenuation),
        slab_transmittance(face, attenuation),
        averaging_reflectance(cosine, ior),
        crossing_shift(0.5 * cosine, cos_theta_t, ior, thickness),
    ]


def test_batches_broadcast_and_numpy_and_torch_agree():
    for array, tensor in zip(batch(np.asarray), batch(torch.from_numpy), strict=True):
        assert array.shape == tuple(tensor.shape) == (2, 3, 4, 5)
        assert array.dtype == np.float32 and tensor.dtype == torch.float32
        assert tensor.numpy() == pytest.approx(array, rel=1e-4, abs=1e-7)


def test_gradients_match_finite_differences():
    def everything(cosine, ior, thickness, absorption):
        cos_theta_t = refract_cosine(cosine, ior)
        attenuation = crossing_attenuation(cos_theta_t, thickness, absorption)
        results = []
        for face in (*dielectric_reflectance(cosine, ior), averaging_reflectance(cosine, ior)):
            reflections, transmissions = slab_orders(face, attenuation, 3)
            results += reflections + transmissions
            results += [slab_reflectance(face, attenuation), slab_transmittance(face, attenuation)]
        # In millimetres, so that it weighs as much as the rest.
        return (*results, 1000 * crossing_shift(1 - cosine, cos_theta_t, ior, thickness))

    cosine = torch.tensor([0.2, 0.8], dtype=torch.float64, requires_grad=True)
    scalars = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.5, 0.01, 40.0))
    assert torch.autograd.gradcheck(everything, (cosine, *scalars))
