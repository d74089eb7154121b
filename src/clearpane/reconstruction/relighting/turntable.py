"""Place cameras around an object of any size."""

import math

import numpy as np
import torch

from clearpane.geometry.cameras import Cameras, look_at, pinhole_intrinsics
from clearpane.geometry.mesh import Mesh

# Fraction of the picture's half width that the object's sphere may fill.
_FILLED = 0.95


def turntable_cameras(
    mesh: Mesh,
    views: int,
    side: int,
    elevation: float = 20.0,
    azimuth: float = 0.0,
    field_of_view: float = 30.0,
) -> Cameras:
    """Place cameras evenly on a circle around the vertical axis through the centre of a mesh's box.

    Their distance lets the sphere around that centre which encloses the mesh fit into every picture.

    Args:
        views: Number of cameras.
        side: Side of the square pictures, pixels.
        elevation: Angle of the cameras above the centre, degrees in (-90, 90).
        azimuth: Direction of the first camera, degrees: 0 is in front (+z), 90 on the right (+x).
        field_of_view: Field of view, degrees.
    """
    used = mesh.vertices[np.unique(mesh.faces)]
    middle = (used.min(0) + used.max(0)) / 2
    radius = max(float(np.linalg.norm(used - middle, axis=-1).max()), 1e-9)
    distance = radius / math.sin(math.atan(_FILLED * math.tan(math.radians(field_of_view / 2))))
    angles = math.radians(azimuth) + 2 * math.pi * np.arange(views) / views
    up = math.radians(elevation)
    level = math.cos(up)
    around = np.stack([level * np.sin(angles), np.full(views, math.sin(up)), level * np.cos(angles)], axis=-1)
    eyes = torch.from_numpy(middle + distance * around)
    poses = look_at(eyes, torch.from_numpy(middle))
    return Cameras(poses, pinhole_intrinsics(field_of_view, side, side).expand(views, 4), side, side)
