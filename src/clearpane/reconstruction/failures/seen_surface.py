"""Look up what the views show of points on an asset's surface, where the asset itself does not hide them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras, project, spread_order
from clearpane.geometry.mesh import Mesh, surface_samples, unit
from clearpane.geometry.rasterising import rasterise
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.evidence import look_up, picture_places

# Points on the surface: on an object a metre long they lie about a centimetre apart, as far as two pixels of
# a view of 256 are wide. More views than these add cost but hardly any places.
_POINTS, _VIEWS = 20_000, 24
# Side of the depth maps, pixels, and the depth behind them, in pixels, at which a point is hidden: a pixel of
# the most oblique surface that counts spans 3.
_DEPTH_SIDE, _DEPTH_MARGIN = 128, 3.0
# Smallest cosine at which a view counts, and the smallest coverage of its pixel: at an outline and on oblique
# surfaces, small errors of shape show something else.
_COSINE, _COVERAGE = 0.3, 0.95


@dataclass(frozen=True, eq=False)
class Sighting:
    """Hold what each view shows of some points.

    Attributes:
        colours: Linear colours [V, P, 3]; 0 where the view does not see the point.
        weights: Squared cosine between normal and view where the view sees the point, times the capture's
            trust in the pixel; else 0 [V, P].
    """

    colours: np.ndarray
    weights: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Return True for the points that a view sees, [P]."""
        return np.asarray((self.weights > 0).any(0))

    @property
    def mean(self) -> np.ndarray:
        """Return the weighted mean colours [P, 3]; 0 for points that no view sees."""
        sums = (self.weights[..., None] * self.colours).sum(0)
        return np.asarray(sums / np.maximum(self.weights.sum(0), 1e-9)[:, None])


class Views:
    """Views of an object, and the depth at which each sees an asset's surface."""

    def __init__(self, mesh: Mesh, capture: Capture) -> None:
        chosen = list(range(len(capture.names)))
        if len(chosen) > _VIEWS:
            chosen = spread_order(capture.cameras, [])[:_VIEWS]
        self.names = tuple(capture.names[view] for view in chosen)
        self._pictures, self._masks = capture.pictures[chosen], capture.masks[chosen]
        self._trust = None if capture.weights is None else capture.weights[chosen]
        self._cameras = capture.cameras[chosen]
        self._small = self._cameras.resized(_DEPTH_SIDE, _DEPTH_SIDE)
        self._depths = torch.stack([_depth_map(mesh, self._small, view) for view in range(len(chosen))])

    @torch.no_grad()
    def look(self, points: np.ndarray, normals: np.ndarray) -> Sighting:
        """Look up points [P, 3] with unit normals [P, 3] in all views."""
        at, up = (torch.from_numpy(x).float() for x in (points, normals))
        colours, weights = [], []
        for view in range(len(self.names)):
            camera = self._cameras[view]
            place, within = picture_places(camera, at)
            depth = project(camera, at)[1]
            front = look_up(self._depths[view : view + 1], place, "nearest")[0]
            margin = _DEPTH_MARGIN * front / self._small.intrinsics[view, :2].mean()
            cosine = (F.normalize(camera.centres - at, dim=-1) * up).sum(-1)
            mask = look_up(self._masks[view], place)[0]
            sees = within & (cosine > _COSINE) & (mask > _COVERAGE) & (depth < front + margin)
            of_object = (look_up(self._pictures[view], place) - (1 - mask)) / mask.clamp(min=_COVERAGE)
            colours.append(srgb_to_linear(of_object.clamp(0, 1)).T * sees[:, None])
            trust = 1.0 if self._trust is None else look_up(self._trust[view], place)[0]
            weights.append(cosine.square() * sees * trust)
        return Sighting(torch.stack(colours).double().numpy(), torch.stack(weights).double().numpy())


@dataclass(frozen=True, eq=False)
class SeenSurface:
    """Hold points drawn evenly from an asset's surface, and what the views show there.

    Attributes:
        mesh: Triangles of the asset.
        points: Positions [P, 3], metres.
        faces: Triangle of each point [P].
        normals: Unit normals [P, 3].
        albedo: Linear base colours of the asset [P, 3].
        views: Views of the object.
        sighting: What the views show of the points.
    """

    mesh: Mesh
    points: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    albedo: np.ndarray
    views: Views
    sighting: Sighting

    @classmethod
    def of(cls, asset: Asset, capture: Capture) -> "SeenSurface":
        """Draw the points and look them up.

        Args:
            asset: Asset in the cube's world.
            capture: Views of the object.

        Raises:
            ClearpaneError: The mesh has no area.
            MissingExtraError: Trimesh is not installed.
        """
        points, faces, weights = surface_samples(asset.mesh, _POINTS)
        corners = asset.mesh.faces[faces]
        normals, place = (
            (values[corners] * weights[..., None]).sum(1) for values in (asset.normals, asset.coordinates)
        )
        size = len(asset.albedo)
        column, row = np.clip((place * size).astype(np.int64), 0, size - 1).T
        views = Views(asset.mesh, capture)
        normals = unit(normals)
        return cls(
            asset.mesh, points, faces, normals, asset.albedo[row, column], views, views.look(points, normals)
        )

    def best_view(self, chosen: np.ndarray) -> str | None:
        """Return the name of the view that shows most of some points; None if no view sees any."""
        sums = self.sighting.weights[:, chosen].sum(1)
        return self.views.names[int(sums.argmax())] if sums.any() else None


def _depth_map(mesh: Mesh, cameras: Cameras, view: int) -> Tensor:
    """Return the depth of the surface along a camera's axis [H, W]; 0 beside it."""
    pose = cameras.camera_to_world[view].double().numpy()
    height, width = cameras.height, cameras.width
    found = rasterise(mesh, pose, cameras.intrinsics[view].double().numpy(), height, width)
    depth = np.zeros(height * width)
    depth[found.pixel] = (found.interpolate(mesh.vertices, mesh.faces) - pose[:3, 3]) @ pose[:3, 2]
    return torch.from_numpy(depth.reshape(height, width)).float()
