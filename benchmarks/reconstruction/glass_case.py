"""Render bob behind the flat pane of a display case with Mitsuba's path tracer, and without the pane.

Everything stands still in the world: bob, the pane before it, and the surroundings, a light map whose
brightest side lies on the cameras' side of the pane. They light bob, through the pane or past it, and their
reflection in the pane moves over bob as the camera moves.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import mitsuba as mi
import mitsuba_oidn
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks.reconstruction.bob import bob_scene, load_bob
from benchmarks.reconstruction.bob_captures import environment
from clearpane.files import atomic_path
from clearpane.geometry.cameras import Cameras, look_at, picture_rays, pinhole_intrinsics
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import look_up, texel_directions
from clearpane.optics.slab import averaging_reflectance, slab_reflectance
from clearpane.reconstruction.relighting.asset_scene import sensor
from clearpane.synthesis.objects.samples import ObjectSample

LIGHTS = ("vestibule_1k", "brown_photostudio_02_1k")
INPUTS = 12
REFRACTION, THICKNESS = 1.5, 0.006
"""Index and thickness of the pane, metres, for an object a metre long."""

WIDEST = 50.0
"""Largest angle between a camera's direction and the pane's normal, in the horizontal plane, degrees."""

DISTANCE = 2.2
"""Distance of the cameras from the object's centre, metres."""

_FIELD, _PANE_AT, _PANE_HALF = 36.0, 0.75, 2.5
_NEW = ((-36.0, 12.0), (-13.0, 22.0), (14.0, -6.0), (38.0, 18.0))  # azimuth and elevation, degrees
_ELEVATIONS = (0.0, 24.0, -10.0, 14.0)
# Brighter texels are cut off, in means of the map: bob's front is lit through glass, which only chance finds.
_BRIGHTEST = 8.0
_SAMPLES, _DEPTH = 48, 12
_FINER = 3  # reflections are computed at so many times as many pixels a side


@dataclass(frozen=True, eq=False)
class CaseViews:
    """Hold bob as seen without the pane, and the photographs through it.

    Attributes:
        bare: All views without the pane, with their true materials; inputs first.
        photographs: Inputs through the pane, linear [V, 3, H, W], the surroundings behind bob.
        reflections: Light that the pane reflects into them, linear [V, 3, H, W].
    """

    bare: ObjectSample
    photographs: Tensor
    reflections: Tensor


def case_cameras(side: int) -> Cameras:
    """Return twelve cameras on an arc before the pane, then four new ones within it."""
    azimuths = np.linspace(-WIDEST, WIDEST, INPUTS)
    inputs = [(float(a), _ELEVATIONS[i % len(_ELEVATIONS)]) for i, a in enumerate(azimuths)]
    azimuth, elevation = np.radians(np.array([*inputs, *_NEW])).T
    eyes = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    poses = look_at(torch.from_numpy(eyes * DISTANCE).float(), torch.zeros(3))
    return Cameras(poses, pinhole_intrinsics(_FIELD, side, side).expand(len(poses), 4), side, side)


def case_light(data: Path, name: str) -> Tensor:
    """Return a light map [H, W, 3], linear, its brightest side turned to the cameras."""
    radiance = environment(data, name).radiance
    radiance = np.minimum(radiance, _BRIGHTEST * radiance.mean())
    height, width = radiance.shape[:2]
    level = radiance[height // 4 : height * 5 // 8].mean((0, 2))
    around = np.fft.irfft(np.fft.rfft(level) * np.fft.rfft(_window(width)), width)
    front = int(texel_directions(height, width)[height // 2, :, 2].argmax())
    return torch.from_numpy(np.roll(radiance, front - int(around.argmax()), axis=1).copy()).float()


def _window(width: int) -> np.ndarray:
    """Return weights of columns that are within a tenth of the map's width of the first one."""
    distance = np.minimum(np.arange(width), width - np.arange(width))
    return np.asarray(distance < width // 10, float)


def _render(folder: Path, light: Tensor, cameras: Cameras, pane: bool) -> Tensor:
    """Render bob: through the pane with his surroundings, or alone without it; linear RGBA [V, 4, H, W]."""
    use_variant("auto")
    parts = bob_scene(folder, light)
    if pane:
        place = mi.ScalarTransform4f().translate([0, 0, _PANE_AT])
        size = [_PANE_HALF, _PANE_HALF, THICKNESS / 2]
        glass = {"type": "dielectric", "int_ior": REFRACTION, "ext_ior": 1.0}
        parts["pane"] = {"type": "cube", "to_world": place.scale(size), "bsdf": glass}
    scene = mi.load_dict(parts, parallel=False, optimize=False)
    integrator = mi.load_dict({"type": "path", "max_depth": _DEPTH, "hide_emitters": not pane})
    views = []
    for view in range(len(cameras.camera_to_world)):
        found = mi.render(scene, sensor=sensor(cameras, view), integrator=integrator, spp=_SAMPLES, seed=view)
        whole = torch.from_numpy(np.array(found)).movedim(-1, 0)
        views.append(torch.cat([_denoised(whole[:3]), whole[3:]]))
        print(f"{'photograph' if pane else 'bob'} {view + 1} of {len(cameras.camera_to_world)}", flush=True)
    return torch.stack(views).contiguous()


def _denoised(picture: Tensor) -> Tensor:
    """Denoise linear light [3, H, W]: whether the pane reflects a path is chance, as is what lights bob."""
    pixels = np.ascontiguousarray(picture.movedim(0, -1).numpy(), np.float32)
    return torch.from_numpy(mitsuba_oidn.denoise(pixels, hdr=True)).movedim(-1, 0).clamp(min=0)


def reflections(light: Tensor, cameras: Cameras) -> Tensor:
    """Compute the light that the pane reflects into pictures: linear [V, 3, H, W].

    The surroundings are far away, so that both faces of the pane reflect the same direction.
    """
    finer = cameras.resized(_FINER * cameras.height, _FINER * cameras.width)
    directions = picture_rays(finer)[1]
    # Mitsuba averages the polarisations at each face.
    face = averaging_reflectance(directions[..., 2].abs(), REFRACTION)
    share = slab_reflectance(face, 1.0)[..., None]
    mirrored = directions * directions.new_tensor([1.0, 1.0, -1.0])
    return F.avg_pool2d((share * look_up(light, mirrored)).movedim(-1, 1), _FINER)


def case_views(data: Path, name: str, side: int, cache: Path) -> CaseViews:
    """Render all views under one light, once.

    Args:
        data: Folder with environments and objects/bob.
        name: One of `LIGHTS`.
        side: Side of the pictures, pixels.
        cache: Folder of the rendered views.
    """
    folder, light, cameras = data / "objects" / "bob", case_light(data, name), case_cameras(side)
    key = hashlib.sha256(repr((_SAMPLES, THICKNESS, _PANE_AT, REFRACTION)).encode())
    for values in (light, cameras.camera_to_world, cameras.intrinsics):
        key.update(values.contiguous().numpy().tobytes())
    # Materials and depths do not depend on the light.
    truth = load_bob(folder, case_light(data, LIGHTS[0]), cameras, cache / f"truth-{side}.safetensors")
    path = cache / f"{name}-{side}-{key.hexdigest()[:8]}.safetensors"
    if not path.exists():
        rendered = {
            "bare": _render(folder, light, cameras, pane=False),
            "photographs": _render(folder, light, cameras[:INPUTS], pane=True)[:, :3].contiguous(),
        }
        with atomic_path(path) as temporary:
            save_file(rendered, temporary)
    stored = load_file(path)
    linear, masks = stored["bare"].split([3, 1], dim=1)
    masks = masks.clamp(0, 1)
    colour = linear_to_srgb((linear / masks.clamp(min=1e-4)).clamp(0, 1)) * masks + 1 - masks
    bare = replace(truth, views=truth.views._replace(colour=colour, mask=masks))
    return CaseViews(bare, stored["photographs"], reflections(light, cameras[:INPUTS]))


def lateral_shift(angle: float) -> float:
    """Return how far the pane moves a ray sideways, metres: ``d sin a (1 - cos a / sqrt(n^2 - sin^2 a))``.

    Args:
        angle: Angle a between the ray and the pane's normal, degrees.

    >>> round(1000 * lateral_shift(50), 2)
    2.31
    """
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return float(THICKNESS * sine * (1 - cosine / np.sqrt(REFRACTION**2 - sine**2)))
