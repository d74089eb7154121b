"""Render the mesh `bob` with Mitsuba's path tracer, in the form that LIRM's benchmarks use.

Every view also has its ground truth, from a Mitsuba integrator. The mesh is scaled so that the longest side
of its box is 1 metre. It has its own texture, as a dielectric of roughness 0.3.
"""

from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
import torch
from torch import Tensor

from clearpane.geometry.cameras import Cameras
from clearpane.geometry.mesh import Mesh, surface_points
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.relighting.asset_scene import sensor
from clearpane.synthesis.objects.rendering import ObjectViews
from clearpane.synthesis.objects.samples import ObjectSample, load_object_sample, save_object_sample

ROUGHNESS = 0.3
_SAMPLES, _TRUE_SAMPLES, _DEPTH = 128, 32, 5
_SURFACE_POINTS = 4096
_AOVS = "albedo:albedo,normal:sh_normal,position:position"


def load_mesh(path: Path) -> Mesh:
    """Read the triangles of an OBJ file."""
    positions, triangles = [], []
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            positions.append([float(word) for word in words])
        elif kind == "f":
            triangles.append([int(word.partition("/")[0]) - 1 for word in words])
    return Mesh(np.asarray(positions), np.asarray(triangles))


def normalisation(positions: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the centre and scale that fit positions into a box about the origin whose longest side is 1."""
    low, high = positions.min(0), positions.max(0)
    return (low + high) / 2, float(1 / (high - low).max())


def bob_points(folder: Path, count: int) -> Tensor:
    """Return points spread evenly over the surface: [count, 3]."""
    mesh = load_mesh(folder / "bob_tri.obj")
    middle, scale = normalisation(mesh.vertices)
    placed = Mesh((mesh.vertices - middle) * scale, mesh.faces)
    return torch.from_numpy(surface_points(placed, count)).float()


def bob_scene(folder: Path, environment: Tensor) -> dict[str, Any]:
    """Return the mesh and the light as a Mitsuba scene."""
    middle, scale = normalisation(load_mesh(folder / "bob_tri.obj").vertices)
    transform = mi.ScalarTransform4f().scale(scale).translate((-middle).tolist())
    return {
        "type": "scene",
        "light": {"type": "envmap", "bitmap": mi.Bitmap(environment.contiguous().numpy())},
        "mesh": {
            "type": "obj",
            "filename": str(folder / "bob_tri.obj"),
            "to_world": transform,
            "bsdf": {
                "type": "principled",
                "base_color": {"type": "bitmap", "filename": str(folder / "bob_diffuse.png")},
                "roughness": ROUGHNESS,
                "specular": 0.5,
            },
        },
    }


def render_bob(folder: Path, environment: Tensor, cameras: Cameras) -> ObjectSample:
    """Render all views; the points of the sample are on the surface."""
    use_variant("auto")
    scene = mi.load_dict(bob_scene(folder, environment), parallel=False, optimize=False)
    colours = mi.load_dict({"type": "path", "max_depth": _DEPTH, "hide_emitters": True})
    truths = mi.load_dict(
        {
            "type": "aov",
            "aovs": _AOVS,
            "own": {"type": "path", "max_depth": 2, "hide_emitters": True},
        }
    )
    views = []
    for view in range(len(cameras.camera_to_world)):
        camera = sensor(cameras, view)
        picture, truth = (
            torch.from_numpy(
                np.array(mi.render(scene, sensor=camera, integrator=integrator, spp=spp, seed=view))
            ).permute(2, 0, 1)
            for integrator, spp in ((colours, _SAMPLES), (truths, _TRUE_SAMPLES))
        )
        mask = picture[3:4].clamp(0, 1)
        # The film's light is multiplied by alpha.
        colour = linear_to_srgb((picture[:3] / mask.clamp(min=1e-4)).clamp(0, 1)) * mask + 1 - mask
        albedo, normal, position = truth[4:7], truth[7:10], truth[10:13]
        seen = truth[3:4].clamp(min=1e-6)
        depth = (position / seen - cameras.centres[view][:, None, None]).norm(dim=0, keepdim=True)
        depth = depth * (mask > 0)
        even = torch.ones_like(mask) * mask
        views.append(
            ObjectViews(
                colour, mask, depth, normal, albedo, 0 * even, ROUGHNESS * even, torch.zeros_like(colour)
            )
        )
        print(f"bob: view {view + 1} of {len(cameras.camera_to_world)}", flush=True)
    points = bob_points(folder, _SURFACE_POINTS)
    stacked = ObjectViews(*(torch.stack(values) for values in zip(*views, strict=True)))
    return ObjectSample(stacked, cameras, points, torch.zeros(len(points), 1))


def load_bob(folder: Path, environment: Tensor, cameras: Cameras, cache: Path) -> ObjectSample:
    """Return the views, rendered once."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_object_sample(render_bob(folder, environment, cameras), cache)
    return load_object_sample(cache)
