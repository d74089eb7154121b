"""Posed photographs as their files describe them, before anything is cut out or resized."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError


@dataclass(frozen=True)
class Lens:
    """A pinhole with OpenCV's radial and tangential distortion.

    Of a direction with ``x = X / Z``, ``y = Y / Z`` and ``r^2 = x^2 + y^2`` the picture has, in pixels,

        fx (x d + 2 p1 x y + p2 (r^2 + 2 x^2)) + cx,    d = 1 + k1 r^2 + k2 r^4 + k3 r^6,

    and likewise in y with ``p1 (r^2 + 2 y^2) + 2 p2 x y``.

    Attributes:
        focal: fx, fy in pixels.
        principal: cx, cy in pixels; the middle of the first pixel is (1/2, 1/2).
        radial: k1, k2, k3.
        tangential: p1, p2.
    """

    focal: tuple[float, float]
    principal: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

    def distort(self, plane: np.ndarray) -> np.ndarray:
        """From the undistorted plane z = 1 to the distorted one: [..., 2] -> [..., 2]."""
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
        """From the undistorted plane z = 1 to pixels: [..., 2] -> [..., 2]."""
        return np.asarray(self.distort(plane) * self.focal + self.principal)

    def sees(self, plane: np.ndarray) -> np.ndarray:
        """Whether the formula holds at points of the undistorted plane: [..., 2] -> bool, [...].

        It does up to the radius at which ``r d(r)`` stops growing; beyond it, points would fall back onto
        what is seen nearer to the axis, where no light from them arrives.
        """
        k1, k2, k3 = self.radial
        # d/dr (r d(r)) as a polynomial in r^2
        roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1])
        squares = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return np.asarray((plane**2).sum(-1) < squares.min(initial=np.inf))

    def scaled(self, horizontal: float, vertical: float) -> "Lens":
        """For pictures so many times as wide and high."""
        (fx, fy), (cx, cy) = self.focal, self.principal
        return Lens(
            (fx * horizontal, fy * vertical),
            (cx * horizontal, cy * vertical),
            self.radial,
            self.tangential,
        )


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph and the camera it was taken with.

    Attributes:
        path: the picture.
        camera_to_world: OpenCV's axes, [4, 4].
        lens: for pictures of ``size``.
        size: height and width that the lens is for.
        mask: a picture that is white where the object is, if there is one.
        orientation: EXIF orientation of the file that the camera does not include, 1 to 8: the camera
            describes the pixels as stored. 1: it describes the upright picture.
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
    """What a folder says of its photographs.

    Attributes:
        photographs: in the order of their names.
        points: of the scene, where it is known, [P, 3]; or nothing.
        up: where up is in the scene's world, [3], if that is known.
        warnings: for the user: what was left out.
        poses_found: no file had the poses; they were found in the photographs, which takes minutes.
    """

    photographs: tuple[Photograph, ...]
    points: np.ndarray
    up: np.ndarray | None
    warnings: tuple[str, ...] = ()
    poses_found: bool = False


def check_pose(pose: np.ndarray, where: str) -> np.ndarray:
    """Return a 4 x 4 pose, its rotation without a scale; a 3 x 4 one gets its last row.

    Raises:
        ClearpaneError: it is none.
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
