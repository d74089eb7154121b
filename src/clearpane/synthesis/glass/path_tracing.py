"""Glass scenes path-traced with Mitsuba 3: the slow reference, independent of the analytic renderer.

The glass has real faces, and light is refracted, reflected and absorbed at random any number of times. T and
R are rendered separately and added: T with the background alone, R with the reflected world alone and a black
face right behind the glass. B has no glass, MR a perfect mirror instead of the front face.

The rgb variants average s and p at every bounce (`clearpane.optics.slab.averaging_reflectance`): compare them
with the analytic renderer's ``polarized=False``, and ``llvm_ad_mono_polarized`` with its default. Mitsuba
does not polarise rough glass in any variant.

Source: Jakob et al., Mitsuba 3 renderer, 2022, https://mitsuba-renderer.org.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.mitsuba_variant import Variant, use_variant
from clearpane.synthesis.glass import mitsuba_scene
from clearpane.synthesis.glass.geometry import view_tangents
from clearpane.synthesis.glass.layers import SceneLayers
from clearpane.synthesis.glass.mitsuba_scene import View
from clearpane.synthesis.glass.scene import Camera, GlassScene
from clearpane.synthesis.glass.textures import SceneTextures

Letter = Literal["T", "R", "B", "MR"]
LAYERS: tuple[Letter, ...] = ("T", "R", "B", "MR")
_PASS = 1 << 22  # paths at a time: LLVM variants hold them all in memory


@dataclass(frozen=True)
class PathTracingOptions:
    """Path-tracing options.

    Attributes:
        height, width: Picture size in pixels.
        samples: Paths per pixel and layer.
        variant: Mitsuba variant. ``scalar_rgb`` runs everywhere, ``llvm_ad_rgb`` is faster and needs LLVM 17
            or newer, ``auto`` uses the faster one available; ``llvm_ad_mono_polarized`` follows polarised
            light, one colour after the other.
        max_depth: Maximum path depth: the number of surfaces that a path may meet, plus one.
        seed: Random seed; the same seed gives the same picture.
        denoise: True to denoise R with Open Image Denoise, for few samples; T would lose detail.
    """

    height: int = 256
    width: int = 256
    samples: int = 1024
    variant: Variant = "auto"
    max_depth: int = 32
    seed: int = 0
    denoise: bool = False


def path_trace(scene: GlassScene, textures: SceneTextures, options: PathTracingOptions) -> SceneLayers:
    """Render a scene's layers as radiance [1, 3, H, W], before the camera's effects.

    Dust, vignetting, chromatic aberration and exposure are applied by
    `clearpane.synthesis.glass.camera.apply_camera`. A polarising filter has its stop of exposure compensated,
    as in `clearpane.optics.polarization`.

    Raises:
        MissingExtraError: Mitsuba, or for ``denoise`` its denoiser, is not installed.
        ClearpaneError: The variant does not run here or supports no filter, or the pane ends within the view.
    """
    return SceneLayers.composed(
        *(path_trace_layer(scene, textures, options, letter)[None] for letter in LAYERS)
    )


def path_trace_layer(
    scene: GlassScene, textures: SceneTextures, options: PathTracingOptions, letter: Letter
) -> Tensor:
    """Render one layer of `path_trace`, [3, H, W] float32."""
    use_variant(options.variant)
    _check(scene, options)
    view = View(scene, options.height, options.width)
    picture = _picture(textures.background if letter in ("T", "B") else textures.world)
    seeds = np.random.SeedSequence([options.seed, LAYERS.index(letter)])
    if _polarized(options):
        channels = [
            _render(replace(view, channel=index), picture, options, letter, child)
            for index, child in enumerate(seeds.spawn(3))
        ]
        pixels = np.concatenate(channels, axis=2)
    else:
        pixels = _render(view, picture, options, letter, seeds)
    if options.denoise and letter == "R":
        pixels = _denoised(pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _check(scene: GlassScene, options: PathTracingOptions) -> None:
    if min(options.height, options.width, options.samples) < 1 or options.max_depth < 2:
        raise ClearpaneError("path tracing: height, width and samples must be above 0, max_depth above 1")
    if scene.camera.polarizer is not None and not _polarized(options):
        raise ClearpaneError("path tracing: a polarising filter needs the variant llvm_ad_mono_polarized")


def _polarized(options: PathTracingOptions) -> bool:
    return options.variant.endswith("polarized")


def _picture(texture: Tensor) -> np.ndarray:
    pixels: np.ndarray = texture.detach().cpu().permute(1, 2, 0).numpy()
    return pixels


def _render(
    view: View,
    picture: np.ndarray,
    options: PathTracingOptions,
    letter: Letter,
    seeds: np.random.SeedSequence,
) -> np.ndarray:
    """Render the mean of the passes [H, W, 3], or [H, W, 1] for a view of one channel."""
    import mitsuba as mi

    light = picture if view.channel is None else picture[..., view.channel]
    if not light.any():  # a light that is black everywhere makes Mitsuba divide by zero
        return np.zeros((options.height, options.width, 3 if view.channel is None else 1), np.float32)
    # Loaded in parallel, or merged, the parts of a scene come in any order, which changes the noise.
    scene = mi.load_dict(_description(view, picture, options, letter), parallel=False, optimize=False)
    chunk = max(1, _PASS // (options.height * options.width))
    passes = -(-options.samples // chunk)
    counts = [options.samples // passes + (i < options.samples % passes) for i in range(passes)]
    total: Any = 0.0
    for count, seed in zip(counts, seeds.generate_state(passes), strict=True):
        pixels = np.array(mi.render(scene, spp=count, seed=mi.UInt32(int(seed))), np.float64)
        total = total + count * pixels.reshape(options.height, options.width, -1)
    mean = total / options.samples
    camera = view.scene.camera
    if camera.polarizer is not None:
        mean = _behind_filter(mean, *_filter_axes(camera, options.height, options.width))
    result: np.ndarray = mean.astype(np.float32)
    return result


def _description(
    view: View, picture: np.ndarray, options: PathTracingOptions, letter: Letter
) -> dict[str, Any]:
    match letter:
        case "T":
            things = {**mitsuba_scene.glass(view, behind=False), **mitsuba_scene.background(view, picture)}
        case "R":
            things = {**mitsuba_scene.glass(view, behind=True), **mitsuba_scene.world(view, picture)}
        case "B":
            things = mitsuba_scene.background(view, picture)
        case "MR":
            things = {**mitsuba_scene.mirror(view), **mitsuba_scene.world(view, picture)}
    integrator: dict[str, Any] = {
        # With rough glass `volpath` gives NaN in LLVM variants (Mitsuba 3.9).
        "type": "volpathmis" if view.scene.pane.roughness > 0 else "volpath",
        "max_depth": options.max_depth,
        # No Russian roulette: long paths carry as much light as short ones.
        "rr_depth": options.max_depth + 1,
        # A screen beside a slanted pane may be in the view; only its reflection is wanted.
        "hide_emitters": letter in ("R", "MR"),
    }
    if view.scene.camera.polarizer is not None:
        integrator = {"type": "stokes", "nested": integrator}
    return {"type": "scene", "integrator": integrator, "sensor": mitsuba_scene.sensor(view), **things}


def _filter_axes(camera: Camera, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cos 2a and sin 2a [H, W, 1] of the angle a of the filter's axis in each pixel's Stokes frame.

    The axis counts with its part across the ray, as in `clearpane.optics.polarization`. Mitsuba's frame is
    the direction across both the ray and the vertical, and the one across that and the ray; only on the
    optical axis is it that of the picture.
    """
    assert camera.polarizer is not None
    right, down = view_tangents(camera.field_of_view, height, width)
    places = [tangent * ((np.arange(n) + 0.5) * 2 / n - 1) for n, tangent in ((width, right), (height, down))]
    x, y = np.meshgrid(*places)
    ray = np.stack([x, y, np.ones_like(x)], axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    angle = np.radians(camera.polarizer)
    axis = np.array([np.cos(angle), np.sin(angle), 0])
    first = np.cross([0, 1, 0], ray)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    doubled = 2 * np.arctan2(np.cross(ray, first) @ axis, first @ axis)
    return np.cos(doubled)[..., None], np.sin(doubled)[..., None]


def _behind_filter(stokes: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """Compute twice the power that a filter passes [H, W, 1]: S0 + S1 cos 2a + S2 sin 2a (Malus's law).

    Args:
        stokes: Output of Mitsuba's integrator [H, W, 13]: the picture, then S0 to S3 as three equal channels
            each.
        cosine, sine: Those of twice the angle of the filter's axis, from x to y as the camera has them.
            Mitsuba's y points up, the camera's down.
    """
    s0, s1, s2 = (stokes[..., index, None] for index in (1, 4, 7))
    light: np.ndarray = s0 + s1 * cosine - s2 * sine
    passed: np.ndarray = np.maximum(light, 0)
    return passed


def _denoised(pixels: np.ndarray) -> np.ndarray:
    try:
        import mitsuba_oidn
    except ImportError as error:
        raise MissingExtraError("denoising", "synthesis") from error
    result: np.ndarray = mitsuba_oidn.denoise(np.ascontiguousarray(pixels), hdr=True)
    return result
