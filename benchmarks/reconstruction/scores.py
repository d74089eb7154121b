"""Score a reconstruction: new views, albedo, normals, shape."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.evaluation.metrics import psnr, ssim
from clearpane.geometry.cameras import HALF_SIZE
from clearpane.images.picture import to_8bit
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.synthesis.objects.samples import ObjectSample
from clearpane.training.lirm.losses import channel_gain

_GRID, _POINTS = 128, 4000


def view_scores(colour: Tensor, sample: ObjectSample, targets: list[int]) -> dict[str, float]:
    """Average over new views: PSNR and SSIM of the whole picture on white, PSNR of the object's pixels."""
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
) -> dict[str, float | None]:
    """Score albedo and normals, over the pixels of the true object.

    Returned are albedo's PSNR (sRGB of linear values, one gain per picture and channel), its brightness error
    in stops, and the mean angle of the normals.

    The stops are the mean of ``|log2(mean a / mean a*)|`` over pictures and channels; means below 2^-10 are
    raised to it. Where the result has nothing it counts as black, and as a right angle off.
    """
    albedos, stops, angles = [], [], []
    for index, view in enumerate(targets):
        inside = sample.views.mask[view, 0] > 0.99
        result, truth = rendered["albedo"][index][:, inside], sample.views.albedo[view][:, inside]
        fitted = result * channel_gain(result[:, None], truth[:, None])[:, 0]
        error = (linear_to_srgb(fitted.clamp(0, 1)) - linear_to_srgb(truth.clamp(0, 1))).square().mean()
        albedos.append(-10 * float(torch.log10(error.clamp(min=1e-10))))
        levels, true_levels = (x.mean(1).clamp(min=2**-10).log2() for x in (result, truth))
        stops.append(float((levels - true_levels).abs().mean()))
        cosine = F.cosine_similarity(
            rendered["normal"][index][:, inside], sample.views.normal[view][:, inside], dim=0
        )
        angles.append(float(torch.rad2deg(cosine.clamp(-1, 1).acos()).mean()))
    return {
        "albedo": float(np.mean(albedos)),
        "brightness": float(np.mean(stops)),
        "normal": float(np.mean(angles)),
    }


@torch.no_grad()
def zero_points(field: HexaplaneField) -> Tensor:
    """Return points where a field's distance changes its sign, between grid points: [P, 3]."""
    axis = torch.linspace(-HALF_SIZE, HALF_SIZE, _GRID)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    parts = [field.signed_distance(p) for p in grid.reshape(-1, 3).split(1 << 16)]
    return crossings(torch.cat(parts).reshape(_GRID, _GRID, _GRID), grid)


def crossings(distance: Tensor, grid: Tensor) -> Tensor:
    """Return the zero crossings of distances on a grid [G, G, G] along its edges, linear between: [P, 3]."""
    points = []
    for axis in range(3):
        count = distance.shape[axis] - 1
        a, b = distance.narrow(axis, 0, count), distance.narrow(axis, 1, count)
        place_a, place_b = grid.narrow(axis, 0, count), grid.narrow(axis, 1, count)
        changed = (a < 0) != (b < 0)
        share = (a / (a - b))[changed][:, None]
        points.append(place_a[changed] + share * (place_b - place_a)[changed])
    return torch.cat(points)


def chamfer(found: Tensor, true: Tensor) -> float | None:
    """Compute the mean distance from each point to the nearest of the other set, both ways: millimetres.

    Only some points of either set are used, against all of the other. None for an empty set.
    """
    if not len(found):
        return None
    generator = torch.Generator().manual_seed(0)
    ways = []
    for asked, others in ((found, true), (true, found)):
        few = asked[torch.randperm(len(asked), generator=generator)[:_POINTS]]
        ways.append(
            torch.cat(
                [
                    torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
                    for part in few.split(256)
                ]
            ).mean()
        )
    return 500 * float(sum(ways))


def summary(rows: list[dict[str, float | None]]) -> dict[str, Any]:
    """Compute mean, standard deviation and number of objects of each figure, over the objects that have
    it."""
    result: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        result[name] = None
        if values:
            mean, spread = float(np.mean(values)), float(np.std(values))
            result[name] = {"mean": mean, "sd": spread, "objects": len(values)}
    return result
