"""Render rooms and yards with their true depth, for the small depth estimator and its test scenes.

A scene is a floor with solids on it, under the sky of an environment; every other one has three walls.
Natural pictures are the textures. Mitsuba traces the paths; the depth is the distance along the camera's
axis, limited to 10 metres, which is also the depth of the sky.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from clearpane.files import atomic_path
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.dataset.parallel import workers
from clearpane.synthesis.glass.textures import load_texture
from clearpane.training.pictures import natural_paths

SIDE = 64
FARTHEST = 10.0
_SAMPLES, _DEPTH = 48, 4
_HELD_OUT_ENVIRONMENTS = 2
_TEXTURE = 128


def load_rooms(data: Path, cache: Path, count: int, seed: int, held_out: bool) -> dict[str, Tensor]:
    """Render once into the cache: ``pictures`` [N, 3, 64, 64] uint8 and ``depth`` [N, 64, 64], metres.

    Args:
        held_out: True for the textures and skies that other sets do not have.

    Raises:
        MissingExtraError: Mitsuba is not installed.
    """
    path = cache / f"rooms_{'held_out_' if held_out else ''}{count}_seed{seed}.safetensors"
    if not path.is_file():
        use_variant("scalar_rgb")
        skies = sorted((data / "environments").glob("*.hdr"))
        first, rest = skies[:_HELD_OUT_ENVIRONMENTS], skies[_HELD_OUT_ENVIRONMENTS:]
        textures = natural_paths(data / "natural", held_out=held_out)
        work = partial(render_room, seed, textures, first if held_out else rest)
        rooms = []
        with workers(work, 2) as ordered:
            for done, room in enumerate(ordered(range(count)), 1):
                rooms.append(room)
                if done % 100 == 0:
                    print(f"{done} of {count} rooms rendered", flush=True)
        pictures, depth = (torch.stack([torch.from_numpy(room[i]) for room in rooms]) for i in (0, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as temporary:
            save_file({"pictures": pictures.permute(0, 3, 1, 2).contiguous(), "depth": depth}, temporary)
    return load_file(path)


def render_room(
    seed: int, textures: list[Path], skies: list[Path], index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene: [64, 64, 3] uint8 and [64, 64] float32, metres."""
    import mitsuba as mi

    use_variant("scalar_rgb")
    random = np.random.default_rng([seed, index])
    camera = draw_camera(random)
    scene = mi.load_dict(room_scene(random, camera, textures, skies))
    light = np.array(mi.render(scene, spp=_SAMPLES, seed=index))
    places = mi.load_dict({"type": "aov", "aovs": "distance:depth,place:position"})
    seen = np.array(mi.render(scene, integrator=places, spp=1, seed=index))
    distance, place = seen[..., -4], seen[..., -3:]
    depth = np.where(distance > 0, (place - camera.eye) @ camera.ahead, FARTHEST)
    exposed = light * (0.35 / max(float(np.median(light)), 1e-4)) * random.uniform(0.6, 1.6)
    picture = (255 * linear_to_srgb(exposed.clip(0, 1))).round().astype(np.uint8)
    return picture, depth.clip(0.1, FARTHEST).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole: position, metres, y up; unit vector along its axis; degrees across the picture."""

    eye: np.ndarray
    ahead: np.ndarray
    field_of_view: float


def draw_camera(random: np.random.Generator) -> Camera:
    """Draw a random camera that points mostly along -z and slightly down."""
    pitch, yaw = np.radians([random.uniform(-20, 3), random.uniform(-15, 15)])
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
    return Camera(np.array([0, random.uniform(0.8, 1.8), 0]), ahead, float(random.uniform(45, 75)))


def room_scene(
    random: np.random.Generator, camera: Camera, textures: list[Path], skies: list[Path]
) -> dict[str, Any]:
    """Draw a random room or yard as a Mitsuba scene; metres, y up."""
    import mitsuba as mi

    transform = mi.ScalarTransform4f
    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": _DEPTH},
        "sensor": {
            "type": "perspective",
            "fov": camera.field_of_view,
            "to_world": transform().look_at(
                camera.eye.tolist(), (camera.eye + camera.ahead).tolist(), [0, 1, 0]
            ),
            "film": {
                "type": "hdrfilm",
                "width": SIDE,
                "height": SIDE,
                "rfilter": {"type": "box"},
                "pixel_format": "rgb",
            },
        },
        "sky": {
            "type": "envmap",
            "bitmap": mi.Bitmap(sky_picture(skies[random.integers(len(skies))])),
            "to_world": transform().rotate([0, 1, 0], float(random.uniform(0, 360))),
        },
        "floor": _rectangle(transform().rotate([1, 0, 0], -90).scale(30), random, textures, 12),
    }
    nearest, farthest = 1.0, 9.0
    if random.random() < 0.5:
        half, farthest, height = random.uniform(1.5, 4), random.uniform(2.5, 9), random.uniform(2.4, 4)
        back = transform().translate([0, height / 2, -farthest]).scale([half, height / 2, 1])
        scene["back"] = _rectangle(back, random, textures, 1.5)
        for name, side in (("left", -1), ("right", 1)):
            wall = (
                transform().translate([side * half, height / 2, -farthest / 2]).rotate([0, 1, 0], -side * 90)
            )
            scene[name] = _rectangle(wall.scale([farthest / 2 + 1, height / 2, 1]), random, textures, 2)
        width = half
    else:
        width = 4.0
    for number in range(random.integers(2, 8)):
        size = random.uniform(0.15, 0.7)
        z = -math.exp(random.uniform(math.log(nearest), math.log(farthest)))
        x = random.uniform(-1, 1) * min(width, 0.8 * abs(z)) + camera.ahead[0] * abs(z)
        place = transform().translate([x, size, z]).rotate([0, 1, 0], float(random.uniform(0, 360)))
        kind = random.choice(["sphere", "cube"])
        scene[f"solid{number}"] = {
            "type": str(kind),
            "to_world": place.scale(size),
            "bsdf": _surface(random, textures, 1),
        }
    return scene


def _rectangle(
    place: Any, random: np.random.Generator, textures: list[Path], repeats: float
) -> dict[str, Any]:
    return {"type": "rectangle", "to_world": place, "bsdf": _surface(random, textures, repeats)}


def _surface(random: np.random.Generator, textures: list[Path], repeats: float) -> dict[str, Any]:
    """Make a diffuse surface: a natural picture, or one colour."""
    import mitsuba as mi

    if random.random() < 0.3:
        colour: dict[str, Any] = {"type": "rgb", "value": random.uniform(0.1, 0.8, 3).tolist()}
    else:
        picture = _shrunk(textures[random.integers(len(textures))], _TEXTURE, _TEXTURE)
        colour = {
            "type": "bitmap",
            "bitmap": mi.Bitmap(picture),
            "raw": True,
            "wrap_mode": "mirror",
            "to_uv": mi.ScalarTransform3f().scale(float(repeats)),
        }
    return {"type": "twosided", "surface": {"type": "diffuse", "reflectance": colour}}


def sky_picture(path: Path) -> np.ndarray:
    """Read an environment at 128 x 64 pixels, its sun clipped: enough for a picture of 64 pixels."""
    small = _shrunk(path, 64, 128)
    return np.minimum(small, 20 * np.median(small))


def _shrunk(path: Path, height: int, width: int) -> np.ndarray:
    """Read a picture or an environment in linear light [height, width, 3]."""
    light = F.interpolate(load_texture(path)[None], (height, width), mode="area")[0]
    return np.ascontiguousarray(light.permute(1, 2, 0).numpy())
