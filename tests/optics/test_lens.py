import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearpane.optics.lens import (
    circle_of_confusion,
    defocus,
    disk_kernel,
    focal_length,
    lateral_chromatic_aberration,
    lens_samples,
    polynomial_vignetting,
)


def texture(*shape):
    return np.random.default_rng(3).random(shape)


def ray_traced(linear, depth, focus, lens_radius, focal_pixels, samples):  # [H, W]
    """A picture on a plane at a depth, seen by a thin lens: one ray a pixel and lens sample.

    On the plane lies what a pinhole sees as ``linear``, bilinear between the pixels.
    """
    height, width = linear.shape
    row, column = np.mgrid[:height, :width]
    x, y = (column - (width - 1) / 2) / focal_pixels, (row - (height - 1) / 2) / focal_pixels
    total = np.zeros_like(linear)
    for lens_x, lens_y in lens_radius * samples:
        direction = x * focus - lens_x, y * focus - lens_y, focus
        hit = [start + depth / focus * part for start, part in zip((lens_x, lens_y), direction, strict=False)]
        u = np.clip(hit[0] / depth * focal_pixels + (width - 1) / 2, 0, width - 1)
        v = np.clip(hit[1] / depth * focal_pixels + (height - 1) / 2, 0, height - 1)
        left, top = np.minimum(u.astype(int), width - 2), np.minimum(v.astype(int), height - 2)
        a, b = u - left, v - top
        above = (1 - a) * linear[top, left] + a * linear[top, left + 1]
        below = (1 - a) * linear[top + 1, left] + a * linear[top + 1, left + 1]
        total += (1 - b) * above + b * below
    return total / len(samples)


def test_focal_length_of_a_right_angle_is_half_the_width():
    assert focal_length(640, math.pi / 2) == pytest.approx(320)


@pytest.mark.parametrize(("depth", "focus"), [(4.0, 1.5), (0.5, 2.0), (3.0, math.inf), (math.inf, 1.2)])
def test_circle_of_confusion_is_where_the_lens_s_rim_sees_the_point(depth, focus):
    lens_radius, focal_pixels = 0.008, 280.0
    # Rays from both ends of the lens to a point on the axis, where they meet a far or near plane in focus.
    object_depth, plane = min(depth, 1e7), min(focus, 1e7)
    seen = [focal_pixels * end * (1 - plane / object_depth) / plane for end in (-lens_radius, lens_radius)]
    radius = circle_of_confusion(depth, focus, lens_radius, focal_pixels)
    assert radius == pytest.approx(abs(seen[1] - seen[0]) / 2, rel=1e-6)


def test_circle_of_confusion_of_arrays():
    depth = np.asarray([1.0, 2.0, 4.0])
    expected = [300 * 0.01 * 0.5, 0, 300 * 0.01 * 0.25]
    assert circle_of_confusion(depth, 2.0, 0.01, 300.0) == pytest.approx(expected)
    assert circle_of_confusion(torch.from_numpy(depth), 2.0, 0.01, 300.0).numpy() == pytest.approx(expected)


def test_lens_samples_are_seeded_and_cover_the_disk_evenly():
    points = lens_samples(64, 7)
    assert np.array_equal(points, lens_samples(64, 7)) and not np.allclose(points, lens_samples(64, 8))
    assert np.hypot(*points.T).max() < 1
    # A disk's moments: mean 0, E[x^2] = 1/4, E[x y] = 0, E[r^4] = 1/3.
    assert np.abs(points.mean(axis=0)).max() < 0.01
    assert points.T @ points / 64 == pytest.approx(np.eye(2) / 4, abs=0.01)
    assert (np.hypot(*points.T) ** 4).mean() == pytest.approx(1 / 3, abs=0.001)


def test_lens_samples_measure_half_planes_as_well_as_stated():
    # Share of the disk on one side of a chord, over all turns.
    rng = np.random.default_rng(0)
    angle, offset = rng.uniform(0, 2 * math.pi, 4000), rng.uniform(-0.95, 0.95, 4000)
    exact = 1 - (np.arccos(offset) - offset * np.sqrt(1 - offset**2)) / math.pi
    counted = (lens_samples(64, 0) @ np.stack([np.cos(angle), np.sin(angle)]) < offset).mean(axis=0)
    assert np.sqrt(((counted - exact) ** 2).mean()) < 0.014


@settings(deadline=None)
@given(st.floats(0, 12))
def test_a_kernel_keeps_light_and_centre(radius):
    width = math.ceil(radius)
    kernel = disk_kernel(np.asarray(radius), width)
    pixel = np.arange(-width, width + 1)
    assert kernel.sum() == pytest.approx(1, abs=1e-9) and kernel.min() > -1e-12
    assert kernel.sum(axis=0) @ pixel == pytest.approx(0, abs=1e-9)
    assert np.allclose(kernel, kernel.T, rtol=0, atol=2e-3 * kernel.max())


@pytest.mark.parametrize("radius", [0.005, 0.3, 1.0, 2.37, 6.5])
def test_a_kernel_is_the_mean_of_bilinear_lookups_over_the_disk(radius):
    width = math.ceil(radius) + 1
    points = radius * lens_samples(40_000, 0)
    tents = np.clip(1 - np.abs(np.arange(-width, width + 1)[:, None, None] - points), 0, None)
    expected = tents[..., 1] @ tents[..., 0].T / 40_000
    for kind in (np.float64, np.float32):
        kernel = disk_kernel(np.asarray(radius, kind), width)
        assert kernel.dtype == kind and kernel == pytest.approx(expected, abs=2e-3 * expected.max())


def test_a_large_kernel_is_a_disk():
    kernel = disk_kernel(np.asarray(20.0), 20)
    distance = np.hypot(*np.mgrid[-20:21, -20:21])
    assert kernel[distance < 18.5] == pytest.approx(1 / (400 * math.pi), rel=2e-3)
    assert kernel[distance > 21.5].max(initial=0) < 1e-12
    # Second moment: radius^2 / 4 of the disk, and that of the tent, 1/6.
    assert kernel.sum(axis=0) @ np.arange(-20, 21) ** 2 == pytest.approx(100 + 1 / 6, rel=1e-3)


@pytest.mark.parametrize(("depth", "focus"), [(3.0, 1.0), (0.8, 1.5), (2.0, 1.6)])
def test_defocus_is_what_rays_through_the_lens_see(depth, focus):
    focal_pixels, lens_radius = focal_length(40, math.radians(40)), 0.06
    linear = texture(36, 40) ** 4 * 5
    radius = circle_of_confusion(depth, focus, lens_radius, focal_pixels)
    assert 0.4 < radius < 3
    expected = ray_traced(linear, depth, focus, lens_radius, focal_pixels, lens_samples(1500, 0))
    blurred = defocus(linear, radius)
    error = np.abs(blurred - expected).mean()
    assert error < 1e-3 * linear.std()
    # It would show a kernel that is a tenth of a pixel too wide.
    assert np.abs(defocus(linear, radius + 0.1) - expected).mean() > 10 * error


def test_defocus_by_fourier_transform_is_the_convolution():
    linear, radius = texture(9, 11), 2.6
    kernel, padded = disk_kernel(np.asarray(radius), 3), np.pad(linear, 3, mode="edge")
    blurred = defocus(linear, radius)
    for row in range(9):
        for column in range(11):
            window = padded[row : row + 7, column : column + 7]
            assert blurred[row, column] == pytest.approx((window * kernel).sum(), abs=1e-12)


def test_defocus_of_a_pinhole_or_in_focus_changes_nothing():
    linear = texture(2, 3, 8, 9)
    assert defocus(linear, 0.0) == pytest.approx(linear, abs=1e-12)
    assert defocus(np.full((3, 8, 9), 0.7), 5.3) == pytest.approx(0.7)


def test_defocus_with_a_radius_for_each_picture_or_channel():
    linear = texture(2, 3, 12, 13)
    by_picture = defocus(linear, np.asarray([[0.7], [2.2]]))
    by_channel = defocus(linear, np.asarray([0.5, 1.0, 1.5]))
    for picture, radius in enumerate((0.7, 2.2)):
        assert by_picture[picture] == pytest.approx(defocus(linear[picture], radius), abs=1e-4)
    for channel, radius in enumerate((0.5, 1.0, 1.5)):
        assert by_channel[:, channel] == pytest.approx(defocus(linear[:, channel], radius), abs=1e-4)


def test_defocus_keeps_the_dark_dark_beside_a_lamp():
    linear = np.zeros((256, 256), np.float32)
    linear[100:103, 100:103] = 1e4
    blurred = defocus(linear, 6.0)
    assert blurred.dtype == np.float32 and blurred.sum() == pytest.approx(9e4, rel=1e-5)
    away = np.hypot(*(np.mgrid[:256, :256] - 101)) > 12
    assert np.abs(blurred[away]).max() < 1e-3


def test_longitudinal_aberration_fringes_an_edge_out_of_focus():
    # Red focuses farther than green, blue nearer: behind the focus red is the sharpest.
    focus = 1 / (1 / 1.0 + np.asarray([-0.1, 0.0, 0.1]))  # dioptres
    radius = circle_of_confusion(1.6, focus, 0.01, 600.0)
    edge = np.zeros((3, 32, 32))
    edge[..., 16:] = 1
    blurred = defocus(edge, radius)
    steepest = np.diff(blurred, axis=-1).max(axis=(-2, -1))
    assert steepest[0] > steepest[1] > steepest[2]


def test_lateral_aberration_magnifies_each_channel_about_the_centre():
    y, x = np.mgrid[:40, :60]
    x, y = (x - 29.5) / 60, (y - 19.5) / 60

    def scene(x, y):
        return 1 + np.sin(9 * x + 2) * np.cos(11 * y - 1)

    scales = (0.98, 1.0, 1.03)
    magnified = lateral_chromatic_aberration(np.stack([scene(x, y)] * 3), scales)
    inside = np.s_[3:-3, 3:-3]
    for channel, scale in zip(magnified, scales, strict=True):
        assert channel[inside] == pytest.approx(scene(x / scale, y / scale)[inside], abs=2e-3)
    assert np.array_equal(magnified[1], scene(x, y))


def test_lateral_aberration_reproduces_parabolas_and_constants():
    x = np.arange(21.0) - 10
    parabola = np.broadcast_to(0.3 * x**2 - x + 2, (1, 21, 21))
    magnified = lateral_chromatic_aberration(parabola, (1.13,))
    assert magnified[0, 10, 2:-2] == pytest.approx((0.3 * (x / 1.13) ** 2 - x / 1.13 + 2)[2:-2])
    assert lateral_chromatic_aberration(np.full((2, 3, 5, 6), 0.4), (0.9, 1.0, 1.1)) == pytest.approx(0.4)


def test_lateral_aberration_wants_a_magnification_for_each_channel():
    with pytest.raises(ValueError, match="3 magnifications, got 2"):
        lateral_chromatic_aberration(np.zeros((3, 4, 4)), (1.0, 1.0))


def test_polynomial_vignetting_reaches_its_sum_in_the_corners():
    # Of a large picture, whose corner pixels' middles are near the corners.
    linear = np.ones((600, 801))
    assert polynomial_vignetting(linear, (-0.3, 0.1, -0.2))[0, 0] == pytest.approx(0.6, abs=2e-3)
    fallen = polynomial_vignetting(np.ones((7, 9)), (-0.3, 0.1, -0.2))
    assert fallen[3, 4] == 1
    r2 = (2**2 + 3**2) / (3.5**2 + 4.5**2)
    assert fallen[1, 7] == pytest.approx(1 - 0.3 * r2 + 0.1 * r2**2 - 0.2 * r2**3)
    assert np.array_equal(polynomial_vignetting(linear, ()), linear)


def test_vignetting_of_a_batch():
    linear = texture(2, 3, 6, 8)
    k1 = np.asarray([-0.2, -0.5])[:, None, None, None]
    for picture in (0, 1):
        alone = polynomial_vignetting(linear[picture], (k1[picture].item(), 0.1))
        assert polynomial_vignetting(linear, (k1, 0.1))[picture] == pytest.approx(alone)


CALLS = {
    "disk": lambda linear: disk_kernel(linear[0, :, 0, 0] + 1, 2),
    "defocus": lambda linear: defocus(linear, 1.7),
    "defocus by channel": lambda linear: defocus(linear, linear[0, :, 0, 0] * 3),
    "lateral": lambda linear: lateral_chromatic_aberration(linear, (0.97, 1.0, 1.02)),
    "polynomial": lambda linear: polynomial_vignetting(linear, (-0.3, -0.1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_and_torch_agree_and_keep_the_type(name):
    linear = texture(2, 3, 10, 12).astype(np.float32)
    array, tensor = CALLS[name](linear), CALLS[name](torch.from_numpy(linear))
    assert array.dtype == np.float32 and tensor.dtype == torch.float32
    assert array.shape == tuple(tensor.shape)
    assert tensor.numpy() == pytest.approx(array, abs=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_gradients_match_finite_differences(name):
    linear = torch.from_numpy(texture(1, 3, 3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(CALLS[name], (linear,))


def test_gradients_by_the_lens_match_finite_differences():
    linear = torch.from_numpy(texture(3, 5, 4))

    def through(radius, magnifications, k1):
        fringed = lateral_chromatic_aberration(defocus(linear, radius), magnifications)
        return polynomial_vignetting(fringed, (k1,))

    # The first radius is on the kernel's branch for the smallest.
    lens = ([0.004, 1.3, 2.2], [0.95, 1.02, 1.07], -0.3)
    lens = (torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in lens)
    assert torch.autograd.gradcheck(through, tuple(lens))


@pytest.mark.parametrize("name", ["defocus", "lateral", "polynomial"])
def test_layers_may_pass_the_lens_apart(name):
    transmission, reflection = texture(2, 1, 3, 10, 12)
    together = CALLS[name](transmission + reflection)
    assert CALLS[name](transmission) + CALLS[name](reflection) == pytest.approx(together, abs=1e-12)
