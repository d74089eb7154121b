"""Render bob with Mitsuba's path tracer: eight input views under each of several environments, and new
ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.reconstruction.bob_asset import BobMaterial, bob_asset
from clearpane.files import atomic_path
from clearpane.geometry.cameras import Cameras
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import solid_angles
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.relighting.lighting import Environment, load_environment
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.synthesis.objects.samples import draw_cameras

SIDE, INPUTS, NEW = 256, 8, 12
LIGHTS = ("venice_sunset_1k", "empty_warehouse_01_1k", "kiara_1_dawn_1k")
UNSEEN = "studio_small_03_1k"
_SAMPLES, _SEED = 128, 41
# Mean radiance of each map, at which a white matt object is well exposed.
_BRIGHTNESS = 0.8


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of cameras: linear light on black [V, 3, H, W], and the object's coverage [V, 1, H, W]."""

    linear: Tensor
    masks: Tensor

    @property
    def shown(self) -> Tensor:
        """Return the pictures on white, sRGB in [0, 1]."""
        own = self.linear / self.masks.clamp(min=1e-4)
        return linear_to_srgb(own.clamp(0, 1)) * self.masks + 1 - self.masks

    def __getitem__(self, part: slice) -> "Pictures":
        return Pictures(self.linear[part], self.masks[part])


def bob_cameras() -> Cameras:
    """Return the cameras of the input views, then those of the new ones."""
    cameras = draw_cameras(INPUTS + NEW, SIDE, Generator().manual_seed(_SEED))
    directions = F.normalize(cameras.centres, dim=-1)
    order = [0]
    while len(order) < INPUTS:  # each the farthest from the previous ones
        order.append(int((directions @ directions[order].T).amax(-1).argmin()))
    return cameras[[*order, *(i for i in range(INPUTS + NEW) if i not in order)]]


def environment(data: Path, name: str) -> Environment:
    """Read one of the maps, scaled to the common brightness."""
    loaded = load_environment(data / "environments" / f"{name}.hdr")
    weight = solid_angles(*loaded.radiance.shape[:2])[:, None, None]
    mean = (loaded.radiance * weight).sum() / (3 * weight.sum() * loaded.radiance.shape[1])
    return Environment((loaded.radiance * (_BRIGHTNESS / mean)).astype(np.float32))


def bob_pictures(data: Path, material: BobMaterial, light: str, cache: Path) -> Pictures:
    """Render the input and new views under one light (only new ones under `UNSEEN`), once."""
    asset, lit = bob_asset(data, material), environment(data, light)
    cameras = bob_cameras()[INPUTS:] if light == UNSEEN else bob_cameras()
    key = hashlib.sha256(str(_SAMPLES).encode())
    for values in (asset.mesh.vertices, asset.albedo, asset.metallic, asset.roughness, lit.radiance):
        key.update(np.ascontiguousarray(values).tobytes())
    for tensor in (cameras.camera_to_world, cameras.intrinsics):
        key.update(tensor.contiguous().numpy().tobytes())
    path = cache / f"{material.replace(' ', '-')}-{light}-{key.hexdigest()[:8]}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        rendered = relight(asset, lit, cameras, RelightSettings(_SAMPLES))
        views = []
        for index, picture in enumerate(rendered):
            views.append(torch.from_numpy(picture).movedim(-1, 0))
            print(f"{material} under {light}: view {index + 1} of {len(cameras.centres)}", flush=True)
        whole = torch.stack(views)
        with atomic_path(path) as temporary:
            save_file({"linear": whole[:, :3].contiguous(), "masks": whole[:, 3:].contiguous()}, temporary)
    stored = load_file(path)
    return Pictures(stored["linear"], stored["masks"].clamp(0, 1))


def as_capture(pictures: Pictures, cameras: Cameras) -> Capture:
    """Return the input views as a capture of cut-out photographs."""
    names = tuple(f"view {i}" for i in range(INPUTS))
    seen = pictures[:INPUTS]
    return Capture(seen.shown, seen.masks, cameras[:INPUTS], names, Placement(np.zeros(3), np.eye(3), 1.0))
