"""Render what cameras see of an asset without light: colours, normals and depths of each pixel."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras
from clearpane.geometry.mesh import unit
from clearpane.geometry.rasterising import rasterise
from clearpane.reconstruction.asset.asset import Asset

# Rays along a pixel's side, and along a picture's side at most, to limit memory.
_SUPERSAMPLING, _RAYS = 3, 4096


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """Hold one camera's view: means over the rays that hit the object; 0 where ``mask`` is 0.

    Attributes:
        mask: Fraction of each pixel's rays that hit the object [H, W].
        albedo: Linear base colour [H, W, 3].
        metallic, roughness, occlusion: Material and unoccluded fraction of the sky [H, W], in [0, 1].
        normal: Unit normals after the normal map, in the world, towards the camera's side [H, W, 3].
        view: Unit directions to the camera [H, W, 3].
        depth: Depth along the camera's axis [H, W], metres.
    """

    mask: np.ndarray
    albedo: np.ndarray
    metallic: np.ndarray
    roughness: np.ndarray
    occlusion: np.ndarray
    normal: np.ndarray
    view: np.ndarray
    depth: np.ndarray


class SurfaceViews:
    """Render the surface of an asset from cameras, with nine rays for each pixel."""

    def __init__(self, asset: Asset) -> None:
        self._asset = asset
        planes = (asset.albedo, asset.metallic, asset.roughness, asset.occlusion, asset.normal_map)
        stack = [plane if plane.ndim == 3 else plane[..., None] for plane in planes]
        textures = np.concatenate([plane.astype(np.float32) for plane in stack], axis=-1)
        self._textures = torch.from_numpy(textures).permute(2, 0, 1)[None]
        self._axes = _texture_axes(asset)
        self._outward = _face_normals(asset)

    def see(self, cameras: Cameras, view: int) -> SurfaceView:
        """Return what one of the cameras sees."""
        scale = max(1, min(_SUPERSAMPLING, _RAYS // max(cameras.height, cameras.width)))
        fine = cameras.resized(cameras.height * scale, cameras.width * scale)
        pose = cameras.camera_to_world[view].double().numpy()
        mesh = self._asset.mesh
        found = rasterise(mesh, pose, fine.intrinsics[view].double().numpy(), fine.height, fine.width)
        vertices = np.concatenate([mesh.vertices, self._asset.normals, self._asset.coordinates], axis=-1)
        position, normal, uv = np.split(found.interpolate(vertices, mesh.faces), [3, 6], axis=-1)
        away = position - pose[:3, 3]
        towards = unit(-away)
        material, bent = np.split(self._texels(uv), [6], axis=-1)
        normal = _bent(unit(normal), self._axes[found.face], bent)
        behind = (self._outward[found.face] * towards).sum(-1, keepdims=True) < 0
        normal = np.where(behind, -normal, normal)
        samples = np.concatenate([material, normal, towards, away @ pose[:3, 2:3]], axis=-1)
        mask, means = _means(samples, found.pixel, cameras, scale)
        albedo, metallic, roughness, occlusion, normal, towards, depth = np.split(
            means, np.cumsum([3, 1, 1, 1, 3, 3]), axis=-1
        )
        single = (metallic[..., 0], roughness[..., 0], occlusion[..., 0])
        return SurfaceView(mask, albedo, *single, unit(normal), unit(towards), depth[..., 0])

    def _texels(self, uv: np.ndarray) -> np.ndarray:
        """Sample albedo, metallic, roughness, occlusion and normal map bilinearly: [P, 9]."""
        place = torch.from_numpy(2 * uv - 1).float()[None, None]
        found = F.grid_sample(self._textures, place, padding_mode="border", align_corners=False)
        return found[0, :, 0].T.numpy()


def _face_normals(asset: Asset) -> np.ndarray:
    """Return the normals of the triangles, of any length, [F, 3]."""
    a, b, c = (asset.mesh.vertices[asset.mesh.faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def _texture_axes(asset: Asset) -> np.ndarray:
    """Return the surface vectors along the texture's columns and rows, [F, 2, 3]; 0 if degenerate."""
    a, b, c = (asset.mesh.vertices[asset.mesh.faces[:, i]] for i in range(3))
    at, bt, ct = (asset.coordinates[asset.mesh.faces[:, i]] for i in range(3))
    edges = np.stack([b - a, c - a], axis=1)
    steps = np.stack([bt - at, ct - at], axis=1)  # edges = steps @ axes
    area = np.linalg.det(steps)
    whole = np.abs(area) > 1e-20
    inverse = np.linalg.inv(np.where(whole[:, None, None], steps, np.eye(2)))
    return unit(np.where(whole[:, None, None], inverse @ edges, 0.0))


def _bent(normal: np.ndarray, axes: np.ndarray, bent: np.ndarray) -> np.ndarray:
    """Apply the normal map, whose x runs with the texture's columns and y against its rows."""
    right, down = axes[:, 0], axes[:, 1]
    across = unit(right - normal * (normal * right).sum(-1, keepdims=True))
    up = np.cross(normal, across)
    up = up * np.where((up * down).sum(-1, keepdims=True) > 0, -1.0, 1.0)
    return unit(bent[:, :1] * across + bent[:, 1:2] * up + bent[:, 2:] * normal)


def _means(
    samples: np.ndarray, hit: np.ndarray, cameras: Cameras, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask [H, W] and the means [H, W, C] of samples [P, C] at the fine pixels ``hit``."""
    row, column = np.divmod(hit, cameras.width * scale)
    pixel = row // scale * cameras.width + column // scale
    count = cameras.height * cameras.width
    hits = np.bincount(pixel, minlength=count)
    sums = np.stack([np.bincount(pixel, channel, count) for channel in samples.T], axis=-1)
    size = (cameras.height, cameras.width)
    means = sums / np.maximum(hits, 1)[:, None]
    return (hits / scale**2).reshape(size), means.reshape(*size, -1)
