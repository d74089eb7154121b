"""Random glass scenes: a seed gives the same scene on every machine.

Numbers come from PCG64's raw 64-bit stream, whose stability NumPy guarantees (NEP 19), and are rounded to six
significant digits, so that the last bit of a mathematics library has no effect.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.optics.fresnel import dielectric_reflectance, refract_cosine
from clearpane.optics.slab import crossing_attenuation, slab_reflectance, slab_transmittance
from clearpane.synthesis.glass.faces import pane_grid
from clearpane.synthesis.glass.geometry import pane_normal
from clearpane.synthesis.glass.incidence import view_of_pane
from clearpane.synthesis.glass.ranges import Range, SceneRanges
from clearpane.synthesis.glass.scene import (
    Background,
    Camera,
    GlassScene,
    Light,
    Pane,
    PaneShape,
    Post,
    ReflectedWorld,
)

__all__ = ["LARGEST_INCIDENCE", "SceneRanges", "SourceNames", "sample_scene", "scene_seed"]

LARGEST_INCIDENCE = 75.0
"""Largest angle of incidence in degrees; beyond it, three orders of reflection are not enough."""

_TRIES = 300
# A dome must enclose the camera with a margin: see GlassScene.
_DOME_MARGIN = 1.15

Item = TypeVar("Item")


@dataclass(frozen=True)
class SourceNames:
    """Pictures that scenes may use, by their names relative to the folders.

    Attributes:
        backgrounds: Pictures for backgrounds and reflected screens, at least one.
        environments: Equirectangular maps for domes; without any, all worlds are screens.
    """

    backgrounds: tuple[str, ...]
    environments: tuple[str, ...] = ()


def scene_seed(seed: int, index: int) -> int:
    """Derive the seed of scene ``index`` of the data set with ``seed``, below 2^48.

    Raises:
        ClearpaneError: A number is below 0.

    >>> scene_seed(0, 0) == scene_seed(0, 1)
    False
    """
    if min(seed, index) < 0:
        raise ClearpaneError(f"seeds and indices are 0 or more, got {seed} and {index}")
    state = np.random.SeedSequence([seed, index]).generate_state(2, np.uint32)
    return int(state[0]) << 16 | int(state[1]) >> 16


def sample_scene(
    seed: int, names: SourceNames, ranges: SceneRanges, height: int = 256, width: int = 256
) -> GlassScene:
    """Draw a scene for pictures height x width.

    No ray meets the glass at over 75 degrees, the pane fills the view, and its visible part lies in front of
    the background and, in the mirrored world, in front of the screen.

    The scene stores ``seed``, from which it can be drawn again.

    Raises:
        ClearpaneError: There is no picture, the seed is below 0, or the ranges allow no such scene.
    """
    if not names.backgrounds:
        raise ClearpaneError("random scenes need at least one background picture")
    if seed < 0:
        raise ClearpaneError(f"a scene's seed is 0 or more, got {seed}")
    draw = _Draw(seed)
    shape = _draw_shape(draw, ranges, bool(names.environments))
    is_dome = bool(names.environments) and (shape in ("bent", "lens") or draw.chance(ranges.dome_chance))
    picture = draw.choice(names.backgrounds)
    light = _draw_background_light(draw, ranges)
    lights = _draw_lights(draw, ranges, is_dome)
    world_picture = draw.choice(names.environments if is_dome else _others(names.backgrounds, picture))
    rotation = draw.uniform((0.0, 360.0)) if is_dome else 0.0
    grading = (1.0, (1.0, 1.0, 1.0), 0.0) if is_dome else _draw_screen_grading(draw, ranges)
    level = _draw_level(draw, ranges, is_dome)
    post = _draw_post(draw, ranges)
    for _ in range(_TRIES):
        glass, behind, before = (
            draw.log_uniform(r)
            for r in (ranges.glass_distance, ranges.background_distance, ranges.world_distance)
        )
        if is_dome and before < _DOME_MARGIN * glass:
            continue
        pane = _draw_pane(draw, ranges, shape, glass, behind)
        depth = pane.thickness if shape != "double" else 2 * pane.thickness + pane.gap
        far = _rounded(glass + depth + behind)
        radiance = _rounded(level / axis_reflectance(pane))
        scene = GlassScene(
            Background(picture, far, *light),
            ReflectedWorld(
                world_picture, "dome" if is_dome else "screen", before, radiance, rotation, *grading, lights
            ),
            pane,
            _draw_camera(draw, ranges, far, glass + before),
            post,
            seed,
        )
        if _can_be_rendered(scene, height, width):
            return scene
    raise ClearpaneError(_impossible(ranges, shape, is_dome))


def _can_be_rendered(scene: GlassScene, height: int, width: int) -> bool:
    view = view_of_pane(scene, height, width)
    nearest = scene.background.distance
    if scene.world.shape == "screen":
        nearest = min(nearest, scene.pane.distance + scene.world.distance)
    if view.incidence > LARGEST_INCIDENCE or view.farthest >= nearest:
        return False
    try:
        pane_grid(scene, height, width)
    except ClearpaneError:
        return False
    return True


def axis_reflectance(pane: Pane) -> float:
    """Compute the reflectance of a pane along the optical axis, unpolarised, mean over the colours.

    A curved pane is treated as a flat one of its thickness; a double pane includes the bounces between its
    panes.
    """
    cosine = np.asarray(-pane_normal(pane)[2])
    attenuation = crossing_attenuation(
        refract_cosine(cosine, pane.ior), pane.thickness, np.asarray(pane.absorption)
    )
    total = 0.0
    for face in dielectric_reflectance(cosine, pane.ior):
        one = slab_reflectance(face, attenuation)
        if pane.shape == "double":
            one = one + slab_transmittance(face, attenuation) ** 2 * one / (1 - one**2)
        total += float(np.mean(one)) / 2
    return total


class _Draw:
    """Random numbers from a seed, identical on every machine."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def _unit(self) -> float:
        """Draw uniformly from the 2^53 multiples of 2^-53 in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniform(self, ends: Range) -> float:
        return _rounded(ends[0] + (ends[1] - ends[0]) * self._unit())

    def log_uniform(self, ends: Range) -> float:
        low, high = math.log(ends[0]), math.log(ends[1])
        drawn = _rounded(math.exp(low + (high - low) * self._unit()))
        return min(max(drawn, ends[0]), ends[1])

    def log_normal(self, median: float, deviation: float) -> float:
        # Half a step above 0, whose quantile is not finite.
        return _rounded(median * math.exp(deviation * NormalDist().inv_cdf(self._unit() + 2.0**-54)))

    def chance(self, probability: float) -> bool:
        return self._unit() < probability

    def sign(self) -> int:
        return 1 if self.chance(0.5) else -1

    def index(self, count: int) -> int:
        return int(self._bits.random_raw()) * count >> 64

    def choice(self, items: Sequence[Item]) -> Item:
        return items[self.index(len(items))]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _others(backgrounds: tuple[str, ...], picture: str) -> tuple[str, ...]:
    """Return all backgrounds except the scene's own, or that one if there is no other."""
    return tuple(name for name in backgrounds if name != picture) or backgrounds


def _draw_shape(draw: _Draw, r: SceneRanges, has_environments: bool) -> PaneShape:
    chances: dict[PaneShape, float] = {"wedged": r.wedged_chance, "double": r.double_chance}
    if has_environments:
        chances |= {"bent": r.bent_chance, "lens": r.lens_chance}
    flat = 1 - r.wedged_chance - r.double_chance - r.bent_chance - r.lens_chance
    total = sum(chances.values()) + max(flat, 0.0)
    if total < 1e-9:
        raise ClearpaneError(
            "scene ranges: bent panes and lenses need environments; add some, or other panes"
        )
    left = draw.uniform((0.0, total))
    for shape, chance in chances.items():
        left -= chance
        if left < 0:
            return shape
    return "flat" if flat > 1e-9 else next(s for s in reversed(chances) if chances[s] > 0)


def _draw_pane(draw: _Draw, r: SceneRanges, shape: PaneShape, distance: float, behind: float) -> Pane:
    ior = draw.uniform(r.ior)
    range_ = r.tinted_absorption if draw.chance(r.tinted_chance) else r.clear_absorption
    base = draw.log_uniform(range_)
    red, green, blue = (
        min(max(_rounded(base * draw.uniform((0.75, 1.25))), range_[0]), range_[1]) for _ in range(3)
    )
    front = back = 0.0
    if shape == "bent":
        front = draw.sign() * draw.uniform(r.bend)
    elif shape == "lens":
        front = draw.uniform(r.lens_curvature)
        larger = draw.uniform(r.lens_magnification)
        # A thin lens of power P, glass to background D, camera to glass d: the visible part of the background
        # is 1 - P d D / (d + D) of that without the lens.
        power = larger / (1 + larger) * (distance + behind) / (distance * behind)
        back = _rounded(front - power / (ior - 1))
    return Pane(
        shape=shape,
        distance=distance,
        yaw=draw.sign() * draw.uniform(r.yaw),
        pitch=draw.uniform(r.pitch),
        thickness=draw.uniform(r.thickness),
        ior=ior,
        absorption=(red, green, blue),
        roughness=draw.uniform(r.roughness) if draw.chance(r.rough_chance) else 0.0,
        wedge_angle=draw.log_uniform(r.wedge_angle) if shape == "wedged" else 0.0,
        wedge_direction=draw.uniform((0.0, 360.0)) if shape == "wedged" else 0.0,
        gap=draw.uniform(r.gap),
        front_curvature=front,
        back_curvature=back,
        dust=draw.uniform(r.dust) if draw.chance(r.dust_chance) else 0.0,
        dust_seed=draw.index(2**31),
    )


def _draw_camera(draw: _Draw, r: SceneRanges, background: float, reflection: float) -> Camera:
    which = draw.uniform((0.0, 1.0))
    between = draw.uniform((0.0, 1.0))
    if which < r.focus_on_background:
        between = 0.0
    elif which < r.focus_on_background + r.focus_on_reflection:
        between = 1.0
    return Camera(
        field_of_view=draw.uniform(r.field_of_view),
        lens_radius=draw.log_uniform(r.lens_radius) if draw.chance(r.defocus_chance) else 0.0,
        focus_distance=_rounded(1 / ((1 - between) / background + between / reflection)),
        vignetting=draw.uniform(r.vignetting) if draw.chance(r.vignetting_chance) else 0.0,
        chromatic_aberration=draw.uniform((-r.chromatic_aberration, r.chromatic_aberration))
        if draw.chance(r.aberration_chance)
        else 0.0,
        polarizer=draw.uniform((0.0, 180.0)) if draw.chance(r.polarizer_chance) else None,
    )


def _draw_background_light(draw: _Draw, r: SceneRanges) -> tuple[float, float, bool]:
    """Draw a background's radiance, contrast and mirroring."""
    shadows = draw.chance(r.shadow_chance)
    exposure = draw.log_uniform(r.shadow_exposure if shadows else r.exposure)
    return exposure, draw.uniform(r.contrast) if shadows else 1.0, draw.chance(0.5)


def _draw_level(draw: _Draw, r: SceneRanges, is_dome: bool) -> float:
    low, high = r.reflection_level_limits
    median, deviation = r.reflection_level
    return min(max(draw.log_normal(median * (r.dome_gain if is_dome else 1.0), deviation), low), high)


def _draw_screen_grading(draw: _Draw, r: SceneRanges) -> tuple[float, tuple[float, float, float], float]:
    """Draw a screen's contrast, tint and highlight gain."""
    contrast = draw.uniform(r.world_contrast)
    blue = draw.log_normal(math.exp(r.blueness[0] / 2), r.blueness[1] / 2)
    return contrast, (_rounded(1 / blue), 1.0, blue), draw.uniform(r.highlight_gain)


def _draw_lights(draw: _Draw, r: SceneRanges, is_dome: bool) -> tuple[Light, ...]:
    """Draw lamps and windows; smaller ones for a dome, of whose map the glass shows only a part."""
    # Relative size of a light: a dome's map spans 360 degrees across and 180 down.
    wide, high = (0.25, 0.5) if is_dome else (1.0, 1.0)
    lights: list[Light] = []

    def colour(brightness: float) -> tuple[float, float, float]:
        warmth = draw.log_normal(1.0, 0.2)
        return _rounded(brightness * warmth), brightness, _rounded(brightness / warmth)

    if draw.chance(r.window_chance):
        width, height = draw.uniform((0.12, 0.5)), draw.uniform((0.2, 0.6))
        brightness = draw.log_uniform(r.window_radiance)
        x, y = draw.uniform((0.0, 1.0)), draw.uniform((0.1, 0.7))
        lights.append(
            Light("rectangle", x, y, _rounded(wide * width), _rounded(high * height), colour(brightness))
        )
    if draw.chance(r.lamp_chance):
        for _ in range(1 + draw.index(3)):
            size = draw.log_uniform((0.02, 0.12))
            brightness = draw.log_uniform(r.lamp_radiance)
            x, y = draw.uniform((0.0, 1.0)), draw.uniform((0.0, 0.6))
            lights.append(
                Light("disc", x, y, _rounded(wide * size), _rounded(high * size), colour(brightness))
            )
    return tuple(lights)


def _draw_post(draw: _Draw, r: SceneRanges) -> Post:
    noisy = draw.chance(r.noise_chance)
    return Post(
        exposure=draw.uniform(r.stops),
        white_balance=(draw.log_normal(1.0, r.white_balance), 1.0, draw.log_normal(1.0, r.white_balance)),
        full_well=draw.log_uniform(r.full_well) if noisy else 0.0,
        read_noise=draw.uniform(r.read_noise) if noisy else 0.0,
        contrast=draw.uniform(r.tone_contrast) if draw.chance(r.tone_chance) else 1.0,
        jpeg_quality=round(draw.uniform(r.jpeg_quality)) if draw.chance(r.jpeg_chance) else None,
    )


def _impossible(r: SceneRanges, shape: PaneShape, is_dome: bool) -> str:
    if is_dome and r.world_distance[1] < _DOME_MARGIN * r.glass_distance[0]:
        return (
            f"scene ranges: world_distance {r.world_distance} leaves the camera outside of the dome; "
            f"raise it above glass_distance {r.glass_distance}"
        )
    blamed = ["yaw", "pitch", "field_of_view"]
    blamed += {"bent": ["bend"], "lens": ["lens_curvature", "lens_magnification"]}.get(shape, [])
    given = ", ".join(f"{name} {getattr(r, name)}" for name in blamed)
    return (
        f"scene ranges: in {_TRIES} draws of a {shape} pane none filled the view at "
        f"{LARGEST_INCIDENCE:g} degrees or less; lower {given}"
    )
