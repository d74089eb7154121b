"""Show a reconstruction in test views: render an asset, or read finished pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.evaluation.objects.truth import (
    LINEAR_SUFFIXES,
    MESH_NAMES,
    ObjectTruth,
    TruthView,
    read_values,
    shrunk,
)
from clearpane.geometry.cameras import Cameras
from clearpane.geometry.mesh import Mesh
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.masks import named
from clearpane.reconstruction.relighting.lighting import Environment, load_environment
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.reconstruction.relighting.surface_view import SurfaceViews

Size = tuple[int, int]
# Converts an environment as seen by a camera (its middle straight ahead) to OpenCV camera axes.
_AHEAD = np.diag([-1.0, -1.0, 1.0])
_TO_OPENGL = np.asarray([1.0, -1.0, -1.0])
_MAPS = ("albedo", "normal", "depth")


@dataclass(frozen=True, eq=False)
class ResultPictures:
    """Hold what a result shows in a view, None for unknown quantities. See `TruthPictures`."""

    colour: np.ndarray | None
    albedo: np.ndarray | None
    normal: np.ndarray | None
    depth: np.ndarray | None


class Result(Protocol):
    """Define a reconstruction that can be shown in test views."""

    @property
    def mesh(self) -> Mesh | None:
        """Return the surface in the photographs' world, or None."""

    def see(self, view: TruthView, size: Size) -> ResultPictures:
        """Return what the result shows in a view, at a height and width in pixels."""


class AssetResult:
    """Show an asset in the photographs' world with y up, as clearpane reconstruct writes it.

    Args:
        environment: Light of all views without their own; None to skip the rendering of those views.
        settings: Settings of the rendering.
    """

    def __init__(
        self,
        asset: Asset,
        truth: ObjectTruth,
        environment: Environment | None,
        settings: RelightSettings,
    ) -> None:
        self._asset, self._to_asset = asset, truth.to_asset
        self._environment, self._settings = environment, settings
        self._surfaces = SurfaceViews(asset)

    @property
    def mesh(self) -> Mesh:
        """Return the triangles in the photographs' world."""
        return Mesh(self._asset.mesh.vertices @ self._to_asset, self._asset.mesh.faces)

    def see(self, view: TruthView, size: Size) -> ResultPictures:
        """Render what the asset shows in a view."""
        cameras = self._cameras(view, size)
        turn = cameras.camera_to_world[0, :3, :3].numpy()
        environment = self._environment
        if view.environment is not None:
            environment = Environment(load_environment(view.environment).radiance, turn @ _AHEAD)
        colour = None
        if environment is not None:
            colour = next(relight(self._asset, environment, cameras, self._settings))[..., :3]
        seen = self._surfaces.see(cameras, 0)
        return ResultPictures(colour, seen.albedo, seen.normal @ turn * _TO_OPENGL, seen.depth)

    def _cameras(self, view: TruthView, size: Size) -> Cameras:
        import torch

        shot = view.photograph
        lens = shot.lens.scaled(size[1] / shot.size[1], size[0] / shot.size[0])
        pose = shot.camera_to_world.copy()
        pose[:3] = self._to_asset @ pose[:3]
        intrinsics = torch.tensor([[*lens.focal, *lens.principal]], dtype=torch.float64)
        return Cameras(torch.from_numpy(pose)[None], intrinsics, *size)


class FolderResult:
    """Show finished pictures of any program: NAME.exr (linear) or NAME.png (sRGB) in a folder.

    The folder may also have ``albedo/NAME``, ``normal/NAME``, ``depth/NAME`` and a mesh, in the layout of the
    truth: each kind for all views for which the truth has it, or for none.

    Raises:
        ClearpaneError: Some views lack pictures or maps: a mean over the others would flatter the result.
    """

    def __init__(self, folder: Path, truth: ObjectTruth) -> None:
        self._folder, self._to_asset = folder, truth.to_asset
        names = [view.name for view in truth.views]
        missing = [name for name in names if self._place("", name) is None]
        if missing:
            raise ClearpaneError(
                f"{folder}: has no picture of {named(missing)}; all test views are compared: name the "
                f"pictures {missing[0]}.exr or .png"
            )
        for kind in _MAPS:
            wanted = [view.name for view in truth.views if getattr(view, kind) is not None]
            missing = [name for name in wanted if self._place(kind, name) is None]
            if missing and len(missing) < len(wanted):
                raise ClearpaneError(
                    f"{folder / kind}: has no map of {named(missing)}; add those of all test views, or none"
                )

    @property
    def mesh(self) -> Mesh | None:
        """Return the triangles of the folder's mesh file, None without one."""
        places = (self._folder / name for name in MESH_NAMES)
        place = next((place for place in places if place.is_file()), None)
        return None if place is None else read_mesh(place, self._to_asset)

    def see(self, view: TruthView, size: Size) -> ResultPictures:
        """Read what the folder shows in a view."""
        found = [self._place(kind, view.name) for kind in ("", *_MAPS)]
        colour, albedo, normal, depth = (
            None if place is None else shrunk(read_values(place), size, place) for place in found
        )
        if depth is not None and depth.ndim == 3:
            depth = depth[..., 0]
        return ResultPictures(colour, albedo, normal, depth)

    def _place(self, kind: str, name: str) -> Path | None:
        suffixes = (".npy", ".exr") if kind in ("normal", "depth") else (*LINEAR_SUFFIXES, ".png")
        places = (self._folder / kind / f"{name}{suffix}" for suffix in suffixes)
        return next((place for place in places if place.is_file()), None)


def read_mesh(path: Path, to_asset: np.ndarray) -> Mesh:
    """Read the triangles of a GLB (y up), OBJ or PLY (the photographs' axes), in the photographs' world.

    Args:
        to_asset: Rotation [3, 3] from that world to glTF's.

    Raises:
        ClearpaneError: The file cannot be read or has no triangles.
        MissingExtraError: Trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("reading meshes", "3d") from error
    try:
        loaded = trimesh.load_scene(path, process=False).to_mesh()
        mesh = Mesh(np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64))
    except Exception as error:  # trimesh raises almost anything on a damaged file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClearpaneError(f"{path}: cannot be read as a mesh ({reason}); get a fresh copy") from error
    if not len(mesh.faces):
        raise ClearpaneError(f"{path}: holds no triangles")
    if path.suffix.lower() == ".glb":
        return Mesh(mesh.vertices @ to_asset, mesh.faces)
    return mesh
