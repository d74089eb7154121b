"""Rasterise triangles with a z-buffer, without loops over triangles."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from clearpane.geometry.mesh import Mesh

# Pixels processed together.
_AT_ONCE = 1 << 20


class Fragments(NamedTuple):
    """List the pixels of a picture that show a triangle.

    Attributes:
        pixel: Pixel indices, row * width + column, [P].
        face: Nearest triangle at each pixel, [P].
        weights: Barycentric coordinates in that triangle, perspective-correct, [P, 3].
    """

    pixel: np.ndarray
    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Interpolate vertex values [V, C] at the pixels, [P, C]."""
        corners = faces[self.face]
        return np.asarray(sum(values[corners[:, i]] * self.weights[:, i, None] for i in range(3)))


def rasterise(
    mesh: Mesh, camera_to_world: np.ndarray, intrinsics: np.ndarray, height: int, width: int
) -> Fragments:
    """Rasterise a mesh as a camera sees it, one ray through the middle of each pixel.

    Triangles that reach behind the camera are left out. Both sides are visible.

    Args:
        camera_to_world: Pose [4, 4], OpenCV axes.
        intrinsics: Focal lengths and principal point fx, fy, cx, cy [4], pixels.
        height, width: Size of the picture, pixels.
    """
    local = (mesh.vertices - camera_to_world[:3, 3]) @ camera_to_world[:3, :3]
    depth = local[:, 2]
    plane = local[:, :2] / np.where(depth > 0, depth, 1.0)[:, None] * intrinsics[:2] + intrinsics[2:]
    corners, inverse = plane[mesh.faces], 1 / np.where(depth > 0, depth, 1.0)[mesh.faces]
    seen = (depth[mesh.faces] > 0).all(1).nonzero()[0]
    nearest, owner = np.zeros(height * width), np.full(height * width, -1)
    for pixel, which, weights in covered_pixels(corners[seen], height, width):
        found = seen[which]
        nearness = (weights * inverse[found]).sum(-1)  # 1 / depth is linear in the picture
        better = (nearness > nearest[pixel]).nonzero()[0]
        better = better[np.argsort(nearness[better])]  # for one pixel, the last assignment counts
        nearest[pixel[better]] = nearness[better]
        owner[pixel[better]] = found[better]
    pixel = (owner >= 0).nonzero()[0]
    face = owner[pixel]
    row, column = np.divmod(pixel, width)
    weights = _weights(corners[face], np.stack([column, row], axis=-1) + 0.5) * inverse[face]
    return Fragments(pixel, face, weights / weights.sum(-1, keepdims=True))


def covered_pixels(
    corners: np.ndarray, height: int, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find the pixels whose centres lie in each of many triangles, some triangles at a time.

    Triangles are processed together by the size of their boxes, small ones first, so that there is no loop
    over them. A centre on an edge belongs to both triangles; triangles without area have none.

    Args:
        corners: Corners in pixels from the upper left corner [F, 3, 2]; they may lie outside the picture.

    Yields:
        pixel: Pixel indices, row * width + column, [P].
        face: Triangle of each pixel, [P].
        weights: Barycentric coordinates in the picture plane, [P, 3].
    """
    first = np.maximum(np.ceil(corners.min(1) - 0.5), 0)  # the smallest and largest pixel centres
    last = np.minimum(np.floor(corners.max(1) - 0.5), [width - 1, height - 1])
    extent = (last - first).max(1) + 1
    remaining, side = (last >= first).all(1).nonzero()[0], 2
    while len(remaining):
        own = remaining[extent[remaining] <= side]
        remaining = remaining[extent[remaining] > side]
        row, column = np.divmod(np.arange(side**2), side)
        step = max(1, _AT_ONCE // side**2)
        for start in range(0, len(own), step):
            faces = own[start : start + step]
            place = first[faces].astype(np.int64)[:, None] + np.stack([column, row], axis=-1)
            weights = _weights(corners[faces][:, None], place + 0.5)  # [F, side^2, 3]
            inside = (weights >= -1e-9).all(-1) & (place < [width, height]).all(-1)
            which, spot = inside.nonzero()
            chosen = place[which, spot]
            yield chosen[:, 1] * width + chosen[:, 0], faces[which], weights[which, spot]
        side *= 2


def _weights(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute barycentric coordinates of points [..., 2] in triangles [..., 3, 2]; NaN without area."""
    a, b, c = (corners[..., i, :] for i in range(3))
    area = _cross(b - a, c - a)
    scale = 1 / np.where(np.abs(area) > 1e-12, area, np.nan)
    second, third = _cross(points - a, c - a) * scale, _cross(b - a, points - a) * scale
    return np.stack([1 - second - third, second, third], axis=-1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
