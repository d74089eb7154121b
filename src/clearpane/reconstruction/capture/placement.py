"""Locate the object in the photographs' world, and map its box to the cube that is reconstructed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.cameras import OBJECT_HALF_SIZE, reaches_frame
from clearpane.reconstruction.capture.photographs import Photograph, PhotographSet
from clearpane.reconstruction.capture.structure_from_motion import triangulate

_GRID = 40
_ROUNDS = 4
# Size of the next round's grid relative to the hull's box, so that a hull cut off by the grid is noticed.
_ROOM = 1.3
# Percentage of the points dropped at either end as outliers.
_STRAY = 2.0
# Smallest number of points that locate an object.
_LEAST_POINTS = 20


@dataclass(frozen=True, eq=False)
class Placement:
    """Map the photographs' world to the cube by a similarity: ``scale * rotation @ (x - centre)``.

    Attributes:
        centre: Centre of the object's box [3].
        rotation: Rotation [3, 3] that maps up to +y.
        scale: Factor that makes the box's longest side 1.
    """

    centre: np.ndarray
    rotation: np.ndarray
    scale: float

    def place_pose(self, camera_to_world: np.ndarray) -> np.ndarray:
        """Return a camera's pose in the cube's world, [4, 4]."""
        pose = np.eye(4)
        pose[:3, :3] = self.rotation @ camera_to_world[:3, :3]
        pose[:3, 3] = self.place(camera_to_world[:3, 3])
        return pose

    def place(self, points: np.ndarray) -> np.ndarray:
        """Map points [..., 3] to the cube's world."""
        return np.asarray(self.scale * (points - self.centre) @ self.rotation.T)


def axes_meet(poses: Sequence[np.ndarray]) -> np.ndarray:
    """Find the point nearest to all cameras' optical axes, by least squares: [3].

    ``(sum_i I - d_i d_i^T) c = sum_i (I - d_i d_i^T) o_i``.

    Raises:
        ClearpaneError: The axes are parallel.
    """
    matrix, side = np.zeros((3, 3)), np.zeros(3)
    for pose in poses:
        away = np.eye(3) - np.outer(pose[:3, 2], pose[:3, 2])
        matrix += away
        side += away @ pose[:3, 3]
    if np.linalg.cond(matrix) > 1e6:
        raise ClearpaneError("the cameras all point the same way; photographs from all around are needed")
    return np.linalg.solve(matrix, side)


def upright(poses: Sequence[np.ndarray], up: np.ndarray | None) -> np.ndarray:
    """Return a rotation [3, 3] that brings up to +y: the given up, or the mean of the cameras' own.

    The world's x stays as near to x as it can: where z is up, ``(x, y, z)`` becomes ``(x, z, -y)``.
    """
    mean = -np.mean([pose[:3, 1] for pose in poses], axis=0)
    direction = mean if up is None else up
    length = np.linalg.norm(direction)
    y = direction / length if length > 1e-3 else np.array([0.0, 1.0, 0.0])
    along = np.eye(3)[0 if abs(y[0]) < 0.9 else 2]
    x = along - (along @ y) * y
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


def place_object(photographs: PhotographSet, masks: Sequence[np.ndarray]) -> Placement:
    """Place an object by its visual hull; where every view cuts it off, by the scene's points on it.

    The hull cannot bound an object that no view shows whole. The points that all masks allow can, as far as
    the photographs show it. If no points are given, they are triangulated, which takes a minute, provided
    that pycolmap is installed.

    Args:
        masks: Mask of each photograph [h, w], in [0, 1], with its aspect ratio and any size.

    Raises:
        ClearpaneError: The masks have no point of space in common, or a picture cannot be read.
    """
    posed = photographs.photographs
    if all(reaches_frame(mask) for mask in masks):
        points = photographs.points if len(photographs.points) else _triangulated(photographs)
        for photograph, mask in zip(posed, masks, strict=True):
            points = points[_within_mask(photograph, mask, points, 0.0)]
        if len(points) >= _LEAST_POINTS:
            return place_by_points(points, [p.camera_to_world for p in posed], photographs.up)
    return place_by_masks(posed, masks, photographs.up)


def _triangulated(photographs: PhotographSet) -> np.ndarray:
    """Triangulate points of the scene, [P, 3]; return none without pycolmap."""
    try:
        return triangulate(photographs).points
    except MissingExtraError:
        return np.zeros((0, 3))


def place_by_masks(
    photographs: Sequence[Photograph], masks: Sequence[np.ndarray], up: np.ndarray | None
) -> Placement:
    """Place an object by its visual hull, whose box is found on a grid that closes in on it.

    Args:
        masks: Mask of each photograph [h, w], in [0, 1], with its aspect ratio and any size.

    Raises:
        ClearpaneError: The masks have no point of space in common.
    """
    poses = [p.camera_to_world for p in photographs]
    rotation = upright(poses, up)
    centre = axes_meet(poses)
    half = np.full(3, 0.7 * min(float(np.linalg.norm(pose[:3, 3] - centre)) for pose in poses))
    for _ in range(_ROUNDS):
        # An object thinner than the grid must not fall between its points.
        reach = float(half.max()) / _GRID
        axis = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) * half
        points = grid @ rotation + centre
        inside = np.ones(len(points), bool)
        for photograph, mask in zip(photographs, masks, strict=True):
            inside &= _within_mask(photograph, mask, points, reach)
        if not inside.any():
            raise ClearpaneError(
                "the masks have no point of space in common: check that they show the object, and the poses"
            )
        found = grid[inside]
        cell = half / _GRID
        low, high = found.min(0) - cell, found.max(0) + cell
        centre = centre + (low + high) / 2 @ rotation
        half = np.full(3, _ROOM * (high - low).max() / 2)
    return Placement(centre, rotation, 2 * OBJECT_HALF_SIZE / float((high - low).max()))


def place_by_points(points: np.ndarray, poses: Sequence[np.ndarray], up: np.ndarray | None) -> Placement:
    """Place an object by points on it, [P, 3]: the box of all but the outliers."""
    rotation = upright(poses, up)
    turned = points @ rotation.T
    low, high = np.percentile(turned, [_STRAY, 100 - _STRAY], axis=0)
    return Placement((low + high) / 2 @ rotation, rotation, 2 * OBJECT_HALF_SIZE / float((high - low).max()))


def _within_mask(photograph: Photograph, mask: np.ndarray, points: np.ndarray, reach: float) -> np.ndarray:
    """Return True for points within ``reach`` of a photograph's mask.

    Points outside the frame are not allowed, unless the frame cuts the mask off: then they may be the object.
    """
    pose = photograph.camera_to_world
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    front = local[:, 2] > 1e-6
    plane = local[:, :2] / np.where(front, local[:, 2], 1.0)[:, None]
    pixels = np.nan_to_num(photograph.lens.project(plane), nan=-1, posinf=-1, neginf=-1).clip(-1, 1e9)
    height, width = photograph.size
    row = np.floor(pixels[:, 1] * mask.shape[0] / height).astype(np.int64)
    column = np.floor(pixels[:, 0] * mask.shape[1] / width).astype(np.int64)
    seen = front & photograph.lens.sees(plane)
    seen &= (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
    shown = mask > 0.5
    inside = front & ~seen if reaches_frame(mask) else np.zeros(len(points), bool)
    nearest = float(local[front, 2].min()) if front.any() else 1.0
    pixel = max(photograph.lens.focal) * mask.shape[1] / width / nearest
    inside[seen] = _dilated(shown, int(np.ceil(reach * pixel)))[row[seen], column[seen]]
    return inside


def _dilated(mask: np.ndarray, by: int) -> np.ndarray:
    """Grow a mask by a number of pixels along its rows and columns."""
    by = min(by, max(mask.shape))  # a point next to the camera would need millions
    for axis in range(2):
        sums = np.cumsum(np.moveaxis(mask, axis, 0).astype(np.int64), axis=0)
        padded = np.concatenate(
            [np.zeros((by + 1, *sums.shape[1:]), np.int64), sums, sums[-1:].repeat(by, 0)]
        )
        mask = np.moveaxis(padded[2 * by + 1 :] > padded[: len(sums)], 0, axis)
    return mask
