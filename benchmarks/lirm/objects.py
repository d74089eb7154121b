"""Measure random objects: rendering speed, and the error of their light against the integral and Mitsuba.

    python -m benchmarks.lirm.objects DATA

Writes docs/figures/objects.{md,json,jpg}. Needs the extras [train] and [synthesis], and scikit-image for the
comparison of meshes.
"""

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
import torch
import tyro
from PIL import Image
from skimage.measure import marching_cubes
from torch import Generator, Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.cameras import HALF_SIZE
from clearpane.images.picture import to_8bit
from clearpane.mitsuba_variant import use_variant
from clearpane.optics.brdf import gltf_brdf
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import halve, solid_angles, texel_directions
from clearpane.optics.shading import EnvironmentLight, SurfacePoints, shade
from clearpane.reconstruction.relighting.asset_scene import sensor
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, Pictures
from clearpane.synthesis.objects.materials import load_materials
from clearpane.synthesis.objects.rendering import ObjectRenderOptions, render_object
from clearpane.synthesis.objects.samples import (
    ObjectSources,
    ObjectStream,
    draw_cameras,
    draw_environment,
    draw_object_sample,
)
from clearpane.synthesis.objects.solids import SolidObject, draw_object

ROUGHNESS = (0.15, 0.3, 0.5, 0.8)
# Numbers of lights and microfacets: those used for rendering, and those needed for the stated 1 %.
QUALITIES = {"training": (64, 8), "stated": (1024, 256)}
STREAM = ObjectStream()
_POINTS, _MAPS = 40, 4
_TIMED, _COMPARED, _GRID, _SAMPLES = 6, 4, 192, 256


@dataclass(frozen=True)
class Options:
    """Measure the random objects."""

    data: Positional[Path]
    """Folder with environments and materials."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of objects.md, .json and .jpg."""


def measure_speed(sources: ObjectSources, device: str) -> dict[str, float]:
    """Measure objects per second as training needs them: on one thread, or on a GPU."""
    seconds = []
    for index in range(_TIMED):
        started = time.perf_counter()
        draw_object_sample(index, sources, STREAM, device).to("cpu")
        seconds.append(time.perf_counter() - started)
    return {"objects a second": len(seconds[1:]) / sum(seconds[1:])}


def shading_errors(environments: Pictures) -> dict[str, dict[str, float]]:
    """Measure the mean error over mean light of shading without shadows, against the sum over all texels."""
    errors: dict[str, dict[str, float]] = {name: {} for name in QUALITIES}
    generator = np.random.default_rng(0)
    normal = generator.normal(size=(_POINTS, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    view = normal + 0.5 * generator.normal(size=normal.shape)
    view /= np.linalg.norm(view, axis=-1, keepdims=True)
    seen = (normal * view).sum(-1) > 0.1
    normal, view = normal[seen], view[seen]
    albedo = generator.random((len(normal), 3))
    metallic = generator.integers(0, 2, (len(normal), 1)).astype(float)
    maps = [halve(environments.load(n).double().movedim(0, -1).numpy()) for n in environments.names[:_MAPS]]
    for roughness in ROUGHNESS:
        points = SurfacePoints(normal, view, albedo, metallic, np.full((len(normal), 1), roughness))
        truth = [integral(points, environment) for environment in maps]
        for name, (lights, facets) in QUALITIES.items():
            found = [shade(points, EnvironmentLight.of(m, lights), facets) for m in maps]
            relative = [np.abs(f - t).mean() / t.mean() for f, t in zip(found, truth, strict=True)]
            errors[name][f"{roughness}"] = float(np.mean(relative))
    return errors


def integral(points: SurfacePoints, environment: np.ndarray) -> np.ndarray:
    """Sum over all texels of a map."""
    height, width = environment.shape[:2]
    light = texel_directions(height, width).reshape(-1, 3)
    energy = (environment * solid_angles(height, width)[:, None, None]).reshape(-1, 3)
    sums = []
    for i in range(len(points.normal)):
        value = gltf_brdf(
            points.normal[i], light, points.view[i], points.albedo[i], points.metallic[i], points.roughness[i]
        )
        sums.append((value * np.clip(light @ points.normal[i], 0, 1)[:, None] * energy).sum(0))
    return np.stack(sums)


def compare_with_mitsuba(sources: ObjectSources, seed: int) -> dict[str, Any]:
    """Compare one object with its mesh with vertex colours in Mitsuba, from one camera."""
    use_variant("auto")
    generator = Generator().manual_seed(seed)
    solid = draw_object(seed, sources.materials)
    environment = draw_environment(sources, generator)
    cameras = draw_cameras(1, 128, generator)
    ours = render_object(solid, environment, cameras, ObjectRenderOptions(3, 256, 32))
    mesh = vertex_mesh(solid)
    scene = mi.load_dict(
        {
            "type": "scene",
            "light": {"type": "envmap", "bitmap": mi.Bitmap(environment.contiguous().numpy())},
            "mesh": mesh,
        },
        parallel=False,
        optimize=False,
    )
    integrator = mi.load_dict({"type": "path", "max_depth": 2, "hide_emitters": True})
    camera = sensor(cameras, 0)
    pixels = torch.from_numpy(np.array(mi.render(scene, sensor=camera, integrator=integrator, spp=_SAMPLES)))
    pixels = pixels.permute(2, 0, 1)
    mask = pixels[3:4].clamp(0, 1)
    # The film's light is multiplied by alpha.
    theirs = linear_to_srgb((pixels[:3] / mask.clamp(min=1e-4)).clamp(0, 1)) * mask + 1 - mask
    inside = (mask > 0.999) & (ours.mask[0] > 0.999)
    error = (ours.colour[0] - theirs).square()
    return {
        "psnr": -10 * float(error.mean().log10()),
        "object": -10 * float((error * inside).sum().div(3 * inside.sum()).log10()),
        "mask": float((ours.mask[0] - mask).abs().mean()),
        "pictures": [ours.colour[0], theirs, (0.5 + 2 * (ours.colour[0] - theirs)).clamp(0, 1)],
    }


def vertex_mesh(solid: SolidObject) -> Any:
    """Make an object's Mitsuba mesh: `principled`, with parameters at the vertices."""
    axis = torch.linspace(-HALF_SIZE, HALF_SIZE, _GRID)
    parts = [solid.signed_distance(p) for p in torch.cartesian_prod(axis, axis, axis).split(1 << 18)]
    distance = torch.cat(parts).reshape(_GRID, _GRID, _GRID)
    found, faces, _, _ = marching_cubes(distance.numpy(), 0.0)
    vertices = torch.from_numpy(found * 2 * HALF_SIZE / (_GRID - 1) - HALF_SIZE).float()
    owners = solid.owners(vertices)
    albedo, metallic, roughness = solid.surface(vertices, owners, 2 * HALF_SIZE / _GRID)

    def attribute(name: str) -> dict[str, str]:
        return {"type": "mesh_attribute", "name": f"vertex_{name}"}

    bsdf = {
        "type": "principled",
        "base_color": attribute("albedo"),
        "metallic": attribute("metallic"),
        "roughness": attribute("roughness"),
        "specular": 0.5,
    }
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict({"type": "twosided", "surface": bsdf})
    mesh = mi.Mesh("object", len(vertices), len(faces), has_vertex_normals=True, props=properties)
    for name, value in (("albedo", albedo), ("metallic", metallic), ("roughness", roughness)):
        mesh.add_attribute(f"vertex_{name}", value.shape[-1], value.contiguous().numpy().ravel())
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = vertices.numpy().ravel()
    parameters["vertex_normals"] = solid.normals(vertices).numpy().ravel()
    parameters["faces"] = faces[:, ::-1].astype(np.uint32).ravel()
    parameters.update()
    return mesh


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    speed = [[name, f"{value['objects a second']:.2f}"] for name, value in document["speed"].items()]
    errors = [
        [
            f"{lights} lights, {facets} facets ({name})",
            *(f"{100 * document['shading'][name][f'{r}']:.2f}" for r in ROUGHNESS),
        ]
        for name, (lights, facets) in QUALITIES.items()
    ]
    compared = [
        [str(seed), f"{r['psnr']:.1f}", f"{r['object']:.1f}", f"{100 * r['mask']:.2f}"]
        for seed, r in document["mitsuba"].items()
    ]
    return (
        "# Random objects\n\n"
        f"## Speed\n\nObjects as training needs them: {STREAM.views} views of {STREAM.side} x "
        f"{STREAM.side} pixels, 2 x 2 rays per pixel, distances at {STREAM.points} points; no GPU was "
        "available unless a row says so.\n\n"
        + table(["on", "objects a second"], speed)
        + "\n### Shading\n\nWithout shadows, mean error over mean light in %, against the sum over all "
        f"texels of {_MAPS} HDR maps; half of the points are metal.\n\n"
        + table(["", *(f"roughness {r}" for r in ROUGHNESS)], errors)
        + "\n### The same objects as meshes in Mitsuba\n\n"
        "`path` of depth 2, its `principled` with our materials at the vertices: its dielectric model "
        "differs from glTF's, and a mesh shows textures less sharply; 256 lights and 32 facets here.\n\n"
        + table(["object", "PSNR, dB", "of the object's pixels, dB", "mask: mean difference, %"], compared)
        + "\n![Ours, Mitsuba's, and twice the difference](objects.jpg)\n"
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Measure everything."""
    torch.set_num_threads(1)
    environments = Pictures(options.data / "environments", ENVIRONMENT_SUFFIXES)
    sources = ObjectSources(load_materials(options.data / "materials"), environments)
    compared = {str(seed): compare_with_mitsuba(sources, seed) for seed in range(_COMPARED)}
    sheet: list[list[Tensor]] = [result.pop("pictures") for result in compared.values()]
    speed = {"one core": measure_speed(sources, "cpu")}
    if torch.cuda.is_available():
        speed[torch.cuda.get_device_name()] = measure_speed(sources, "cuda")
    document = {
        "speed": speed,
        "shading": shading_errors(environments),
        "mitsuba": compared,
        "machine": describe_machine(),
    }
    rows = torch.cat([torch.cat(row, dim=2) for row in sheet], dim=1)
    with atomic_path(options.output / "objects.jpg", overwrite=True) as temporary:
        Image.fromarray(to_8bit(rows.permute(1, 2, 0).numpy())).save(temporary, "JPEG", quality=88)
    write_text(options.output / "objects.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "objects.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
