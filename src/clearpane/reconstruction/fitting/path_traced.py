"""Fit an asset's materials, its normal map and the light to the views by differentiating a path tracer.

The fit of the field shades each point once, under the light that it sees of the sky. What the object's own
parts reflect onto each other, and shadows finer than the light's coarse map, end up in the base colour. Here
Mitsuba traces paths through the baked mesh (`prb`: Vicini et al., "Path Replay Backpropagation", SIGGRAPH
2021), with priors like those of nvdiffrecmc (Hasselgren et al., NeurIPS 2022): smooth roughness and metallic,
even and colourless light. The triangles stay; the normal map bends what they reflect.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import Cameras
from clearpane.geometry.mesh import unit
from clearpane.mitsuba_variant import has_llvm, use_variant
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.relighting.asset_scene import asset_shapes, environment_light, sensor
from clearpane.reconstruction.relighting.lighting import Environment

# Learning rates at the start, and their share at the end; those of materials are for values in [0, 1].
_RATES = {"base_color": 0.02, "metallic": 0.04, "roughness": 0.04, "normalmap": 0.005}
_LIGHT_RATE, _LAST_RATE = 0.05, 0.1
# Weights of mean squared differences of neighbours, of the light's colour, and of changes of the normals.
_SMOOTHNESS = {"base_color": 0.03, "metallic": 0.3, "roughness": 0.3, "normalmap": 0.1, "light": 0.003}
_LIGHT_COLOUR, _NORMAL_CHANGE = 0.01, 0.05
# Derivatives are averaged over squares of so many texels, so that noise cancels and parts without a highlight
# follow their surroundings.
_GRADIENT_WIDTHS = {"base_color": 3, "metallic": 17, "roughness": 17, "normalmap": 7}
# Pixels count as the object's from this coverage on; from this value on, a photograph may be overexposed.
_COVERED, _OVEREXPOSED = 0.99, 0.98
# Below this, an error in linear light weighs no more: sRGB's slope grows without bound towards black.
_DARKEST = 0.02
_LEAST_ROUGHNESS = 0.05
_LEAST_RADIANCE, _DARKEST_ALBEDO = 1e-4, 1e-3


@dataclass(frozen=True)
class PathTracedSettings:
    """Configure the fit.

    Attributes:
        steps: Number of steps, each of one view.
        samples: Paths for each pixel.
        depth: Longest path, in segments: 2 is direct light alone.
        side: Side of the views, pixels; larger views are reduced to it.
        texture: Side of the textures that are fitted, pixels; finer detail of the asset is kept.
        seed: Random seed.
    """

    steps: int = 400
    samples: int = 16
    depth: int = 3
    side: int = 128
    texture: int = 256
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PathTraced:
    """Hold the result.

    Attributes:
        asset: Asset with fitted base colour, metallic, roughness and normal map, and the same triangles.
        environment: Fitted light around it.
        errors: Error of each step: mean square over the object's pixels, weighted as sRGB.
        interrupted: True if Ctrl-C ended the fit early.
    """

    asset: Asset
    environment: Environment
    errors: tuple[float, ...]
    interrupted: bool = False


def fit_path_traced(
    asset: Asset,
    capture: Capture,
    environment: np.ndarray,
    settings: PathTracedSettings = PathTracedSettings(),
    on_step: Callable[[int], None] = lambda step: None,
) -> PathTraced:
    """Fit base colour, metallic, roughness and the light to the views.

    Args:
        asset: Baked asset in the cube's world.
        capture: The views.
        environment: Light to start from: linear radiance [H, 2 H, 3] in the cube's world.
        on_step: Called before each step with its index.

    Raises:
        ClearpaneError: Mitsuba's LLVM variants do not run here.
        MissingExtraError: Mitsuba is not installed.
    """
    if not has_llvm():
        raise ClearpaneError("fitting by path tracing needs LLVM: pip install karellen-llvm-core")
    use_variant("llvm_ad_rgb")
    import drjit as dr
    import mitsuba as mi

    mi.set_log_level(mi.LogLevel.Error)
    coarse = _reduced(asset, settings.texture)
    light = np.maximum(environment, _LEAST_RADIANCE).astype(np.float32)
    scene = mi.load_dict(
        {"type": "scene", **asset_shapes(coarse), "light": environment_light(Environment(light))},
        parallel=False,
        optimize=False,
    )
    parameters = mi.traverse(scene)
    integrator = mi.load_dict({"type": "prb", "max_depth": settings.depth, "hide_emitters": True})
    views = _views(capture, settings.side)
    fit = _Fit(parameters, coarse, light)
    random = np.random.default_rng(settings.seed)
    order: list[int] = []
    errors: list[float] = []
    try:
        for step in range(settings.steps):
            on_step(step)
            order = order or random.permutation(len(views)).tolist()
            view = views[order.pop()]
            fit.apply(_LAST_RATE ** (step / settings.steps))
            # A second seed for the derivatives: with the same paths, noise itself would be fitted.
            seeds: list[Any] = [
                dr.opaque(mi.UInt32, seed) for seed in random.integers(2**31, size=2).tolist()
            ]
            picture = mi.render(
                scene,
                parameters,
                sensor=view.sensor,
                integrator=integrator,
                spp=settings.samples,
                seed=seeds[0],
                seed_grad=seeds[1],
            )
            errors.append(fit.step(_error(picture, view)))
    except KeyboardInterrupt:
        interrupted = True
    else:
        interrupted = False
    radiance, textures = fit.results()
    return PathTraced(_refined(asset, coarse, textures), Environment(radiance), tuple(errors), interrupted)


def _textures(asset: Asset) -> dict[str, np.ndarray]:
    """Return what is fitted by the names of Mitsuba's parameters, [S, S, C] in [0, 1]."""
    return {
        "base_color": np.clip(asset.albedo, 0, 1),
        "metallic": np.clip(asset.metallic, 0, 1)[..., None],
        "roughness": np.clip(asset.roughness, _LEAST_ROUGHNESS, 1)[..., None],
        "normalmap": asset.normal_map / 2 + 0.5,
    }


class _Fit:
    """The textures and the logarithm of the light while they are fitted."""

    def __init__(self, parameters: Any, coarse: Asset, light: np.ndarray) -> None:
        import mitsuba as mi

        self._parameters = parameters
        # A mirrored part of the texture is a shape of its own; an asset without bent normals has no map.
        keys = list(parameters.keys())
        self._keys = {name: [k for k in keys if k.endswith(f"{name}.data")] for name in _RATES}
        self._optimizer: Any = mi.ad.Adam(lr=_LIGHT_RATE)  # type: ignore[attr-defined]
        for name, start in _textures(coarse).items():
            self._optimizer[name] = mi.TensorXf(np.ascontiguousarray(start, np.float32))
        self._optimizer["light"] = mi.TensorXf(np.log(light))
        self._normals = mi.TensorXf(self._optimizer["normalmap"])

    def apply(self, share: float) -> None:
        """Set the scene's parameters, and the learning rates to a share of those at the start."""
        import drjit as dr

        optimizer, parameters = self._optimizer, self._parameters
        optimizer.set_learning_rate(
            {name: rate * share for name, rate in {**_RATES, "light": _LIGHT_RATE}.items()}
        )
        for name, keys in self._keys.items():
            optimizer[name] = dr.clip(optimizer[name], _LEAST_ROUGHNESS if name == "roughness" else 0.0, 1.0)
            for key in keys:
                mirrored = name == "normalmap" and key.startswith("mirrored")
                parameters[key] = _mirrored(optimizer[name]) if mirrored else optimizer[name]
        parameters["light.data"] = _wrapped(dr.exp(optimizer["light"]))
        parameters.update()

    def step(self, error: Any) -> float:
        """Change everything against the derivatives of the error; return its value."""
        import drjit as dr
        import mitsuba as mi

        optimizer = self._optimizer
        dr.backward(error + self._prior())
        for name, width in _GRADIENT_WIDTHS.items():
            smooth = _blurred(np.array(optimizer[name].grad), width)
            dr.set_grad(optimizer[name], mi.TensorXf(smooth))
        optimizer.step()
        return float(error.array[0])

    def _prior(self) -> Any:
        import drjit as dr

        light = self._optimizer["light"]
        grey = (light[..., 0:1] + light[..., 1:2] + light[..., 2:3]) / 3
        prior = _LIGHT_COLOUR * dr.mean(dr.square(light - grey))
        prior += _NORMAL_CHANGE * dr.mean(dr.square(self._optimizer["normalmap"] - self._normals))
        for name, weight in _SMOOTHNESS.items():
            prior += weight * _unevenness(self._optimizer[name])
        return prior

    def results(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the light's radiance and the textures."""
        textures = {name: np.clip(np.array(self._optimizer[name]), 0, 1) for name in _RATES}
        return np.exp(np.array(self._optimizer["light"])), textures


@dataclass(frozen=True, eq=False)
class _View:
    """One view of S x S pixels.

    Attributes:
        sensor: Mitsuba's camera.
        light: Linear light of the object [S, S, 3].
        weights: Weights of squared errors [S, S, 3]; 0 off the object.
        overexposed: 1 where the photograph may be overexposed, else 0: [S, S, 3].
    """

    sensor: Any
    light: Any
    weights: Any
    overexposed: Any


def _views(capture: Capture, side: int) -> list[_View]:
    import mitsuba as mi

    size = capture.pictures.shape[-1]
    factor = max(1, size // side)
    masks = F.avg_pool2d(capture.masks, factor)
    bare = (capture.pictures - 1 + capture.masks) / capture.masks.clamp(min=1e-4)
    linear = F.avg_pool2d(srgb_to_linear(bare.clamp(0, 1)) * capture.masks, factor) / masks.clamp(min=1e-4)
    bright = F.max_pool2d(bare, factor) >= _OVEREXPOSED
    trust = torch.ones_like(masks) if capture.weights is None else F.avg_pool2d(capture.weights, factor)
    cameras = Cameras(
        capture.cameras.camera_to_world, capture.cameras.intrinsics / factor, size // factor, size // factor
    )
    views = []
    for index in range(len(linear)):
        light, mask, over, known = (
            x[index].permute(1, 2, 0).double().numpy() for x in (linear, masks, bright, trust)
        )
        tensors = [
            mi.TensorXf(np.ascontiguousarray(x, np.float32))
            for x in (light, known * (mask > _COVERED) * _display_slope(light) ** 2, over)
        ]
        views.append(_View(sensor(cameras, index), *tensors))
    return views


def _display_slope(linear: np.ndarray) -> np.ndarray:
    """Return the slope of sRGB's curve, so that weighted errors in linear light are errors as displayed."""
    return np.asarray(1.055 / 2.4 * np.clip(linear, _DARKEST, 1) ** (1 / 2.4 - 1))


def _error(picture: Any, view: _View) -> Any:
    """Mean square error of the object's pixels; brighter than an overexposed one is not wrong."""
    import drjit as dr

    own, coverage = picture[..., :3], dr.detach(picture[..., 3:])
    weights = dr.select(coverage > _COVERED, view.weights, 0.0)
    difference = own - view.light
    difference = dr.select((view.overexposed > 0.5) & (difference > 0), 0.0, difference)
    count: Any = dr.sum(dr.select(weights > 0, 1.0, 0.0))
    return dr.sum(weights * dr.square(difference)) / dr.maximum(count, 1.0)


def _unevenness(values: Any) -> Any:
    """Mean square difference of neighbours in a tensor [H, W, C]."""
    import drjit as dr

    return dr.mean(dr.square(values[1:] - values[:-1])) + dr.mean(dr.square(values[:, 1:] - values[:, :-1]))


def _mirrored(normals: Any) -> Any:
    """Turn the y of encoded normals [S, S, 3] round."""
    import mitsuba as mi

    up = mi.TensorXf(np.asarray([[[0, 1, 0]]], np.float32))
    return normals + up * (1 - 2 * normals)


def _blurred(values: np.ndarray, width: int) -> np.ndarray:
    """Average [S, S, C] over ``width`` x ``width`` texels, twice."""
    tensor = torch.from_numpy(values).permute(2, 0, 1)[None]
    for _ in range(2):
        tensor = F.avg_pool2d(tensor, width, stride=1, padding=width // 2)
    return np.ascontiguousarray(tensor[0].permute(1, 2, 0).numpy())


def _wrapped(radiance: Any) -> Any:
    """Repeat the first and the last column at the other end, as Mitsuba's environment maps do."""
    import drjit as dr

    return dr.concat([radiance[:, -1:], radiance, radiance[:, :1]], axis=1)


def _resized(values: np.ndarray, size: int) -> np.ndarray:
    """Resize [S, S, C] to [size, size, C]: means when smaller, bilinear when larger."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None].float()
    if size < values.shape[0]:
        found = F.interpolate(tensor, (size, size), mode="area")
    else:
        found = F.interpolate(tensor, (size, size), mode="bilinear", align_corners=False)
    return np.asarray(found[0].permute(1, 2, 0).numpy())


def _reduced(asset: Asset, texture: int) -> Asset:
    """Reduce the asset's textures to the size that is fitted; small ones stay."""
    size = asset.albedo.shape[0]
    if size <= texture:
        return asset
    return replace(
        asset,
        albedo=_resized(asset.albedo, texture),
        metallic=_resized(asset.metallic[..., None], texture)[..., 0],
        roughness=_resized(asset.roughness[..., None], texture)[..., 0],
        normal_map=unit(_resized(asset.normal_map, texture)),
    )


def _refined(asset: Asset, coarse: Asset, fitted: dict[str, np.ndarray]) -> Asset:
    """Apply what changed to the full textures, so that their finer detail stays."""
    size = asset.albedo.shape[0]
    before, full = _textures(coarse), _textures(asset)
    change = {name: _resized(fitted[name] - before[name], size) for name in before}
    gain = np.maximum(fitted["base_color"], _DARKEST_ALBEDO) / np.maximum(coarse.albedo, _DARKEST_ALBEDO)
    return replace(
        asset,
        albedo=np.clip(np.maximum(asset.albedo, _DARKEST_ALBEDO) * _resized(gain, size), 0, 1),
        metallic=np.clip(full["metallic"] + change["metallic"], 0, 1)[..., 0],
        roughness=np.clip(full["roughness"] + change["roughness"], _LEAST_ROUGHNESS, 1)[..., 0],
        normal_map=unit(asset.normal_map + 2 * change["normalmap"]),
    )
