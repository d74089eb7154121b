"""Describe posed photographs as their files do, before anything is cut out or resized."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError


@dataclass(frozen=True)
class Lens:
    """Model a pinhole camera with OpenCV's radial and tangential distortion.

    A direction with ``x = X / Z``, ``y = Y / Z`` and ``r^2 = x^2 + y^2`` is projected, in pixels, to

        fx (x d + 2 p1 x y + p2 (r^2 + 2 x^2)) + cx,    d = 1 + k1 r^2 + k2 r^4 + k3 r^6,

    and in y correspondingly, with ``p1 (r^2 + 2 y^2) + 2 p2 x y``.

    Attributes:
        focal: Focal lengths fx, fy, pixels.
        principal: Principal point cx, cy, pixels; the centre of the first pixel is (1/2, 1/2).
        radial: Radial coefficients k1, k2, k3.
        tangential: Tangential coefficients p1, p2.
    """

    focal: tuple[float, float]
    principal: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

    def distort(self, plane: np.ndarray) -> np.ndarray:
        """Map the undistorted plane z = 1 to the distorted one: [..., 2] -> [..., 2]."""
        x, y = plane[..., 0], plane[..., 1]
        square = x * x + y * y
        k1, k2, k3 = self.radial
        p1, p2 = self.tangential
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
                y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )

    def project(self, plane: np.ndarray) -> np.ndarray:
        """Map the undistorted plane z = 1 to pixels: [..., 2] -> [..., 2]."""
        return np.asarray(self.distort(plane) * self.focal + self.principal)

    def sees(self, plane: np.ndarray) -> np.ndarray:
        """Return True for points of the undistorted plane where the formula holds: [..., 2] -> bool, [...].

        It holds up to the radius at which ``r d(r)`` stops growing. Points beyond would be projected back
        onto points nearer to the axis, where no light from them arrives.
        """
        k1, k2, k3 = self.radial
        # d/dr (r d(r)) as a polynomial in r^2
        roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1])
        squares = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return np.asarray((plane**2).sum(-1) < squares.min(initial=np.inf))

    def scaled(self, horizontal: float, vertical: float) -> "Lens":
        """Scale the lens to pictures that are wider and higher by these factors."""
        (fx, fy), (cx, cy) = self.focal, self.principal
        return Lens(
            (fx * horizontal, fy * vertical),
            (cx * horizontal, cy * vertical),
            self.radial,
            self.tangential,
        )


@dataclass(frozen=True, eq=False)
class Photograph:
    """Describe a photograph and the camera it was taken with.

    Attributes:
        path: Picture file.
        camera_to_world: Pose [4, 4], OpenCV axes.
        lens: Lens for pictures of ``size``.
        size: Height and width that the lens is for, pixels.
        mask: Picture that is white on the object, or None.
        orientation: EXIF orientation, 1 to 8, that the camera does not include: the camera describes the
            stored pixels. 1: the camera describes the upright picture.
    """

    path: Path
    camera_to_world: np.ndarray
    lens: Lens
    size: tuple[int, int]
    mask: Path | None = None
    orientation: int = 1

    def lens_for(self, size: Sequence[int]) -> Lens:
        """Return the lens for the same picture at another height and width."""
        return self.lens.scaled(size[1] / self.size[1], size[0] / self.size[0])


@dataclass(frozen=True, eq=False)
class PhotographSet:
    """Collect the photographs that a folder describes.

    Attributes:
        photographs: Photographs in the order of their names.
        points: Points of the scene [P, 3]; empty if not known.
        up: Up direction in the scene's world [3], or None if not known.
        warnings: Messages for the user about photographs that were left out.
        poses_found: True if no file had the poses and they were computed from the photographs.
    """

    photographs: tuple[Photograph, ...]
    points: np.ndarray
    up: np.ndarray | None
    warnings: tuple[str, ...] = ()
    poses_found: bool = False


def check_pose(pose: np.ndarray, where: str) -> np.ndarray:
    """Return a 4 x 4 pose with the scale removed from its rotation; a 3 x 4 pose gets its last row.

    Raises:
        ClearpaneError: The matrix is not a pose.
    """
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]])
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ClearpaneError(f"{where}: the pose is not a 4 x 4 matrix of numbers")
    scale = abs(np.linalg.det(pose[:3, :3])) ** (1 / 3)
    rotation = pose[:3, :3] / max(scale, 1e-12)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise ClearpaneError(f"{where}: the pose holds no rotation; a camera cannot be mirrored or sheared")
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, pose[:3, 3]
    return result
