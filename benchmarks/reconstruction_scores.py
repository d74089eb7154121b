"""How good a reconstruction is: new views, albedo, normals, shape."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.evaluation.metrics import psnr, ssim, to_8bit
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.cameras import HALF_SIZE, Cameras, picture_rays
from clearpane.reconstruction.heads import HexaplaneField
from clearpane.reconstruction.rendering import RenderOptions, occupied_cells, render_rays
from clearpane.synthesis.object_samples import ObjectSample
from clearpane.training.lirm_losses import channel_gain

# The width of the surface and the points along a ray at the end of training.
OPTIONS = RenderOptions(beta=1 / 200, samples=128, occupancy=48)
_RAYS = 4096
_GRID, _POINTS = 96, 4000


@torch.no_grad()
def render_views(field: HexaplaneField, cameras: Cameras) -> dict[str, Tensor]:
    """What a field shows to cameras: colour on white, mask, albedo, normal: [V, C, H, W]."""
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(cameras))
    occupied = occupied_cells(field, OPTIONS, origins)
    parts = [
        render_rays(field, o, d, OPTIONS, occupied)
        for o, d in zip(origins.split(_RAYS), directions.split(_RAYS), strict=True)
    ]
    shape = (len(cameras.camera_to_world), cameras.height, cameras.width, -1)
    values = {
        "colour": [p.appearance.colour for p in parts],
        "mask": [p.opacity for p in parts],
        "albedo": [p.appearance.albedo for p in parts],
        "normal": [p.appearance.normal for p in parts],
    }
    return {name: torch.cat(value).reshape(shape).movedim(-1, 1) for name, value in values.items()}


def view_scores(colour: Tensor, sample: ObjectSample, targets: list[int]) -> dict[str, float]:
    """Means over new views: PSNR and SSIM of the whole picture on white, PSNR of the object's pixels."""
    scores = []
    for result, view in zip(colour, targets, strict=True):
        truth, mask = sample.views.colour[view], sample.views.mask[view, 0] > 0.5
        a, b = (to_8bit(x.permute(1, 2, 0).numpy()) / np.float32(255) for x in (result, truth))
        error = ((a - b) ** 2)[mask.numpy()].mean()
        scores.append((psnr(a, b), -10 * np.log10(max(float(error), 1e-10)), ssim(a, b)))
    whole, inside, similarity = np.mean(scores, axis=0).tolist()
    return {"psnr": whole, "object": inside, "ssim": similarity}


def material_scores(
    rendered: dict[str, Tensor], sample: ObjectSample, targets: list[int]
) -> dict[str, float]:
    """Albedo's PSNR (sRGB of linear values, one gain a picture and channel) and the normals' mean angle.

    Both over the pixels that are the object in truth and in the result.
    """
    albedos, angles = [], []
    for index, view in enumerate(targets):
        both = (sample.views.mask[view, 0] > 0.99) & (rendered["mask"][index, 0] > 0.5)
        if not both.any():
            continue
        result, truth = rendered["albedo"][index][:, both], sample.views.albedo[view][:, both]
        fitted = result * channel_gain(result[:, None], truth[:, None])[:, 0]
        error = (linear_to_srgb(fitted.clamp(0, 1)) - linear_to_srgb(truth.clamp(0, 1))).square().mean()
        albedos.append(-10 * float(torch.log10(error)))
        cosine = F.cosine_similarity(
            rendered["normal"][index][:, both], sample.views.normal[view][:, both], dim=0
        )
        angles.append(float(torch.rad2deg(cosine.clamp(-1, 1).acos()).mean()))
    return {"albedo": float(np.mean(albedos)), "normal": float(np.mean(angles))}


@torch.no_grad()
def zero_points(field: HexaplaneField) -> Tensor:
    """Points where a field's distance changes its sign, between grid points: [P, 3]."""
    axis = torch.linspace(-HALF_SIZE, HALF_SIZE, _GRID)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    parts = [field.signed_distance(p) for p in grid.reshape(-1, 3).split(1 << 16)]
    return crossings(torch.cat(parts).reshape(_GRID, _GRID, _GRID), grid)


def crossings(distance: Tensor, grid: Tensor) -> Tensor:
    """Where distances on a grid, [G, G, G], pass zero along its edges, linear between: [P, 3]."""
    points = []
    for axis in range(3):
        count = distance.shape[axis] - 1
        a, b = distance.narrow(axis, 0, count), distance.narrow(axis, 1, count)
        place_a, place_b = grid.narrow(axis, 0, count), grid.narrow(axis, 1, count)
        changed = (a < 0) != (b < 0)
        share = (a / (a - b))[changed][:, None]
        points.append(place_a[changed] + share * (place_b - place_a)[changed])
    return torch.cat(points)


def chamfer(found: Tensor, true: Tensor) -> float:
    """The mean distance from each point to the nearest of the other set, of both ways: millimetres."""
    if not len(found):
        return float("nan")
    generator = torch.Generator().manual_seed(0)
    few = [x[torch.randperm(len(x), generator=generator)[:_POINTS]] for x in (found, true)]
    apart = torch.cdist(*few)
    return 500 * float(apart.amin(0).mean() + apart.amin(1).mean())


def surface_of(sample: ObjectSample) -> Tensor:
    """Points of an object's surface as its views see it: [P, 3]."""
    origins, directions = picture_rays(sample.cameras)
    points = origins + sample.views.depth.movedim(1, -1) * directions
    return points[sample.views.mask[:, 0] > 0.99]


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation of each figure over objects."""
    names = rows[0]
    return {
        name: {
            "mean": float(np.nanmean([r[name] for r in rows])),
            "sd": float(np.nanstd([r[name] for r in rows])),
        }
        for name in names
    }
