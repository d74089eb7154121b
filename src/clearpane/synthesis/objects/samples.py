"""Random objects in random light with cameras around them: rendered on demand, or stored in a folder."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.geometry.cameras import HALF_SIZE, Cameras, look_at, pinhole_intrinsics, project
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.optics.environment import halve, solid_angles, texel_directions
from clearpane.synthesis.dataset.sources import Pictures
from clearpane.synthesis.draws import uniform
from clearpane.synthesis.objects.rendering import ObjectRenderOptions, ObjectViews, render_object
from clearpane.synthesis.objects.solids import SolidObject, draw_object

STREAM_FILE = "stream.json"
GENERATOR_VERSION = 2
"""Version to increment whenever a seed gives a different object or different pictures."""
_MAP_WIDTH = 512
# Range of the field of view relative to the angle of a ball of radius _BALL at the object (at most 0.87).
_FILLED = (0.85, 1.1)
_BALL = 0.7


@dataclass(frozen=True)
class ObjectStream:
    """An endless sequence of objects; object k depends only on these settings and on k.

    Attributes:
        seed: Random seed of the sequence.
        views: Number of cameras around each object.
        side: Side of the pictures, pixels.
        points: Number of points in space with a ground-truth distance.
        options: Rendering options.
    """

    seed: int = 0
    views: int = 20
    side: int = 128
    points: int = 16384
    options: ObjectRenderOptions = field(default_factory=ObjectRenderOptions)


@dataclass(frozen=True, eq=False)
class ObjectSources:
    """Materials and environments of random objects.

    Attributes:
        materials: Texture sets from `clearpane.synthesis.objects.materials.load_materials`.
        environments: Equirectangular HDR maps; None draws random skies and lamps.
    """

    materials: tuple[Tensor, ...] = ()
    environments: Pictures | None = None

    def facts(self) -> dict[str, list[str]]:
        """Return JSON values that identify the sources: digests of the materials, names of the maps."""
        digests = [hashlib.sha256(m.numpy().tobytes()).hexdigest()[:16] for m in self.materials]
        return {
            "materials": digests,
            "environments": list(self.environments.names if self.environments else ()),
        }


@dataclass(frozen=True, eq=False)
class ObjectSample:
    """An object as seen by its cameras.

    Attributes:
        views: Pictures by V cameras.
        cameras: The V cameras.
        points: Points in the cube, see `draw_points`, [P, 3].
        distances: Signed distances of the points to the object, metres, negative inside, [P, 1].
    """

    views: ObjectViews
    cameras: Cameras
    points: Tensor
    distances: Tensor

    def to(self, device: torch.device | str) -> "ObjectSample":
        """Return a copy on another device."""
        views = ObjectViews(*(value.to(device) for value in self.views))
        return ObjectSample(views, self.cameras.to(device), self.points.to(device), self.distances.to(device))


def object_seed(seed: int, index: int) -> int:
    """Derive the seed of object ``index`` of the stream with ``seed``.

    >>> object_seed(0, 0) == object_seed(0, 1)
    False
    """
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(2))


def draw_object_sample(
    index: int, sources: ObjectSources, stream: ObjectStream, device: torch.device | str = "cpu"
) -> ObjectSample:
    """Draw object ``index`` of a stream and render it on a device; random numbers are drawn on the CPU.

    Raises:
        ClearpaneError: A map cannot be read.
    """
    seed = object_seed(stream.seed, index)
    solid = draw_object(seed, sources.materials).to(device)
    generator = Generator().manual_seed(seed + 1)
    environment = draw_environment(sources, generator).to(device)
    cameras = draw_cameras(stream.views, stream.side, generator).to(device)
    views = render_object(solid, environment, cameras, stream.options)
    points = draw_points(solid, views.mask, cameras, stream.points, generator)
    return ObjectSample(views, cameras, points, solid.signed_distance(points)[:, None])


def draw_points(
    solid: SolidObject, masks: Tensor, cameras: Cameras, count: int, generator: Generator
) -> Tensor:
    """Draw points in the cube [count, 3], in random order.

    A third lies within some centimetres of the surface, a third anywhere, and up to a third in the visual
    hull but outside the object, where pictures alone are least informative.

    Args:
        solid: Object.
        masks: Masks of V cameras [V, 1, H, W].
        cameras: The V cameras.
        count: Number of points.
        generator: Source of all randomness.
    """
    device = masks.device
    candidates = (HALF_SIZE * (2 * torch.rand(4 * count, 3, generator=generator) - 1)).to(device)
    third = count // 3
    near = to_surface(solid, candidates[:third])
    near = (near + 0.03 * torch.randn(near.shape, generator=generator).to(device)).clamp(
        -HALF_SIZE, HALF_SIZE
    )
    phantom = candidates[third : len(candidates) - count]
    phantom = phantom[in_all_masks(phantom, masks, cameras)]
    phantom = phantom[solid.signed_distance(phantom) > 0][:third]
    anywhere = candidates[len(candidates) - (count - len(near) - len(phantom)) :]
    points = torch.cat([near, phantom, anywhere])
    return points[torch.randperm(count, generator=generator).to(device)]


def in_all_masks(points: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Test which points [P, 3] are not shown to be empty by any mask [V, 1, H, W]: [P] bool."""
    inside = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for view, mask in enumerate(masks):
        pixels, depth = project(cameras[view], points)
        column, row = pixels.floor().long().unbind(-1)
        height, width = mask.shape[-2:]
        within = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
        seen = mask[0, row.clamp(0, height - 1), column.clamp(0, width - 1)] > 0
        inside &= ~within | seen
    return inside


def to_surface(solid: SolidObject, points: Tensor) -> Tensor:
    """Move points [P, 3] to about the nearest point of the surface."""
    for _ in range(6):
        points = points - solid.signed_distance(points)[:, None] * solid.normals(points)
    return points


def draw_environment(sources: ObjectSources, generator: Generator) -> Tensor:
    """Draw a map [H, W, 3], rotated about the vertical axis and scaled to expose a white matt object well."""
    if sources.environments is None:
        environment = random_sky(generator)
    else:
        names = sources.environments.names
        name = names[int(torch.randint(len(names), (), generator=generator))]
        environment = sources.environments.load(name).movedim(0, -1)
        while environment.shape[1] > _MAP_WIDTH and all(n % 2 == 0 for n in environment.shape[:2]):
            environment = halve(environment)
    turned = environment.roll(int(torch.randint(environment.shape[1], (), generator=generator)), 1)
    return turned * uniform(0.5, 1.1, generator) / mean_radiance(turned).clamp(min=1e-6)


def mean_radiance(environment: Tensor) -> Tensor:
    """Average over all directions and channels: the mean radiance of a white matt object."""
    weight = torch.from_numpy(solid_angles(*environment.shape[:2])).to(environment)[:, None, None]
    return (environment * weight).sum() / (3 * environment.shape[1] * weight.sum())


def random_sky(generator: Generator) -> Tensor:
    """Draw a sky over a ground, with up to six lamps or windows [64, 128, 3]."""
    directions = torch.from_numpy(texel_directions(64, 128)).float()
    up = directions[..., 1:2]
    sky, horizon, ground = (0.2 + torch.rand(3, generator=generator) for _ in range(3))
    light = torch.where(up > 0, horizon + up * (sky - horizon), 0.4 * ground)
    for _ in range(int(torch.randint(1, 7, (), generator=generator))):
        where = F.normalize(torch.randn(3, generator=generator), dim=0)
        edge = math.cos(math.radians(uniform(2, 25, generator)))
        colour = (0.5 + torch.rand(3, generator=generator)) * math.exp(uniform(0.5, 4, generator))
        light = light + colour * ((directions @ where)[..., None] > edge)
    return light


def draw_cameras(views: int, side: int, generator: Generator) -> Cameras:
    """Draw jittered, evenly spread cameras around the object, aimed at about its centre.

    Each has its own distance, field of view and principal point, like cropped photographs.
    """
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    moved = fibonacci_sphere(views) @ turn + 0.15 * torch.randn(views, 3, generator=generator)
    eyes = F.normalize(moved, dim=-1)
    usual = uniform(1.6, 2.4, generator)
    target = 0.03 * torch.randn(views, 3, generator=generator)
    distances = [usual * uniform(0.9, 1.1, generator) for _ in range(views)]
    intrinsics = []
    for distance in distances:
        angle = math.degrees(2 * math.asin(_BALL / distance)) * uniform(*_FILLED, generator)
        moved_by = torch.tensor([0.0, 0.0, *(side * uniform(-0.03, 0.03, generator) for _ in range(2))])
        intrinsics.append(pinhole_intrinsics(angle, side, side) + moved_by)
    poses = look_at(eyes * torch.tensor(distances)[:, None], target)
    return Cameras(poses, torch.stack(intrinsics), side, side)


def fibonacci_sphere(count: int) -> Tensor:
    """Spread directions evenly over the sphere [count, 3]."""
    index = torch.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = math.pi * (1 + math.sqrt(5)) * index
    level = (1 - height**2).sqrt()
    return torch.stack([level * angle.cos(), height, level * angle.sin()], dim=-1)


class ObjectDataset(Dataset[ObjectSample]):
    """A stream of objects for `torch.utils.data.DataLoader`: endless, and stored in a folder if one is given.

    ``dataset[k]`` is object k of the stream. In a folder each is a file, written on first access, with 8 bits
    for colours and 16 for depths and normals; rendering takes seconds, reading next to nothing.

    Args:
        sources: Sources that objects are drawn from.
        stream: Stream that the objects come from.
        folder: Folder that stores them; None renders each on every access.
        device: Device that renders them; they are returned on the CPU.

    Raises:
        ClearpaneError: The folder holds objects of another stream.
    """

    def __init__(
        self,
        sources: ObjectSources,
        stream: ObjectStream,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sources, self.stream, self.folder, self.device = sources, stream, folder, device
        if folder is not None:
            self._claim(folder)

    def _claim(self, folder: Path) -> None:
        """Record the stream in a new folder, or check that an existing one holds the same."""
        folder.mkdir(parents=True, exist_ok=True)
        own = {**asdict(self.stream), "generator": GENERATOR_VERSION, **self.sources.facts()}
        path = folder / STREAM_FILE
        if not path.exists():
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(json.dumps(own) + "\n", encoding="utf-8")
        elif json.loads(path.read_text(encoding="utf-8")) != own:
            raise ClearpaneError(
                f"{folder}: holds other objects than those requested; remove it, or name another folder"
            )

    def __getitem__(self, index: int) -> ObjectSample:
        if self.folder is None:
            return self._draw(index)
        path = self.folder / f"{index:06d}.safetensors"
        if not path.exists():
            save_object_sample(self._draw(index), path)
        return load_object_sample(path)

    def _draw(self, index: int) -> ObjectSample:
        return draw_object_sample(index, self.sources, self.stream, self.device).to("cpu")


_COLOURS = ("colour", "mask", "albedo", "metallic", "roughness", "background")
_FINE = ("depth", "normal")


def save_object_sample(sample: ObjectSample, path: Path) -> None:
    """Write a sample atomically: albedo is stored as sRGB, colours with 8 bits."""
    stored: dict[str, Tensor] = {}
    for name, value in sample.views._asdict().items():
        if name == "albedo":
            value = linear_to_srgb(value)
        stored[name] = (255 * value).round().to(torch.uint8) if name in _COLOURS else value.half()
        stored[name] = stored[name].contiguous()
    cameras = sample.cameras
    stored |= {
        "camera_to_world": cameras.camera_to_world.contiguous(),
        "intrinsics": cameras.intrinsics.contiguous(),
        "points": sample.points.half(),
        "distances": sample.distances.half(),
    }
    with atomic_path(path, overwrite=True) as temporary:
        save_file(stored, temporary)


def load_object_sample(path: Path) -> ObjectSample:
    """Read a sample written by `save_object_sample`.

    Raises:
        ClearpaneError: The file is damaged or not an object sample.
    """
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
        if names != {*_COLOURS, *_FINE, "camera_to_world", "intrinsics", "points", "distances"}:
            raise ClearpaneError(f"{path}: not an object sample; remove it, and it will be rendered again")
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read; remove it, and it will be rendered again") from error
    values = {name: stored[name].float() / 255 for name in _COLOURS} | {
        name: stored[name].float() for name in _FINE
    }
    values["albedo"] = srgb_to_linear(values["albedo"])
    height, width = values["colour"].shape[-2:]
    cameras = Cameras(stored["camera_to_world"], stored["intrinsics"], height, width)
    points, distances = (stored[name].float() for name in ("points", "distances"))
    return ObjectSample(ObjectViews(**values), cameras, points, distances)
