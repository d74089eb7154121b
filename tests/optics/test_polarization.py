import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearpane.optics.fresnel import dielectric_reflectance, refract_cosine
from clearpane.optics.polarization import filter_alignment, filtered_weight
from clearpane.optics.slab import crossing_attenuation, slab_orders

turns = st.floats(0, 2 * math.pi)


def unit(*vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def rays(count, seed=0):
    """Unit vectors within some 50 degrees of the optical axis."""
    across = np.random.default_rng(seed).uniform(-0.8, 0.8, (count, 2))
    vectors = np.concatenate([across, np.ones((count, 1))], axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(turns)
def test_malus(psi):
    # A pane that reflects no p is a polariser, and the filter the analyser.
    passed = filtered_weight(np.asarray(0.2), np.asarray(0.0), math.cos(psi) ** 2)
    assert passed == pytest.approx(0.2 * math.cos(psi) ** 2)
    # Crossed with it the filter passes p alone.
    crossed = filtered_weight(np.asarray(0.2), np.asarray(0.7), math.cos(psi) ** 2)
    assert crossed == pytest.approx(0.2 * math.cos(psi) ** 2 + 0.7 * math.sin(psi) ** 2)


def test_unpolarised_light_keeps_its_weight_at_every_turn():
    weight = np.asarray(0.37)
    assert filtered_weight(weight, weight, np.linspace(0, 1, 11)) == pytest.approx(0.37)


def test_the_mean_over_all_turns_is_the_picture_without_filter():
    face_s, face_p = dielectric_reflectance(np.cos(np.linspace(0, 1.4, 20)), 1.5)
    ray, pane = unit(0.3, -0.2, 1.0), unit(0.5, 0.1, -1.0)
    # Around the ray itself, where the turns are even.
    across = np.cross(ray, [0, 1.0, 0])
    across /= np.linalg.norm(across)
    other = np.cross(ray, across)
    turned = [math.cos(a) * across + math.sin(a) * other for a in np.arange(8) * math.pi / 8]
    alignment = filter_alignment(ray, pane, np.stack(turned))
    mean = filtered_weight(face_s, face_p, alignment[:, None]).mean(axis=0)
    assert np.ptp(alignment) > 0.9 and mean == pytest.approx((face_s + face_p) / 2)


@given(turns)
def test_the_field_followed_as_a_vector(turn):
    # Unpolarised light as many linear polarisations: reflect each one's field, take its part along the axis.
    ray, pane = unit(0.2, -0.3, 1.0), unit(0.6, 0.2, -1.0)
    axis = np.asarray([math.cos(turn), math.sin(turn), 0.0])
    weight_s, weight_p = 0.19, 0.03
    s = np.cross(ray, pane) / np.linalg.norm(np.cross(ray, pane))
    p = np.cross(ray, s)
    across = axis - (axis @ ray) * ray
    across /= np.linalg.norm(across)
    passed = []
    for angle in np.arange(12) * math.pi / 12:
        field = math.cos(angle) * math.sqrt(weight_s) * s + math.sin(angle) * math.sqrt(weight_p) * p
        passed.append((field @ across) ** 2)
    # Twice: the stop of exposure that the filter costs.
    expected = 2 * np.mean(passed)
    alignment = filter_alignment(ray, pane, axis)
    assert filtered_weight(weight_s, weight_p, alignment) == pytest.approx(expected, abs=1e-12)


def test_nothing_is_reflected_at_brewster_s_angle_when_the_filter_blocks_s():
    # A window turned about the vertical: the plane of incidence is horizontal, s is vertical.
    angle = math.atan(1.5)
    ray, pane = np.asarray([0.0, 0.0, 1.0]), np.asarray([math.sin(angle), 0.0, -math.cos(angle)])
    cosine = np.asarray(abs(ray @ pane))
    attenuation = crossing_attenuation(refract_cosine(cosine, 1.5), 0.006, 10.0)
    faces = dielectric_reflectance(cosine, 1.5)
    horizontal, vertical = np.asarray([1.0, 0, 0]), np.asarray([0, 1.0, 0])
    orders_s, orders_p = (slab_orders(face, attenuation, 4) for face in faces)
    for weights in zip(orders_s[0], orders_p[0], strict=True):
        assert filtered_weight(*weights, filter_alignment(ray, pane, horizontal)) < 1e-15
        through = filtered_weight(*weights, filter_alignment(ray, pane, vertical))
        assert through == pytest.approx(weights[0]) and through > 0
    # What is behind the window shines brighter than without filter.
    weights = orders_s[1][0], orders_p[1][0]
    passed = filtered_weight(*weights, filter_alignment(ray, pane, horizontal))
    assert passed == pytest.approx(attenuation) and passed > (weights[0] + weights[1]) / 2


def test_alignment_is_the_angle_between_s_and_the_axis_across_the_ray():
    directions, pane, axis = rays(200), unit(0.4, -0.5, -1.0), np.asarray([0.6, 0.8, 0.0])
    alignment = filter_alignment(directions, pane, axis)
    assert alignment.shape == (200,) and alignment.min() >= 0 and alignment.max() <= 1
    for ray, square in zip(directions, alignment, strict=True):
        s, across = np.cross(ray, pane), axis - (axis @ ray) * ray
        cosine = s @ across / np.linalg.norm(s) / np.linalg.norm(across)
        assert square == pytest.approx(cosine**2, abs=1e-9)


def test_signs_and_the_axis_s_length_play_no_part():
    directions, pane, axis = rays(20), unit(0.4, -0.5, -1.0), np.asarray([0.6, 0.8, 0.0])
    alignment = filter_alignment(directions, pane, axis)
    for changed in ((-directions, pane, axis), (directions, -pane, axis), (directions, pane, -3 * axis)):
        assert filter_alignment(*changed) == pytest.approx(alignment)


def test_axes_at_right_angles_share_the_light_on_the_optical_axis():
    ray, pane = np.asarray([0.0, 0.0, 1.0]), unit(0.4, -0.5, -1.0)
    axes = np.asarray([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0]])
    assert filter_alignment(ray, pane, axes).sum() == pytest.approx(1)


def test_a_normal_for_each_ray():
    directions, axis = rays(5), np.asarray([0.0, 1.0, 0.0])
    normals = -rays(5, seed=1)
    together = filter_alignment(directions, normals, axis)
    alone = [filter_alignment(d, n, axis).item() for d, n in zip(directions, normals, strict=True)]
    assert together == pytest.approx(alone)


def test_straight_on_there_is_no_s_direction():
    pane = unit(0.1, 0.2, -1.0)
    ray = torch.from_numpy(-pane).requires_grad_()
    alignment = filter_alignment(ray, torch.from_numpy(pane), torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert alignment.item() == 0.5
    (gradient,) = torch.autograd.grad(alignment, ray)
    assert torch.isfinite(gradient).all()


def test_numpy_and_torch_agree_and_keep_the_type():
    arrays = [
        a.astype(np.float32) for a in (rays(24).reshape(4, 6, 3), unit(0.4, -0.5, -1), unit(0.6, 0.8, 0))
    ]
    ours, theirs = filter_alignment(*arrays), filter_alignment(*map(torch.from_numpy, arrays))
    assert ours.dtype == np.float32 and theirs.dtype == torch.float32 and ours.shape == (4, 6)
    assert theirs.numpy() == pytest.approx(ours, abs=1e-6)
    weights = np.float32([0.2, 0.3])[:, None, None], np.float32([0.1, 0.0])[:, None, None]
    ours, theirs = filtered_weight(*weights, ours), filtered_weight(*map(torch.from_numpy, weights), theirs)
    assert ours.dtype == np.float32 and theirs.numpy() == pytest.approx(ours, abs=1e-6)


def test_gradients_match_finite_differences():
    def passed(direction, normal, axis, weight_s, weight_p):
        return filtered_weight(weight_s, weight_p, filter_alignment(direction, normal, axis))

    vectors = (rays(4), unit(0.4, -0.5, -1.0), np.asarray([0.6, 0.8, 0.0]), np.asarray(0.2), np.asarray(0.1))
    assert torch.autograd.gradcheck(passed, tuple(torch.from_numpy(v).requires_grad_() for v in vectors))
