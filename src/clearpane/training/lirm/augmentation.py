"""Augment objects: quarter turns about the vertical axis, mirroring, other colours."""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from clearpane.geometry.cameras import Cameras
from clearpane.synthesis.objects.samples import ObjectSample


def augment(sample: ObjectSample, generator: Generator) -> ObjectSample:
    """Apply one of the eight transforms and one of the six orders of colour channels, at random."""
    quarters = int(torch.randint(4, (), generator=generator))
    mirrored = bool(torch.randint(2, (), generator=generator))
    channels = torch.randperm(3, generator=generator)
    return exchange_channels(transform_sample(sample, quarters, mirrored), channels)


def exchange_channels(sample: ObjectSample, channels: Tensor) -> ObjectSample:
    """Permute the colour channels of an object and its light, which stays physically correct."""
    views = sample.views
    exchanged = {name: getattr(views, name)[:, channels] for name in ("colour", "albedo", "background")}
    return replace(sample, views=views._replace(**exchanged))


def transform_sample(sample: ObjectSample, quarters: int, mirrored: bool) -> ObjectSample:
    """Mirror an object (``x -> -x``) if asked to, then turn it by ``quarters`` quarter turns about y."""
    turn = torch.linalg.matrix_power(torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), quarters)
    mirror = torch.diag(torch.tensor([-1.0 if mirrored else 1.0, 1, 1]))
    change = turn @ mirror
    cameras, views = sample.cameras, sample.views
    poses, intrinsics = cameras.camera_to_world.clone(), cameras.intrinsics.clone()
    # A mirror swaps a camera's right and left: its pictures are flipped, so that its axes stay right-handed.
    poses[:, :3, :3] = change @ poses[:, :3, :3] @ mirror
    poses[:, :3, 3] = poses[:, :3, 3] @ change.T
    if mirrored:
        intrinsics[:, 2] = cameras.width - intrinsics[:, 2]
        views = type(views)(*(x.flip(-1) for x in views))
    normal = torch.einsum("ij,vjhw->vihw", change, views.normal)
    return ObjectSample(
        views._replace(normal=normal),
        Cameras(poses, intrinsics, cameras.height, cameras.width),
        _moved(sample.points, change),
        sample.distances,
    )


def _moved(points: Tensor, change: Tensor) -> Tensor:
    return points @ change.T
