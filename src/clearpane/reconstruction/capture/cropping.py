"""Crop photographs for reconstruction: square pinhole views of one size, in the cube's world."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import OBJECT_HALF_SIZE, Cameras, check_views
from clearpane.reconstruction.capture.cutting_out import cut_out_all
from clearpane.reconstruction.capture.masks import Segmenter
from clearpane.reconstruction.capture.photographs import Photograph, PhotographSet
from clearpane.reconstruction.capture.placement import Placement, place_object
from clearpane.reconstruction.capture.through_glass import GlassRemoval, Remover, cut_by_frame
from clearpane.reconstruction.field.evidence import Evidence, add_views, hull_depth

# Margin on either side of the object's box, as a fraction of the box.
_MARGIN = 0.06
# Voxels along a side of the visual hull that limits all masks.
_HULL_SIDE = 48
# Smallest fraction of a mask inside the hull; below it, the mask or a pose is wrong.
_ALLOWED = 0.95


@dataclass(frozen=True, eq=False)
class Capture:
    """Hold the views of an object, ready for reconstruction.

    Attributes:
        pictures: Views on white [V, 3, S, S], sRGB in [0, 1].
        masks: Coverage by the object [V, 1, S, S], in [0, 1].
        cameras: Cameras of the V views, in the cube's world.
        names: File names of the photographs.
        placement: Transform from the photographs' world to the cube's.
        warnings: Messages for the user: photographs that are left out, or contradict the others.
        weights: Trust in the pixels' colours [V, 1, S, S], in [0, 1]; None for 1 everywhere. See
            `clearpane.reconstruction.fitting.agreement`.
    """

    pictures: Tensor
    masks: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    placement: Placement
    warnings: tuple[str, ...] = ()
    weights: Tensor | None = None


def load_capture(
    photographs: PhotographSet,
    side: int,
    segmenter: Segmenter | None = None,
    placement: Placement | None = None,
    remover: Remover | None = None,
) -> Capture:
    """Read, undistort and crop all photographs that show the object.

    Args:
        photographs: Photographs with their cameras.
        side: Side of the views, pixels.
        segmenter: Finds the object in photographs that have neither a mask file nor alpha; see
            `clearpane.reconstruction.capture.cutting_out.cut_out_all`, also for its default.
        placement: Transform to the cube's world of earlier views; by default these views determine it.
        remover: Takes the reflections out of photographs through glass; None if there is no glass.

    Raises:
        ClearpaneError: A picture or mask cannot be read, differs in shape from its camera, or shows no
            object, and too few others do; the object is not found; fewer than two photographs are given.
    """
    if len(photographs.photographs) < 2:
        raise ClearpaneError("reconstruction needs at least two photographs; eight are better")
    found = cut_out_all(photographs, segmenter, None if remover is None else GlassRemoval(remover))
    posed = tuple(view.photograph for view in found.views)
    if placement is None:
        shown = replace(photographs, photographs=posed)
        placement = place_object(shown, [view.small for view in found.views])
    views = [cut_out(view.photograph, *view.taken(), placement, side) for view in found.views]
    pictures, cut_masks, poses, intrinsics = (torch.stack(parts) for parts in zip(*views, strict=True))
    cameras = Cameras(poses, intrinsics, side, side)
    allowed = _within_hull(pictures, cut_masks, cameras)
    names = tuple(photograph.path.name for photograph in posed)
    warnings = found.warnings + _contradicted(cut_masks, allowed, names)
    if remover is not None:
        warnings += cut_by_frame([view.small for view in found.views])
    pictures, cut_masks = 1 - allowed * (1 - pictures), allowed * cut_masks
    check_views(pictures, cut_masks, cameras, names)
    return Capture(pictures, cut_masks, cameras, names, placement, warnings)


def cut_out(
    photograph: Photograph, pixels: np.ndarray, mask: np.ndarray, placement: Placement, side: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crop one view: the object on white [3, S, S], its mask [1, S, S], pose [4, 4], intrinsics [4].

    The window is the smallest square around the object's box in the undistorted picture.

    Args:
        photograph: Camera of the picture, and its path for messages.
        pixels: Photograph [H, W, 3], sRGB in [0, 1].
        mask: Mask [H, W], in [0, 1].
        placement: Transform from the photographs' world to the cube's.
        side: Side of the view, pixels.

    Raises:
        ClearpaneError: The camera stands within the object's box.
    """
    inside = mask[..., None]
    pose = placement.place_pose(photograph.camera_to_world)
    low, size = _window(pose, photograph)
    focal = side / size
    middles = (np.arange(side) + 0.5) / focal
    plane = np.stack(np.meshgrid(low[0] + middles, low[1] + middles, indexing="xy"), axis=-1)
    values = torch.from_numpy(np.concatenate([pixels * inside, inside], axis=-1))
    found = _sample(values.permute(2, 0, 1).float(), photograph, plane, focal)
    colour, covered = found[:3], found[3:].clamp(0, 1)
    intrinsics = torch.tensor([focal, focal, -low[0] * focal, -low[1] * focal]).float()
    return (
        (colour + 1 - covered).clamp(0, 1),
        covered,
        torch.from_numpy(pose).float(),
        intrinsics,
    )


def _window(pose: np.ndarray, photograph: Photograph) -> tuple[np.ndarray, float]:
    """Return corner and side of the smallest square around the object's box, on the plane z = 1."""
    corners = np.stack(np.meshgrid(*[[-OBJECT_HALF_SIZE, OBJECT_HALF_SIZE]] * 3), axis=-1).reshape(-1, 3)
    local = (corners - pose[:3, 3]) @ pose[:3, :3]
    if (local[:, 2] <= 1e-3).any():
        raise ClearpaneError(
            f"{photograph.path}: its camera stands within the object's box; the masks or poses are wrong, or "
            "no view shows the whole object"
        )
    plane = local[:, :2] / local[:, 2:]
    low, high = plane.min(0), plane.max(0)
    size = float((high - low).max()) * (1 + 2 * _MARGIN)
    return (low + high) / 2 - size / 2, size


def _sample(values: Tensor, photograph: Photograph, plane: np.ndarray, focal: float) -> Tensor:
    """Sample values [C, H, W] at points of the undistorted plane [S, S, 2]; 0 outside the photograph."""
    lens = photograph.lens_for(values.shape[-2:])
    factor = max(1, int(max(lens.focal) / focal))  # a view's pixel covers several: average them
    if factor > 1:
        values = F.avg_pool2d(values[None], factor, ceil_mode=True)[0]
        lens = lens.scaled(1 / factor, 1 / factor)
    height, width = values.shape[-2:]
    pixels = np.where(lens.sees(plane)[..., None], lens.project(plane) / [width, height], -1)
    place = torch.from_numpy(2 * pixels - 1).float()
    return F.grid_sample(values[None], place[None], align_corners=False)[0]


def _within_hull(pictures: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Return where each view can show the object by all views' masks: 0 or 1, [V, 1, S, S].

    Elsewhere a mask covers things that stand behind the object or beside it in that view alone. The hull is
    enlarged by a voxel or two, so that thin parts of the object are kept.
    """
    side = masks.shape[-1]
    voxel = math.ceil(side / _HULL_SIDE)
    grown = F.max_pool2d(masks, 2 * voxel + 1, 1, voxel)
    hull = add_views(Evidence.empty(_HULL_SIDE, pictures), pictures, grown, cameras).hull
    shown = hull_depth(hull, cameras.resized(2 * _HULL_SIDE, 2 * _HULL_SIDE))[:, None] > 0
    return F.interpolate(F.max_pool2d(shown.to(masks), 3, 1, 1), (side, side))


def _contradicted(masks: Tensor, allowed: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Warn of each view whose mask [V, 1, S, S] lies outside the hull of all by more than 5 %."""
    kept = (masks * allowed).sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp(min=1)
    return tuple(
        f"{name}: {1 - float(share):.0%} of its mask is where others show no object; it is cut off. "
        "Check the mask, the pose and the intrinsics"
        for name, share in zip(names, kept, strict=True)
        if share < _ALLOWED
    )
