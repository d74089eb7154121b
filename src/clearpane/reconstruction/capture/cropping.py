"""Photographs cut out for reconstruction: square pinhole views of one size, in the cube's world."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import OBJECT_HALF_SIZE, Cameras, check_views
from clearpane.images.reading import read_picture
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter
from clearpane.reconstruction.capture.masks import Segmenter, find_object, given_mask
from clearpane.reconstruction.capture.photographs import Photograph, PhotographSet
from clearpane.reconstruction.capture.placement import Placement, place_object
from clearpane.reconstruction.field.evidence import Evidence, add_views, hull_depth

# Beyond the object's box on either side, in shares of it.
_MARGIN = 0.06
# Masks are looked at this small to find the object.
_MASK_SIDE = 256
# Voxels along the cube of the hull that no view may show anything beyond.
_HULL_SIDE = 48
# What of a mask the others have to allow, or something is wrong with it or with a pose.
_ALLOWED = 0.95
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
        warnings: for the user: which photographs the others contradict.
    """

    pictures: Tensor
    masks: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    placement: Placement
    warnings: tuple[str, ...] = ()


def load_capture(photographs: PhotographSet, side: int, segmenter: Segmenter = backdrop_segmenter) -> Capture:
    """Read, undistort and cut out all photographs.

    Args:
        side: of the views, pixels.
        segmenter: finds the object in photographs that have neither a mask file nor alpha.

    Raises:
        ClearpaneError: a picture or mask cannot be read, is of another form than its camera, or shows no
            object; the object is not found; fewer than two photographs.
    """
    if len(photographs.photographs) < 2:
        raise ClearpaneError("reconstruction needs at least two photographs; eight are better")
    small, packed = [], []
    for photograph in photographs.photographs:
        mask = load_photograph(photograph, segmenter)[1]
        small.append(_small(mask))
        packed.append(_PackedMask.of(mask))
    placement = place_object(photographs, small)
    views = [
        cut_out(photograph, mask.unpacked(), placement, side)
        for photograph, mask in zip(photographs.photographs, packed, strict=True)
    ]
    pictures, cut_masks, poses, intrinsics = (torch.stack(parts) for parts in zip(*views, strict=True))
    cameras = Cameras(poses, intrinsics, side, side)
    allowed = _within_hull(pictures, cut_masks, cameras)
    names = tuple(p.path.name for p in photographs.photographs)
    warnings = _contradicted(cut_masks, allowed, names)
    pictures, cut_masks = 1 - allowed * (1 - pictures), allowed * cut_masks
    check_views(pictures, cut_masks, cameras, names)
    return Capture(pictures, cut_masks, cameras, names, placement, warnings)


def load_photograph(
    photograph: Photograph, segmenter: Segmenter = backdrop_segmenter
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [H, W, 3] and mask [H, W] in [0, 1]: the mask file's, or the alpha, or else the segmenter's.

    Raises:
        ClearpaneError: see `load_capture`.
    """
    picture = read_picture(photograph.path)
    _check_form(photograph, picture.pixels)
    pixels = picture.pixels.clip(0, 1)
    mask = given_mask(picture, photograph.mask)
    if mask is None:
        mask = find_object(pixels, segmenter, photograph.path)
    inside = mask > 0.5
    if not inside.any() or inside.all():
        what = "full; it covers everything" if inside.any() else "empty; it covers nothing"
        raise ClearpaneError(f"{photograph.mask or photograph.path}: the mask is {what}")
    return pixels, mask


def cut_out(
    photograph: Photograph, mask: np.ndarray, placement: Placement, side: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One view: the object on white [3, S, S], its mask [1, S, S], pose [4, 4], intrinsics [4].

    The window is the smallest square about the object's box, of the picture as a lens without distortion
    would have taken it.

    Args:
        mask: of the photograph, at its full size, [H, W] in [0, 1].

    Raises:
        ClearpaneError: the picture cannot be read; its camera stands within the object's box.
    """
    pixels, inside = read_picture(photograph.path).pixels.clip(0, 1), mask[..., None]
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
    """Upper left corner and side, on the plane z = 1, of the smallest square about the object's box."""
    corners = np.stack(np.meshgrid(*[[-OBJECT_HALF_SIZE, OBJECT_HALF_SIZE]] * 3), axis=-1).reshape(-1, 3)
    local = (corners - pose[:3, 3]) @ pose[:3, :3]
    if (local[:, 2] <= 1e-3).any():
        raise ClearpaneError(
            f"{photograph.path}: its camera stands within the object's box; the masks or poses are wrong, or "
            "no view shows the object whole"
        )
    plane = local[:, :2] / local[:, 2:]
    low, high = plane.min(0), plane.max(0)
    size = float((high - low).max()) * (1 + 2 * _MARGIN)
    return (low + high) / 2 - size / 2, size


def _sample(values: Tensor, photograph: Photograph, plane: np.ndarray, focal: float) -> Tensor:
    """Values [C, H, W] where points of the undistorted plane are in the photograph; 0 beyond it."""
    lens = photograph.lens_for(values.shape[-2:])
    factor = max(1, int(max(lens.focal) / focal))  # several pixels for one: their mean
    if factor > 1:
        values = F.avg_pool2d(values[None], factor, ceil_mode=True)[0]
        lens = lens.scaled(1 / factor, 1 / factor)
    height, width = values.shape[-2:]
    pixels = np.where(lens.sees(plane)[..., None], lens.project(plane) / [width, height], -1)
    place = torch.from_numpy(2 * pixels - 1).float()
    return F.grid_sample(values[None], place[None], align_corners=False)[0]


def _check_form(photograph: Photograph, pixels: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    horizontal, vertical = width / photograph.size[1], height / photograph.size[0]
    if abs(horizontal / vertical - 1) > _FORM:
        raise ClearpaneError(
            f"{photograph.path}: is {width} x {height}, but its camera is for {photograph.size[1]} x "
            f"{photograph.size[0]}; intrinsics are mixed up, or the picture was turned"
        )


@dataclass(frozen=True)
class _PackedMask:
    """A mask in bytes, compressed: a hundred of large photographs have to fit; nearly all of it is 0 or 1."""

    data: bytes
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> "_PackedMask":
        return cls(zlib.compress((255 * mask + 0.5).astype(np.uint8).tobytes(), level=1), mask.shape)

    def unpacked(self) -> np.ndarray:
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape) / np.float32(255)


def _small(mask: np.ndarray) -> np.ndarray:
    """A mask small enough to find the object by, [h, w] in [0, 1]."""
    values = torch.from_numpy(mask)[None, None].float()
    scale = min(1.0, _MASK_SIDE / max(mask.shape))
    size = [max(1, round(n * scale)) for n in mask.shape]
    return F.interpolate(values, size, mode="area")[0, 0].numpy()


def _within_hull(pictures: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Where the views can show the object by all views' masks, [V, 1, S, S]: 0 or 1.

    What a mask has elsewhere stands behind the object or beside it, in that view alone. The hull is taken a
    voxel or two larger than it is, so that nothing of the object is lost, however thin.
    """
    side = masks.shape[-1]
    voxel = math.ceil(side / _HULL_SIDE)
    grown = F.max_pool2d(masks, 2 * voxel + 1, 1, voxel)
    hull = add_views(Evidence.empty(_HULL_SIDE, pictures), pictures, grown, cameras).hull
    shown = hull_depth(hull, cameras.resized(2 * _HULL_SIDE, 2 * _HULL_SIDE))[:, None] > 0
    return F.interpolate(F.max_pool2d(shown.to(masks), 3, 1, 1), (side, side))


def _contradicted(masks: Tensor, allowed: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """A warning for each view much of whose mask is outside the hull of them all, [V, 1, S, S]."""
    kept = (masks * allowed).sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp(min=1)
    return tuple(
        f"{name}: {1 - float(share):.0%} of its mask is where others show no object; it is cut off. "
        "Check the mask, the pose and the intrinsics"
        for name, share in zip(names, kept, strict=True)
        if share < _ALLOWED
    )
