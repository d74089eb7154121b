"""Ranges that random glass scenes are drawn from."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from clearpane.errors import ClearpaneError

Range = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """Bounds on a number, or on both ends of a range."""

    at_least: float = 0.0
    at_most: float = math.inf


# Smallest number whose logarithm is taken.
_ABOVE_ZERO = 1e-9

Chance = Annotated[float, Limits(0, 1)]


@dataclass(frozen=True)
class SceneRanges:
    """Ranges that `clearpane.synthesis.glass.sampling.sample_scene` draws from.

    A pair is (low, high), drawn uniformly, or log-uniformly if marked "log". A chance is a probability from 0
    to 1. The brightnesses follow 71 photographs through glass and their ground truths; the geometry is that
    of panes, cameras and rooms.

    Attributes:
        field_of_view: Field of view along the longer side, degrees.
        lens_radius: Lens radius in metres, log, for the share ``defocus_chance`` of the scenes; the others
            have a pinhole.
        defocus_chance: Probability of a lens of finite size.
        focus_on_background, focus_on_reflection: Probability of focus on each; otherwise the focus lies
            between the two, uniformly in dioptres.
        glass_distance: Distance from camera to glass, metres, log.
        background_distance: Distance from glass to background, metres, log.
        world_distance: Distance from glass to the reflected world, metres, log.
        yaw: Rotation of the pane about the vertical axis, degrees, to either side.
        pitch: Tilt of the pane, degrees.
        wedged_chance, double_chance, bent_chance, lens_chance: Probability of each shape of pane; the rest is
            flat. Bent panes and lenses reflect a wide field, so they are drawn only with domes, and never
            without environments.
        thickness: Thickness in metres.
        ior: Index of refraction.
        clear_absorption, tinted_absorption: Absorption per metre, log, similar for the three colours.
        tinted_chance: Probability of tinted glass.
        wedge_angle: Wedge angle in degrees, log, in any direction.
        gap: Gap between the panes of a double one, metres.
        bend: Curvature of a bent pane, 1/metre, towards the camera or away from it.
        lens_curvature: Curvature of a lens's front face, 1/metre.
        lens_magnification: Relative enlargement of the background by a lens; negative values shrink it.
        rough_chance, roughness: Probability and perceptual roughness of slightly etched or worn faces.
        dust_chance, dust: Probability of dust, and the largest share of the glass that it covers.
        exposure: Factor on half of the backgrounds, log; reflections show where the scene is dark.
        shadow_chance, shadow_exposure, contrast: Share, exposure and contrast of the backgrounds with bright
            and dark parts: brighter, their linear values raised to the power ``contrast``.
        reflection_level: Median, and standard deviation of the logarithm, of the 95th percentile of R if the
            glass reflected the whole world as it does at the angle of the optical axis.
        reflection_level_limits: Minimum and maximum of that level.
        dome_gain: Factor on a dome's level: the part of a map that the glass reflects is seldom its
            brightest.
        dome_chance: Probability that a flat pane reflects an environment instead of a picture on a screen.
        world_contrast: Exponent of a screen's linear values.
        blueness: Mean and standard deviation of the logarithm of blue over red in a screen's tint.
        highlight_gain: Gain on the clipped highlights of a screen's picture.
        lamp_chance, window_chance: Probability of one to three lamps, and of a window, in the reflected
            world.
        lamp_radiance, window_radiance: Radiance in units of the world's 95th percentile, log.
        polarizer_chance: Probability of a polarising filter, rotated at random.
        vignetting_chance, vignetting: Probability of vignetting, and the loss of light in the corners.
        aberration_chance, chromatic_aberration: Probability and maximum of lateral aberration of either sign.
        stops: Exposure of the whole photograph, stops.
        white_balance: Standard deviation of the logarithm of the red and blue gains.
        noise_chance, full_well, read_noise: Probability of sensor noise, full well (log) and read noise in
            electrons.
        tone_chance, tone_contrast: Probability and contrast of an S-shaped tone curve.
        jpeg_chance, jpeg_quality: Probability and quality of JPEG compression.

    Raises:
        ClearpaneError: A range is impossible; the message names the field.
    """

    field_of_view: Annotated[Range, Limits(1, 119)] = (30.0, 65.0)
    lens_radius: Annotated[Range, Limits(_ABOVE_ZERO, 1)] = (0.0005, 0.020)
    defocus_chance: Chance = 0.5
    focus_on_background: Chance = 0.6
    focus_on_reflection: Chance = 0.1
    glass_distance: Annotated[Range, Limits(0.001)] = (0.3, 2.0)
    background_distance: Annotated[Range, Limits(0.001)] = (0.5, 10.0)
    world_distance: Annotated[Range, Limits(0.001)] = (1.0, 6.0)
    yaw: Annotated[Range, Limits(0, 89)] = (0.0, 60.0)
    pitch: Annotated[Range, Limits(-89, 89)] = (-15.0, 15.0)

    wedged_chance: Chance = 0.12
    double_chance: Chance = 0.2
    bent_chance: Chance = 0.05
    lens_chance: Chance = 0.03
    thickness: Annotated[Range, Limits(1e-6)] = (0.003, 0.012)
    ior: Annotated[Range, Limits(1.001, 4)] = (1.45, 1.6)
    clear_absorption: Annotated[Range, Limits(_ABOVE_ZERO)] = (1.0, 10.0)
    tinted_absorption: Annotated[Range, Limits(_ABOVE_ZERO)] = (20.0, 120.0)
    tinted_chance: Chance = 0.12
    wedge_angle: Annotated[Range, Limits(_ABOVE_ZERO, 30)] = (0.01, 0.3)
    gap: Annotated[Range, Limits(1e-6)] = (0.006, 0.020)
    bend: Annotated[Range, Limits(_ABOVE_ZERO, 10)] = (0.05, 0.6)
    lens_curvature: Annotated[Range, Limits(-10, 10)] = (0.1, 0.6)
    lens_magnification: Annotated[Range, Limits(-0.9, 10)] = (-0.08, 0.1)
    rough_chance: Chance = 0.08
    roughness: Annotated[Range, Limits(0, 1)] = (0.02, 0.08)
    dust_chance: Chance = 0.12
    dust: Annotated[Range, Limits(0, 1)] = (0.02, 0.3)

    exposure: Annotated[Range, Limits(_ABOVE_ZERO)] = (0.25, 1.15)
    shadow_chance: Chance = 0.5
    shadow_exposure: Annotated[Range, Limits(_ABOVE_ZERO)] = (0.7, 1.4)
    contrast: Annotated[Range, Limits(1, 10)] = (1.0, 2.5)

    reflection_level: Annotated[tuple[float, float], Limits(0)] = (0.13, 0.85)
    reflection_level_limits: Annotated[Range, Limits(_ABOVE_ZERO)] = (0.005, 0.5)
    dome_gain: Annotated[float, Limits(_ABOVE_ZERO, 100)] = 1.6
    dome_chance: Chance = 0.25
    world_contrast: Annotated[Range, Limits(1, 10)] = (1.0, 2.5)
    blueness: Annotated[tuple[float, float], Limits(-5, 5)] = (0.5, 0.35)
    highlight_gain: Annotated[Range, Limits(0)] = (0.0, 10.0)
    lamp_chance: Chance = 0.2
    lamp_radiance: Annotated[Range, Limits(_ABOVE_ZERO)] = (2.0, 20.0)
    window_chance: Chance = 0.12
    window_radiance: Annotated[Range, Limits(_ABOVE_ZERO)] = (1.0, 4.0)

    polarizer_chance: Chance = 0.06
    vignetting_chance: Chance = 0.5
    vignetting: Annotated[Range, Limits(0, 1)] = (0.05, 0.4)
    aberration_chance: Chance = 0.3
    chromatic_aberration: Annotated[float, Limits(0, 0.049)] = 0.002
    stops: Annotated[Range, Limits(-20, 20)] = (-0.3, 0.3)
    white_balance: Annotated[float, Limits(0, 1)] = 0.06
    noise_chance: Chance = 0.8
    full_well: Annotated[Range, Limits(1)] = (1_000.0, 40_000.0)
    read_noise: Annotated[Range, Limits(0)] = (1.0, 5.0)
    tone_chance: Chance = 0.3
    tone_contrast: Annotated[Range, Limits(0.01, 100)] = (1.0, 1.4)
    jpeg_chance: Chance = 0.6
    jpeg_quality: Annotated[Range, Limits(1, 100)] = (75.0, 98.0)

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            _check(name, getattr(self, name), hint.__metadata__[0])
        if self.blueness[1] < 0:
            raise _error("blueness", self.blueness, "a mean, and a standard deviation >= 0")
        if not self.reflection_level[0] > 0:
            raise _error(
                "reflection_level", self.reflection_level, "a median above 0, and a standard deviation"
            )
        if self.wedged_chance + self.double_chance + self.bent_chance + self.lens_chance > 1 + 1e-9:
            shapes = "wedged_chance, double_chance, bent_chance and lens_chance"
            raise ClearpaneError(f"scene ranges: {shapes} add up to more than 1; lower one")
        if self.focus_on_background + self.focus_on_reflection > 1 + 1e-9:
            raise ClearpaneError(
                "scene ranges: focus_on_background and focus_on_reflection add up to more than 1; lower one"
            )
        if self.thickness[1] * max(self.bend[1], *(abs(c) for c in self.lens_curvature)) >= 0.5:
            raise ClearpaneError("scene ranges: thickness beyond half of a bent pane's radius; lower bend")


def _check(name: str, value: Any, limits: Limits) -> None:
    ends = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in ends):
        raise _error(name, value, "finite numbers")
    # A mean or median with a deviation is not a range.
    if (
        isinstance(value, tuple)
        and name not in ("reflection_level", "blueness")
        and (len(value) != 2 or value[0] > value[1])
    ):
        raise _error(name, value, "(low, high) with low not above high")
    low, high = limits.at_least, limits.at_most
    if min(ends) < low or max(ends) > high:
        least = "above 0" if low == _ABOVE_ZERO else f"at least {low:g}"
        raise _error(name, value, least + (f", at most {high:g}" if high < math.inf else ""))


def _error(name: str, value: object, expected: str) -> ClearpaneError:
    return ClearpaneError(f"scene ranges: {name} is {value}; expected {expected}")
