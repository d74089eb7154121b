"""Render an asset under an HDR map: path-traced by Mitsuba, or shaded in seconds as a preview.

The path tracer computes shadows and interreflections. Its material is Disney's principled one with an index
of refraction of 1.5, whose diffuse part differs a little from glTF's: it is up to a tenth brighter on rough
surfaces. The preview uses glTF's own material (`clearpane.optics.shading`); it has no noise, and only the
shadows in the asset's occlusion texture.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.cameras import Cameras, picture_rays
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.environment import halve
from clearpane.optics.shading import EnvironmentLight, SurfacePoints, shade
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.field.directional import facing
from clearpane.reconstruction.relighting.asset_scene import asset_shapes, environment_light, sensor
from clearpane.reconstruction.relighting.lighting import Environment
from clearpane.reconstruction.relighting.surface_view import SurfaceView, SurfaceViews

Background = Literal["transparent", "environment", "white"]
OnStep = Callable[[int, int], None]
"""Callback with the number of finished steps of a picture and their total."""

_DEPTH = 8
# Paths in one pass; between passes, progress is shown and the work can be interrupted.
_PASS = 1 << 21
# Preview: lights and microfacets that represent the map, points shaded at a time, and the widest map.
_LIGHTS, _FACETS, _SHADED, _WIDEST = 256, 16, 8192, 1024


@dataclass(frozen=True)
class RelightSettings:
    """Configure how an asset is rendered.

    Attributes:
        samples: Paths for each pixel; ignored by the preview.
        preview: Shade instead of tracing paths.
        background: Background behind the object.
        denoise: Remove noise with Open Image Denoise, for few samples; ignored by the preview.
        seed: Random seed; the same seed gives the same picture.
    """

    samples: int = 128
    preview: bool = False
    background: Background = "transparent"
    denoise: bool = False
    seed: int = 0


def relight(
    asset: Asset,
    environment: Environment,
    cameras: Cameras,
    settings: RelightSettings = RelightSettings(),
    on_step: OnStep | None = None,
) -> Iterator[np.ndarray]:
    """Yield the pictures of all cameras, one after the other: [H, W, 4] float32.

    A picture holds linear light, premultiplied by the object's coverage of the pixel, and that coverage,
    which is 1 if a background is rendered. It depends on its own camera only, not on the others.

    Args:
        cameras: Cameras [V] with square pixels.

    Raises:
        ClearpaneError: The environment is black, pixels are not square, or there are no samples.
        MissingExtraError: Mitsuba is not installed, which a preview does not need, or its denoiser, for
            ``denoise``.
    """
    if not settings.preview:
        _load_mitsuba()
    if settings.denoise and find_spec("mitsuba_oidn") is None:
        raise MissingExtraError("denoising", "3d")
    if not environment.radiance.any():
        raise ClearpaneError("the environment is black everywhere; take a map with light in it")
    if settings.samples < 1:
        raise ClearpaneError(f"{settings.samples} samples a pixel: give 1 or more")
    _check_square(cameras)
    return _pictures(asset, environment, cameras, settings, on_step or (lambda step, steps: None))


def _check_square(cameras: Cameras) -> None:
    """Refuse pixels that are not square: Mitsuba's cameras have one focal length."""
    focal = cameras.intrinsics[..., :2]
    if ((focal[..., 0] / focal[..., 1] - 1).abs() > 5e-3).any():
        raise ClearpaneError("a camera's pixels are not square (fx and fy differ); resize its picture")


def _pictures(
    asset: Asset, environment: Environment, cameras: Cameras, settings: RelightSettings, on_step: OnStep
) -> Iterator[np.ndarray]:
    surfaces = SurfaceViews(asset) if settings.preview or settings.denoise else None
    light = _preview_light(environment) if settings.preview else None
    scene = None if settings.preview else _scene(asset, environment)
    for view in range(len(cameras.camera_to_world)):
        seen = None if surfaces is None else surfaces.see(cameras, view)
        if light is not None and seen is not None:
            picture = _shaded(seen, light, environment, on_step)
        else:
            picture = _path_traced(scene, cameras, view, settings, on_step)
            picture = picture if seen is None else _denoised(picture, seen)
        yield _on_background(picture, environment, cameras[view], settings.background).astype(np.float32)


def _load_mitsuba() -> None:
    try:
        use_variant("auto")
    except MissingExtraError as error:
        raise MissingExtraError("rendering assets", "3d") from error
    import mitsuba as mi

    mi.set_log_level(mi.LogLevel.Error)  # interruptions are reported elsewhere


def _scene(asset: Asset, environment: Environment) -> Any:
    import mitsuba as mi

    # Loaded in parallel or merged, a scene's parts come in any order, which changes the noise.
    return mi.load_dict(
        {"type": "scene", **asset_shapes(asset), "light": environment_light(environment)},
        parallel=False,
        optimize=False,
    )


def _path_traced(
    scene: Any, cameras: Cameras, view: int, settings: RelightSettings, on_step: OnStep
) -> np.ndarray:
    """Average the passes: [H, W, 4]."""
    import mitsuba as mi

    camera = sensor(cameras, view)
    integrator = mi.load_dict({"type": "path", "max_depth": _DEPTH, "hide_emitters": True})
    chunk = max(1, _PASS // (cameras.height * cameras.width))
    passes = -(-settings.samples // chunk)
    counts = [settings.samples // passes + (i < settings.samples % passes) for i in range(passes)]
    pose = cameras.camera_to_world[view].double().numpy().tobytes()
    seeds = np.random.SeedSequence([settings.seed, zlib.crc32(pose)]).generate_state(passes)
    total: Any = 0.0
    for index, (count, seed) in enumerate(zip(counts, seeds, strict=True)):
        on_step(index, passes)
        found = mi.render(scene, sensor=camera, integrator=integrator, spp=count, seed=mi.UInt32(int(seed)))
        total = total + count * np.array(found, np.float64)
    return np.asarray(total / settings.samples)


def _denoised(picture: np.ndarray, seen: SurfaceView) -> np.ndarray:
    """Denoise a picture, guided by the edges in the noiseless albedo and normals."""
    import mitsuba_oidn

    guides = (x * seen.mask[..., None] for x in (seen.albedo, seen.normal))
    colour, albedo, normal = (np.ascontiguousarray(x, np.float32) for x in (picture[..., :3], *guides))
    clean = mitsuba_oidn.denoise(colour, albedo=albedo, normal=normal, hdr=True, clean_aux=True)
    return np.concatenate([np.maximum(clean, 0), picture[..., 3:]], axis=-1)


def _preview_light(environment: Environment) -> EnvironmentLight[torch.Tensor]:
    radiance = environment.radiance
    while radiance.shape[1] > _WIDEST and all(n % 2 == 0 for n in radiance.shape[:2]):
        radiance = halve(radiance)
    lights = min(_LIGHTS, radiance.shape[0] * radiance.shape[1])
    return EnvironmentLight.of(torch.from_numpy(np.ascontiguousarray(radiance)).float(), lights)


def _shaded(
    seen: SurfaceView, light: EnvironmentLight[torch.Tensor], environment: Environment, on_step: OnStep
) -> np.ndarray:
    """Shade the preview, [H, W, 4]: the environment's light times the occlusion."""
    pixels = (seen.mask > 0).nonzero()
    picture = np.zeros((*seen.mask.shape, 4))
    picture[..., 3] = seen.mask
    radiance = []
    chunks = max(1, -(-len(pixels[0]) // _SHADED))
    for index, rows in enumerate(np.array_split(np.arange(len(pixels[0])), chunks)):
        on_step(index, chunks)
        some = tuple(axis[rows] for axis in pixels)
        single = (seen.metallic[some], seen.roughness[some], seen.occlusion[some])
        metallic, roughness, occlusion = (torch.from_numpy(x).float()[:, None] for x in single)
        vectors = (seen.normal[some] @ environment.to_world, seen.view[some] @ environment.to_world)
        normal, view, albedo = (torch.from_numpy(x).float() for x in (*vectors, seen.albedo[some]))
        points = SurfacePoints(facing(normal, view), view, albedo, metallic, roughness)
        radiance.append(shade(points, light, _FACETS, occlusion, occlusion).numpy())
    picture[..., :3][pixels] = np.concatenate(radiance) * seen.mask[pixels][:, None]
    return picture


def _on_background(
    picture: np.ndarray, environment: Environment, camera: Cameras, background: Background
) -> np.ndarray:
    if background == "transparent":
        return picture
    _, directions = picture_rays(camera)
    behind = environment.seen(directions.double().numpy()) if background == "environment" else np.ones(3)
    share = picture[..., 3:]
    colour = picture[..., :3] + (1 - share) * behind
    return np.concatenate([colour, np.ones_like(share)], axis=-1)
