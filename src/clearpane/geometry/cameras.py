"""Define pinhole cameras: poses, rays, projection.

Axes are OpenCV's: x to the right, y down, z forward. The centre of pixel (column i, row j) is
(i + 1/2, j + 1/2). The world is right-handed with y up, as in glTF; an object lies in the cube
``[-HALF_SIZE, HALF_SIZE]^3``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError

HALF_SIZE = 0.525
"""R, half the side of the cube that is reconstructed, metres."""
OBJECT_HALF_SIZE = 0.5
"""Half the longest side of an object's box in the cube, metres."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """Hold cameras for pictures of one size.

    Attributes:
        camera_to_world: Poses [..., 4, 4].
        intrinsics: Focal lengths and principal points fx, fy, cx, cy, pixels [..., 4].
        height, width: Size of the pictures, pixels.
    """

    camera_to_world: Tensor
    intrinsics: Tensor
    height: int
    width: int

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> "Cameras":
        """Select some of the cameras along the first axis; an integer selects one."""
        return Cameras(self.camera_to_world[index], self.intrinsics[index], self.height, self.width)

    @property
    def centres(self) -> Tensor:
        """Return the camera centres [..., 3]."""
        return self.camera_to_world[..., :3, 3]

    def resized(self, height: int, width: int) -> "Cameras":
        """Return the same cameras for pictures of another size."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height] * 2)
        return Cameras(self.camera_to_world, self.intrinsics * scale, height, width)

    def to(self, target: torch.device | torch.dtype | str) -> "Cameras":
        """Return the cameras on another device or with another data type."""
        return Cameras(self.camera_to_world.to(target), self.intrinsics.to(target), self.height, self.width)


def pixel_centres(cameras: Cameras) -> Tensor:
    """Return the centres of all pixels, (x, y) in pixels: [H, W, 2]."""
    x, y = (
        torch.arange(count, dtype=cameras.intrinsics.dtype, device=cameras.intrinsics.device) + 0.5
        for count in (cameras.width, cameras.height)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def pixel_rays(cameras: Cameras, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute rays through points of the pictures.

    Args:
        pixels: Points (x, y) [..., N, 2], pixels, with the cameras' leading axes or none.

    Returns:
        Origins and unit directions in the world, [..., N, 3] each.
    """
    focal, principal = cameras.intrinsics[..., None, :2], cameras.intrinsics[..., None, 2:]
    plane = (pixels - principal) / focal
    local = F.normalize(torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1), dim=-1)
    directions = _rotate(cameras.camera_to_world[..., :3, :3], local)
    return cameras.centres[..., None, :].expand_as(directions), directions


def picture_rays(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Compute rays through all pixels: origins and unit directions, [..., H, W, 3] each."""
    origins, directions = pixel_rays(cameras, pixel_centres(cameras).flatten(0, 1))
    shape = (*origins.shape[:-2], cameras.height, cameras.width, 3)
    return origins.reshape(shape), directions.reshape(shape)


def plucker_coordinates(origins: Tensor, directions: Tensor) -> Tensor:
    """Return rays as lines: direction d and moment o x d, [..., 6]; every origin on a line gives the same."""
    return torch.cat([directions, torch.linalg.cross(origins, directions)], dim=-1)


def project(cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project points into pictures.

    Args:
        points: Points in the world [..., N, 3], with the cameras' leading axes or none.

    Returns:
        Positions (x, y) [..., N, 2], pixels, and depths along the optical axis [..., N]. For points that are
        not in front of the camera (depth <= 0) the positions are meaningless.
    """
    rotation = cameras.camera_to_world[..., :3, :3].transpose(-1, -2)
    local = _rotate(rotation, points - cameras.centres[..., None, :])
    depth = local[..., 2]
    plane = local[..., :2] / torch.where(depth > 0, depth, 1.0)[..., None]
    return plane * cameras.intrinsics[..., None, :2] + cameras.intrinsics[..., None, 2:], depth


def _rotate(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Multiply [..., 3, 3] with each of [..., N, 3]; not by matmul, which autocast rounds to bfloat16."""
    x, y, z = (rotation[..., None, :, i] * vectors[..., i, None] for i in range(3))
    return x + y + z


def look_at(eyes: Tensor, target: Tensor, up: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> Tensor:
    """Return poses [..., 4, 4] of cameras at ``eyes`` [..., 3] that look at ``target`` [..., 3].

    The rotation of a camera that looks along ``up`` about its own axis is arbitrary.
    """
    forward = F.normalize(target - eyes, dim=-1)
    upright = eyes.new_tensor(up).expand_as(eyes)
    right = torch.linalg.cross(forward, upright)
    other = torch.linalg.cross(forward, upright.roll(1, -1))
    right = F.normalize(torch.where(right.norm(dim=-1, keepdim=True) > 1e-6, right, other), dim=-1)
    down = torch.linalg.cross(forward, right)
    pose = torch.eye(4, dtype=eyes.dtype, device=eyes.device).expand(*eyes.shape[:-1], 4, 4).clone()
    pose[..., :3, :] = torch.stack([right, down, forward, eyes], dim=-1)
    return pose


def pinhole_intrinsics(field_of_view: float, height: int, width: int) -> Tensor:
    """Return fx, fy, cx, cy for a field of view in degrees along the picture's longer side: [4]."""
    focal = max(height, width) / 2 / math.tan(math.radians(field_of_view) / 2)
    return torch.tensor([focal, focal, width / 2, height / 2])


def check_views(pictures: Tensor, masks: Tensor, cameras: Cameras, names: Sequence[str] = ()) -> None:
    """Refuse views from which nothing can be reconstructed.

    Args:
        pictures: Pictures [V, 3, H, W].
        masks: Coverage of the pixels by the object [V, 1, H, W], in [0, 1].
        cameras: Cameras of the V views.
        names: Names of the views for messages; without them, views are numbered from 0.

    Raises:
        ClearpaneError: There is a single view; sizes differ; numbers are not finite; a pose is invalid; a
            camera does not see the object's cube; a mask is empty, full or inverted. The message names the
            view.
    """
    views = len(pictures)
    if views < 2:
        raise ClearpaneError(f"{views} view: reconstruction needs at least two; eight are better")
    size = (cameras.height, cameras.width)
    if pictures.shape[1:] != (3, *size) or masks.shape != (views, 1, *size):
        raise ClearpaneError(
            f"pictures {list(pictures.shape)} and masks {list(masks.shape)} do not fit cameras of "
            f"{size[0]} x {size[1]}; bring all views to one size"
        )
    if len(cameras.camera_to_world) != views:
        raise ClearpaneError(
            f"{views} pictures and {len(cameras.camera_to_world)} cameras; give one for each"
        )
    numbered = [f"view {view}" for view in range(views)]
    for view, name in zip(range(views), names or numbered, strict=True):
        _check_camera(cameras, view, name)
        if not torch.isfinite(pictures[view]).all():
            raise ClearpaneError(f"{name}: the picture has values that are not finite")
        _check_mask(masks[view, 0], cameras, view, name)


def reaches_frame(mask: np.ndarray | Tensor) -> bool:
    """Return True if the object of a mask [H, W] touches the picture's frame, and may extend beyond it."""
    return any(bool((edge > 0.5).any()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _check_camera(cameras: Cameras, view: int, name: str) -> None:
    pose, intrinsics = cameras.camera_to_world[view], cameras.intrinsics[view]
    if not (torch.isfinite(pose).all() and torch.isfinite(intrinsics).all()):
        raise ClearpaneError(f"{name}: the camera has numbers that are not finite; check its pose")
    if (intrinsics[:2] <= 0).any():
        raise ClearpaneError(f"{name}: focal lengths are {intrinsics[:2].tolist()}; give values above 0")
    rotation = pose[:3, :3]
    identity = torch.eye(3, dtype=pose.dtype, device=pose.device)
    if (rotation @ rotation.T - identity).abs().max() > 1e-2 or torch.linalg.det(rotation) < 0:
        raise ClearpaneError(f"{name}: camera_to_world holds no rotation; check its axes and scale")
    corners = torch.cartesian_prod(*[pose.new_tensor([-HALF_SIZE, HALF_SIZE])] * 3)
    pixels, depth = project(
        Cameras(pose, intrinsics, cameras.height, cameras.width),
        torch.cat([corners, corners.new_zeros(1, 3)]),
    )
    size = pixels.new_tensor([cameras.width, cameras.height])
    front = pixels[depth > 0]
    seen = len(front) and ((front.amax(0) > 0) & (front.amin(0) < size)).all()
    if depth[-1] <= 0 or not seen:
        raise ClearpaneError(
            f"{name}: the camera looks away from the object, which is around the origin within "
            f"{HALF_SIZE}; check the pose's convention (OpenCV: z forward) and the scene's scale"
        )


def _check_mask(mask: Tensor, cameras: Cameras, view: int, name: str) -> None:
    inside = mask > 0.5
    if not torch.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise ClearpaneError(f"{name}: the mask has values outside [0, 1]")
    if not inside.any():
        raise ClearpaneError(f"{name}: the mask is empty; it must be white where the object is")
    edge = torch.cat([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if inside.all():
        raise ClearpaneError(f"{name}: the mask is full; it must be white where the object is, only")
    centre = pixel_at_origin(cameras, view)
    if edge.float().mean() > 0.9 and not inside[centre]:
        raise ClearpaneError(f"{name}: the mask is inverted; it must be white where the object is")


def pixel_at_origin(cameras: Cameras, view: int) -> tuple[int, int]:
    """Return row and column of the pixel that shows the world's origin, or is nearest to it."""
    origin = cameras.camera_to_world.new_zeros(1, 3)
    x, y = project(cameras[[view]], origin)[0][0, 0].tolist()
    return min(max(int(y), 0), cameras.height - 1), min(max(int(x), 0), cameras.width - 1)


def spread_order(cameras: Cameras, without: Sequence[int], first: int | None = None) -> list[int]:
    """Order the other cameras, each the farthest from those before, so that the first few see all sides.

    Args:
        without: Indices of the cameras to leave out.
        first: Index of the first camera; by default the first that is not left out.
    """
    directions = F.normalize(cameras.centres, dim=-1)
    order = [next(i for i in range(len(directions)) if i not in without) if first is None else first]
    while len(order) < len(directions) - len(without):
        nearest = (directions @ directions[order].T).amax(-1)
        nearest[[*order, *without]] = 2
        order.append(int(nearest.argmin()))
    return order


def cube_interval(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Find where rays enter and leave the cube ``[-R, R]^3``: [N, 1] each; equal where they miss."""
    safe = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    near, far = (-HALF_SIZE - origins) / safe, (HALF_SIZE - origins) / safe
    first = torch.minimum(near, far).amax(-1, keepdim=True).clamp(min=0)
    last = torch.maximum(near, far).amin(-1, keepdim=True)
    return first, torch.maximum(first, last)
