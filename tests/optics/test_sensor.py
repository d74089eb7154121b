import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearpane.optics.sensor import (
    SensorNoise,
    add_noise,
    expose,
    jpeg_round_trip,
    noise_variance,
    tone_curve,
    white_balance,
)

contrasts = st.floats(0.2, 5)
pivots = st.floats(0.05, 0.95)


def test_one_stop_doubles_the_light_and_stops_add_up():
    light = np.asarray([0.0, 0.1, 3.0])
    assert expose(light, 1) == pytest.approx(2 * light)
    assert expose(expose(light, 0.7), -1.7) == pytest.approx(light / 2)


@pytest.mark.parametrize(("shape", "axis"), [((4, 5, 3), -1), ((2, 3, 4, 5), -3), ((3, 3, 3), 0)])
def test_white_balance_scales_the_channels_of_the_axis(shape, axis):
    light = np.random.default_rng(0).random(shape, dtype=np.float32)
    ours = white_balance(light, (2.0, 1.0, 1.5), axis=axis)
    theirs = white_balance(torch.from_numpy(light), (2.0, 1.0, 1.5), axis=axis)
    for channel, gain in enumerate((2.0, 1.0, 1.5)):
        expected = gain * light.take(channel, axis)
        assert np.array_equal(ours.take(channel, axis), expected)
    assert ours.dtype == np.float32 and np.array_equal(theirs.numpy(), ours)


def test_white_balance_wants_three_channels():
    with pytest.raises(ValueError, match="3 channels"):
        white_balance(np.zeros((3, 4, 5)), (1, 1, 1))
    with pytest.raises(ValueError, match="3 gains"):
        white_balance(np.zeros((4, 5, 3)), (1, 1))


@pytest.mark.parametrize(("full_well", "read_noise"), [(0, 1), (-5, 1), (100, -1), (float("nan"), 1)])
def test_a_sensor_out_of_range_is_refused(full_well, read_noise):
    with pytest.raises(ValueError, match="full_well"):
        SensorNoise(full_well, read_noise)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.8])
def test_noise_has_the_mean_and_variance_of_poisson_and_read_noise(level):
    noise, count = SensorNoise(full_well=500, read_noise=4), 400_000
    rng = np.random.default_rng(0)
    light = np.full(count, level)
    noisy = add_noise(light, rng.standard_normal(count), noise)
    # What a sensor does: count photons, add the amplifier's noise.
    counted = (rng.poisson(level * 500, count) + 4 * rng.standard_normal(count)) / 500
    expected = level / 500 + (4 / 500) ** 2
    assert noise_variance(light, noise)[0] == pytest.approx(expected)
    error = np.sqrt(expected / count)
    for drawn in (noisy, counted):
        assert drawn.mean() == pytest.approx(level, abs=5 * error)
        assert drawn.var() == pytest.approx(expected, rel=0.015)


def test_noise_at_twice_the_sensitivity_has_half_the_electrons():
    light = np.asarray([0.4])
    shot = [noise_variance(light, SensorNoise(well, 0))[0] for well in (1000, 500)]
    assert shot[1] == pytest.approx(2 * shot[0])


def test_noise_below_black_is_read_noise():
    assert noise_variance(np.asarray([-0.5]), SensorNoise(100, 2)) == pytest.approx(0.0004)


def test_noise_agrees_between_numpy_and_torch_and_is_differentiable():
    rng = np.random.default_rng(1)
    light, normal = rng.random((5, 7)), rng.standard_normal((5, 7))
    light[0, 0] = 0
    noise = SensorNoise(200, 3)
    tensor = torch.from_numpy(light)
    assert add_noise(tensor, torch.from_numpy(normal), noise).numpy() == pytest.approx(
        add_noise(light, normal, noise)
    )
    inside = (tensor + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: add_noise(x, torch.from_numpy(normal), noise), (inside,))


def test_noise_wants_one_number_per_value():
    with pytest.raises(ValueError, match="one normal number per value"):
        add_noise(np.zeros((4, 4, 3)), np.zeros((4, 4, 1)), SensorNoise())


@given(contrasts, pivots)
def test_the_tone_curve_rises_and_keeps_black_pivot_and_white(contrast, pivot):
    curve = tone_curve(np.linspace(0, 1, 501), contrast, pivot)
    assert (curve[0], curve[-1]) == (0, 1)
    assert np.all(np.diff(curve) > 0)
    assert tone_curve(np.asarray([pivot]), contrast, pivot) == pytest.approx(pivot)


@given(contrasts, pivots, st.floats(0, 1))
def test_the_tone_curve_s_inverse(contrast, pivot, value):
    array = np.asarray([value])
    forth_and_back = tone_curve(tone_curve(array, contrast, pivot), 1 / contrast, pivot)
    assert forth_and_back == pytest.approx(array, abs=1e-9)


def test_contrast_darkens_shadows_brightens_highlights_and_1_changes_nothing():
    values = np.asarray([0.05, 0.1, 0.4, 0.9])
    assert tone_curve(values, 1) == pytest.approx(values)
    assert np.array_equal(tone_curve(values, 2) > values, [False, False, True, True])
    assert np.array_equal(tone_curve(values, 0.5) > values, [True, True, False, False])


@pytest.mark.parametrize(("at", "slope"), [(0.0, 1 / 3), (0.18, 3.0), (1.0, 1 / 3)])
def test_the_tone_curve_s_slopes(at, slope):
    value = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tone_curve(value, 3.0), value)
    assert gradient.item() == pytest.approx(slope)


def test_the_tone_curve_s_gradients_match_finite_differences():
    # 0.5 = s t / (s - 1) is where the other branch's denominator is zero.
    values = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tone_curve(x, 2.0, 0.25), (values,))
    array = values.detach().numpy()
    assert tone_curve(values, 2.0, 0.25).detach().numpy() == pytest.approx(tone_curve(array, 2.0, 0.25))


@pytest.mark.parametrize(("contrast", "pivot"), [(0, 0.2), (-1, 0.2), (2, 0), (2, 1)])
def test_a_tone_curve_out_of_range_is_refused(contrast, pivot):
    with pytest.raises(ValueError, match="contrast > 0"):
        tone_curve(np.zeros(1), contrast, pivot)


@pytest.fixture
def picture():
    """Smooth colour with a hard edge and some texture, 48 x 64."""
    y, x = np.mgrid[0:48, 0:64] / 48
    colours = np.stack([x / 1.4, 0.5 + 0.4 * np.sin(9 * y), (x > 0.6) * 0.8], -1)
    return (colours + 0.05 * np.random.default_rng(0).standard_normal(colours.shape)).clip(0, 1)


def test_jpeg_gets_better_with_quality(picture):
    errors = [np.square(jpeg_round_trip(picture, q, "4:4:4") - picture).mean() for q in (5, 30, 60, 90, 100)]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] / 100


def test_jpeg_with_full_colour_resolution_is_closer(picture):
    errors = [
        np.square(jpeg_round_trip(picture, 90, s) - picture).mean() for s in ("4:4:4", "4:2:2", "4:2:0")
    ]
    assert errors == sorted(errors)


def test_jpeg_returns_eight_bit_values_and_clips(picture):
    result = jpeg_round_trip(picture * 3 - 1, 80)
    assert result.shape == picture.shape and result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 1
    assert np.array_equal(np.round(result * 255) / np.float32(255), result)
    grey = jpeg_round_trip(np.full((16, 16, 3), 0.5), 90)
    assert grey == pytest.approx(np.full((16, 16, 3), 128 / 255), abs=1e-6)


def test_jpeg_refuses_other_shapes_and_qualities(picture):
    with pytest.raises(ValueError, match="H x W x 3"):
        jpeg_round_trip(picture[..., 0], 90)
    for quality in (0, 101):
        with pytest.raises(ValueError, match="quality from 1 to 100"):
            jpeg_round_trip(picture, quality)
