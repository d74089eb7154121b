"""Views of simple solids, and a LIRM small enough for tests."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras, look_at, picture_rays, pinhole_intrinsics
from clearpane.reconstruction.field.rendering import Appearance
from clearpane.reconstruction.lirm.model import LirmConfig, Views

TINY = LirmConfig(
    blocks=2, width=32, heads=2, patch=8, plane_side=4, plane_stride=4, channels=8, panorama_side=2, volume=8
)


@dataclass(frozen=True)
class Sphere:
    """A field in closed form: a sphere about the origin whose colour is its normal."""

    radius: float = 0.35

    def features(self, points: Tensor) -> Tensor:
        return points

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        return points.norm(dim=-1, keepdim=True) - self.radius

    def appearance(self, points: Tensor, view: Tensor, features: Tensor | None = None) -> Appearance:
        normal = F.normalize(points, dim=-1)
        half = torch.full_like(points[:, :1], 0.5)
        return Appearance(normal / 2 + 0.5, normal / 2 + 0.5, half, half, normal)


def orbit(count: int, size: int = 32, distance: float = 2.0, seed: int = 0) -> Cameras:
    """Cameras around the origin, spread at random but evenly."""
    generator = torch.Generator().manual_seed(seed)
    eyes = F.normalize(torch.randn(count, 3, generator=generator), dim=-1) * distance
    return Cameras(
        look_at(eyes, torch.zeros(3)), pinhole_intrinsics(40, size, size).expand(count, 4), size, size
    )


def sphere_views(cameras: Cameras, radius: float = 0.35) -> tuple[Tensor, Tensor]:
    """Pictures of a sphere on white, coloured by its normal, and masks: [V, 3, H, W], [V, 1, H, W]."""
    origins, directions = picture_rays(cameras)
    along = (origins * directions).sum(-1)
    root = along**2 - (origins**2).sum(-1) + radius**2
    mask = (root > 0).float()
    distance = -along - root.clamp(min=0).sqrt()
    normal = (origins + distance[..., None] * directions) / radius
    colour = torch.where(mask[..., None] > 0, normal / 2 + 0.5, 1.0)
    return colour.movedim(-1, 1), mask[:, None]


def batched(cameras: Cameras, objects: int = 1) -> Views:
    """The sphere as a batch of equal objects."""
    pictures, masks = sphere_views(cameras)

    def repeated(x: Tensor) -> Tensor:
        return x[None].expand(objects, *x.shape)

    many = Cameras(
        repeated(cameras.camera_to_world), repeated(cameras.intrinsics), cameras.height, cameras.width
    )
    return Views(repeated(pictures), repeated(masks), many)


@pytest.fixture
def sphere() -> Sphere:
    return Sphere()
