"""Photographs cut out for reconstruction: square pinhole views of one size, in the cube's world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.reconstruction.cameras import OBJECT_HALF_SIZE, Cameras, check_views
from clearpane.reconstruction.photographs import Lens, Photograph, PhotographSet
from clearpane.reconstruction.placing import Placement, place_by_masks

# Beyond the object's box on either side, in shares of it.
_MARGIN = 0.06
# Masks are looked at this small to find the object.
_MASK_SIDE = 256
# How far a picture's form may be from its camera's.
_FORM = 0.01


@dataclass(frozen=True, eq=False)
class Capture:
    """Views of an object, ready to be reconstructed.

    Attributes:
        pictures: on white, sRGB in [0, 1], [V, 3, S, S].
        masks: [V, 1, S, S] in [0, 1].
        cameras: V, in the cube's world.
        names: of the photographs.
        placement: how the photographs' world became the cube's.
    """

    pictures: Tensor
    masks: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    placement: Placement


def load_capture(photographs: PhotographSet, side: int) -> Capture:
    """Read, undistort and cut out all photographs.

    The mask of each is its mask file, or the picture's alpha.

    Args:
        side: of the views, pixels.

    Raises:
        ClearpaneError: a picture or mask cannot be read, is of another form than its camera, or shows no
            object; there is no mask; fewer than two photographs.
    """
    if len(photographs.photographs) < 2:
        raise ClearpaneError("reconstruction needs at least two photographs; eight are better")
    masks = [_small_mask(photograph) for photograph in photographs.photographs]
    placement = place_by_masks(photographs.photographs, masks, photographs.up)
    views = [cut_out(photograph, placement, side) for photograph in photographs.photographs]
    pictures, cut_masks, poses, intrinsics = (torch.stack(parts) for parts in zip(*views, strict=True))
    cameras = Cameras(poses, intrinsics, side, side)
    check_views(pictures, cut_masks, cameras)
    return Capture(
        pictures,
        cut_masks,
        cameras,
        tuple(p.path.name for p in photographs.photographs),
        placement,
    )


def load_photograph(photograph: Photograph) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [H, W, 3] and mask [H, W] in [0, 1].

    Raises:
        ClearpaneError: see `load_capture`.
    """
    picture = read_picture(photograph.path)
    _check_form(photograph, picture.pixels)
    if photograph.mask is not None:
        mask = read_picture(photograph.mask).pixels.mean(-1)
        if mask.shape != picture.pixels.shape[:2]:
            raise ClearpaneError(
                f"{photograph.mask}: the mask is of another size than {photograph.path.name}"
            )
    elif picture.alpha is not None:
        mask = picture.alpha
    else:
        raise ClearpaneError(
            f"{photograph.path}: has no mask; give one in a folder of masks, or as the picture's alpha"
        )
    if not (mask > 0.5).any():
        raise ClearpaneError(f"{photograph.mask or photograph.path}: the mask is empty; it covers nothing")
    if (mask > 0.5).all():
        raise ClearpaneError(f"{photograph.mask or photograph.path}: the mask is full; it covers everything")
    return picture.pixels.clip(0, 1), np.clip(mask, 0, 1)


def cut_out(photograph: Photograph, placement: Placement, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One view: the object on white [3, S, S], its mask [1, S, S], pose [4, 4], intrinsics [4].

    The window is the smallest square about the object's box, of the picture as a lens without distortion
    would have taken it.
    """
    pixels, mask = load_photograph(photograph)
    pose = placement.place_pose(photograph.camera_to_world)
    low, size = _window(pose)
    focal = side / size
    middles = (np.arange(side) + 0.5) / focal
    plane = np.stack(np.meshgrid(low[0] + middles, low[1] + middles, indexing="xy"), axis=-1)
    values = torch.from_numpy(np.concatenate([pixels * mask[..., None], mask[..., None]], axis=-1))
    found = _sample(values.permute(2, 0, 1).float(), photograph, plane, focal)
    colour, inside = found[:3], found[3:].clamp(0, 1)
    intrinsics = torch.tensor([focal, focal, -low[0] * focal, -low[1] * focal]).float()
    return (
        (colour + 1 - inside).clamp(0, 1),
        inside,
        torch.from_numpy(pose).float(),
        intrinsics,
    )


def _window(pose: np.ndarray) -> tuple[np.ndarray, float]:
    """Upper left corner and side, on the plane z = 1, of the smallest square about the object's box."""
    corners = np.stack(np.meshgrid(*[[-OBJECT_HALF_SIZE, OBJECT_HALF_SIZE]] * 3), axis=-1).reshape(-1, 3)
    local = (corners - pose[:3, 3]) @ pose[:3, :3]
    if (local[:, 2] <= 1e-3).any():
        raise ClearpaneError("a camera stands within the object's box; the masks or poses are wrong")
    plane = local[:, :2] / local[:, 2:]
    low, high = plane.min(0), plane.max(0)
    size = float((high - low).max()) * (1 + 2 * _MARGIN)
    return (low + high) / 2 - size / 2, size


def _sample(values: Tensor, photograph: Photograph, plane: np.ndarray, focal: float) -> Tensor:
    """Values [C, H, W] where points of the undistorted plane are in the photograph; 0 beyond it."""
    lens = _fitted(photograph, values.shape[-2:])
    factor = max(1, int(max(lens.focal) / focal))  # several pixels for one: their mean
    if factor > 1:
        values = F.avg_pool2d(values[None], factor, ceil_mode=True)[0]
        lens = lens.scaled(1 / factor, 1 / factor)
    height, width = values.shape[-2:]
    pixels = lens.project(plane) / [width, height]
    place = torch.from_numpy(2 * pixels - 1).float()
    return F.grid_sample(values[None], place[None], align_corners=False)[0]


def _fitted(photograph: Photograph, size: Sequence[int]) -> Lens:
    """The lens for the picture's own size."""
    return photograph.lens.scaled(size[1] / photograph.size[1], size[0] / photograph.size[0])


def _check_form(photograph: Photograph, pixels: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    horizontal, vertical = width / photograph.size[1], height / photograph.size[0]
    if abs(horizontal / vertical - 1) > _FORM:
        raise ClearpaneError(
            f"{photograph.path}: is {width} x {height}, but its camera is for {photograph.size[1]} x "
            f"{photograph.size[0]}; intrinsics are mixed up, or the picture was turned"
        )


def _small_mask(photograph: Photograph) -> np.ndarray:
    _, mask = load_photograph(photograph)
    values = torch.from_numpy(mask).float()[None, None]
    scale = _MASK_SIDE / max(mask.shape)
    if scale >= 1:
        return mask
    size = [max(1, round(n * scale)) for n in mask.shape]
    return F.interpolate(values, size, mode="area")[0, 0].numpy()
