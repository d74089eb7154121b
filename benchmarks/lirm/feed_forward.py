"""Compare LIRM with methods without learning: new views, shape and materials from 4, 8 and 16 views.

    python -m benchmarks.lirm.feed_forward DATA [--weights lirm-small|FILE]

Held-out procedural objects, and the mesh bob rendered by Mitsuba, both under environments that no weights
were trained on (held_out_environments.py makes the folder to train with). The views come in rounds of 4, 4
and 8, through the update module; new views are never inputs. Writes docs/figures/lirm.{md,json,jpg}. Needs
the extras [train] and [synthesis].
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import psutil
import torch
import tyro
from PIL import Image
from torch import Generator, Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import interval, table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.lirm.held_out_environments import split_environments
from benchmarks.reconstruction.bob import bob_points, load_bob
from benchmarks.reconstruction.scores import (
    chamfer,
    crossings,
    material_scores,
    summary,
    view_scores,
    zero_points,
)
from benchmarks.reconstruction.view_baselines import hull_views, nearest_views, visual_hull
from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.cameras import HALF_SIZE, spread_order
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import render_views
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.weights_file import load_lirm, trained_environments, weights_file
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, Pictures
from clearpane.synthesis.objects.materials import load_materials
from clearpane.synthesis.objects.samples import (
    ObjectDataset,
    ObjectSample,
    ObjectSources,
    ObjectStream,
    draw_cameras,
    draw_environment,
    object_seed,
    to_surface,
)
from clearpane.synthesis.objects.solids import SolidObject, draw_object
from clearpane.training.lirm.objective import stack_views
from clearpane.training.lirm.validation import FINAL_RENDERING

ROUNDS = (4, 4, 8)
# Pairs of rows to compare object by object.
COMPARED = (
    ("LIRM, 8 views", "LIRM, 4 views"),
    ("LIRM, 16 views", "LIRM, 8 views"),
    ("LIRM, 8 views", "visual hull with projected colours, 8 views"),
    ("LIRM, 8 views", "nearest input view, 8 views"),
)
_NEW = 4
_SEED = 7000
_MEMORY_ROUNDS = 10
_SURFACE_POINTS = 20_000
Row = dict[str, float | None]


@dataclass(frozen=True)
class Options:
    """Measure LIRM on unseen objects."""

    data: Positional[Path]
    """Folder with environments, materials and objects/bob."""
    weights: Path = Path("lirm-small")
    """Weights to measure."""
    objects: int = 24
    """Number of held-out procedural objects."""
    side: int = 128
    """Side of the pictures, pixels."""
    threads: int = 2
    """CPU threads."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of lirm.md, .json and .jpg."""
    cache: Path = ROOT / "build" / "benchmarks" / "lirm"
    """Folder of rendered objects."""


def load_objects(options: Options) -> dict[str, tuple[ObjectSample, Tensor]]:
    """Return the procedural objects, then bob, by name, each with points of its true surface, [P, 3]."""
    _, held_out = split_environments(options.data / "environments", options.cache / "environments")
    check_held_out(weights_file(options.weights), held_out)
    sources = ObjectSources(
        load_materials(options.data / "materials"), Pictures(held_out, ENVIRONMENT_SUFFIXES)
    )
    views = sum(ROUNDS) + _NEW
    stream = ObjectStream(seed=_SEED, views=views, side=options.side)
    data = ObjectDataset(sources, stream, options.cache / f"objects-{options.side}")
    samples = {}
    for index in range(options.objects):
        solid = draw_object(object_seed(_SEED, index), sources.materials)
        samples[f"object {index}"] = data[index], true_surface(solid)
    generator = Generator().manual_seed(_SEED)
    environment = draw_environment(sources, generator)
    cameras = draw_cameras(views, options.side, generator)
    folder = options.data / "objects" / "bob"
    key = digest(environment, cameras.camera_to_world, cameras.intrinsics)
    cache = options.cache / f"bob-{options.side}-{key}.safetensors"
    samples["bob"] = load_bob(folder, environment, cameras, cache), bob_points(folder, _SURFACE_POINTS)
    return samples


def true_surface(solid: SolidObject) -> Tensor:
    """Move points from all around an object to its surface; those that do not arrive are left out."""
    points = HALF_SIZE * (2 * torch.rand(4 * _SURFACE_POINTS, 3, generator=Generator().manual_seed(0)) - 1)
    points = to_surface(solid, points)
    return points[solid.signed_distance(points).abs() < 1e-3][:_SURFACE_POINTS]


def digest(*values: Tensor) -> str:
    """Hash the inputs of a cached rendering."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(value.contiguous().numpy().tobytes())
    return whole.hexdigest()[:12]


def check_held_out(weights: Path, held_out: Path) -> None:
    """Raise ClearpaneError if weights were trained under an environment used for measuring."""
    seen = {PurePosixPath(name).name for name in trained_environments(weights)}
    common = sorted(seen & {path.name for path in held_out.iterdir()})
    if common:
        raise ClearpaneError(f"{weights}: was trained under {common[0]}, which is used for measuring")


@torch.no_grad()
def reconstruct(lirm: Lirm, sample: ObjectSample, order: list[int]) -> list[HexaplaneField]:
    """Return the reconstruction after each round."""
    memory: Memory | None = None
    fields, first = [], 0
    for count in ROUNDS:
        chosen = torch.tensor(order[first : first + count])
        memory = lirm.observe(stack_views([sample], [chosen], False, torch.device("cpu")), memory)
        fields += lirm.fields(memory)
        first += count
    return fields


def score_object(lirm: Lirm, sample: ObjectSample, surface: Tensor) -> tuple[dict[str, Row], list[Tensor]]:
    """Compute all rows for one object, and pictures of its first new view: truth, ours, baselines."""
    # The cameras are ordered by height, so new ones are taken evenly, whatever the inputs are.
    views = len(sample.cameras.camera_to_world)
    targets = list(range(2, views, views // _NEW))[:_NEW]
    order = spread_order(sample.cameras, targets)
    wanted = sample.cameras[targets]
    rows: dict[str, Row] = {}
    fields = reconstruct(lirm, sample, order)
    shown = 0
    pictures: list[Tensor] = [sample.views.colour[targets[0]]]
    for count, field in zip(ROUNDS, fields, strict=True):
        shown += count
        rendered = render_views(field, wanted, FINAL_RENDERING)
        rows[f"LIRM, {shown} views"] = {
            **view_scores(rendered["colour"], sample, targets),
            **material_scores(rendered, sample, targets),
            "chamfer": chamfer(zero_points(field), surface),
        }
        if shown == 8:
            pictures += [
                rendered["colour"][0],
                rendered["albedo"][0] ** (1 / 2.2),
                rendered["normal"][0] / 2 + 0.5,
            ]
    for shown in (4, 8, 16):
        chosen = order[:shown]
        seen, masks = sample.views.colour[chosen], sample.views.mask[chosen]
        hull = visual_hull(masks, sample.cameras[chosen])
        colours = hull_views(hull, seen, masks, sample.cameras[chosen], wanted)
        nearest = nearest_views(seen, sample.cameras[chosen], wanted)
        points = crossings(0.5 - hull, voxel_centres(hull.shape[-1], hull))
        nothing = {"albedo": None, "brightness": None, "normal": None}
        rows[f"visual hull with projected colours, {shown} views"] = {
            **view_scores(colours, sample, targets),
            **nothing,
            "chamfer": chamfer(points, surface),
        }
        rows[f"nearest input view, {shown} views"] = {
            **view_scores(nearest, sample, targets),
            **nothing,
            "chamfer": None,
        }
        if shown == 8:
            pictures += [colours[0], nearest[0]]
    return rows, pictures


@torch.no_grad()
def measure_cost(lirm: Lirm, sample: ObjectSample) -> dict[str, Any]:
    """Measure the time of a reconstruction from 8 views, and memory after each of ten rounds of 4."""
    order = spread_order(sample.cameras, [])
    views = stack_views([sample], [torch.tensor(order[:8])], False, torch.device("cpu"))
    lirm.fields(lirm.observe(views))
    started = time.perf_counter()
    lirm.fields(lirm.observe(views))
    seconds = time.perf_counter() - started
    process = psutil.Process()
    memory, held, resident = None, [], []
    for _ in range(_MEMORY_ROUNDS):
        part = stack_views([sample], [torch.tensor(order[:4])], False, torch.device("cpu"))
        memory = lirm.observe(part, memory)
        tensors = [
            memory.tokens,
            *(t for e in memory.evidence for t in vars(e).values()),
        ]
        tensors += memory.features
        held.append(sum(t.nbytes for t in tensors))
        resident.append(process.memory_info().rss)
    return {"seconds": seconds, "held": held, "resident": resident}


def paired_gains(scores: Sequence[dict[str, Row]]) -> list[dict[str, Any]]:
    """Compute the gain in PSNR object by object, dB: mean, interval, least, number of objects that lose."""
    gains = []
    for row, other in COMPARED:
        values = np.array([result[row]["psnr"] for result in scores]) - [r[other]["psnr"] for r in scores]
        gains.append(
            {
                "row": row,
                "other": other,
                **asdict(bootstrap_mean(values)),
                "least": float(values.min()),
                "lose": int((values < 0).sum()),
            }
        )
    return gains


def draw_sheet(pictures: dict[str, list[Tensor]]) -> Image.Image:
    """Draw a row per object: truth, LIRM from 8 views with its albedo and normals, hull, nearest view."""
    rows = [torch.cat([p.clamp(0, 1) for p in row], dim=2) for row in pictures.values()]
    return Image.fromarray(to_8bit(torch.cat(rows, dim=1).permute(1, 2, 0).numpy()))


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""

    def rows(results: dict[str, Any]) -> list[list[str]]:
        def cell(value: dict[str, float] | float | None, decimals: int) -> str:
            if value is None:
                return ""
            if not isinstance(value, dict):
                return f"{value:.{decimals}f}"
            missing = document["objects"] - value["objects"]
            without = f" (without {missing:.0f} that have none)" if missing else ""
            return f"{value['mean']:.{decimals}f} ± {value['sd']:.{decimals}f}{without}"

        columns = (
            *(("psnr", 2), ("object", 2), ("ssim", 3), ("albedo", 2)),
            *(("brightness", 2), ("normal", 1), ("chamfer", 1)),
        )
        return [[name, *(cell(r[key], decimals) for key, decimals in columns)] for name, r in results.items()]

    head = [
        *("", "PSNR, dB", "object's, dB", "SSIM", "albedo, dB"),
        *("brightness error, stops", "normals, degrees", "Chamfer, mm"),
    ]
    cost = document["cost"]
    grown = (cost["resident"][-1] - cost["resident"][1]) / 2**20
    return (
        "# LIRM\n\n"
        f"`{document['weights']}`, {document['parameters'] / 1e6:.1f} M parameters. {_NEW} new views of "
        f"{document['side']} x {document['side']} pixels an object, on white, 8 bits; the next column is "
        "over the object's pixels alone. Albedo after one gain a picture and channel, and how far its "
        "mean is off without, channel by channel; Chamfer is the mean of both ways, for an object a metre "
        f"long: {document['floor']:.1f} mm for two samples of the truth. Environments are held out, the six "
        "material sets are not. The views come in rounds of 4, 4 and 8.\n\n"
        f"## {document['objects']} held-out procedural objects (± standard deviation over them)\n\n"
        + table(head, rows(document["procedural"]))
        + "\nObject by object, with the 95 % bootstrap interval of the mean over objects:\n\n"
        + table(
            ["", "gain in PSNR, dB", "least gain, dB", "objects that lose"],
            [
                [f"{g['row']}, against {g['other']}", interval(g), f"{g['least']:+.2f}", str(g["lose"])]
                for g in document["gains"]
            ],
        )
        + "\n### bob, path-traced\n\n"
        + table(head, rows(document["bob"]))
        + "\n![Rows: truth, LIRM, its albedo, its normals, the hull, the nearest view](lirm.jpg)\n\n"
        f"Eight views take {cost['seconds']:.2f} s. Remembered are {cost['held'][0] / 2**20:.1f} MiB "
        f"after the first round of four views and {cost['held'][-1] / 2**20:.1f} MiB after the tenth; the "
        f"process grew by {grown:.0f} MiB from the second to the tenth.\n"
        f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Score all objects; return the tables."""
    torch.set_num_threads(options.threads)
    lirm = load_lirm(weights_file(options.weights))
    samples = load_objects(options)
    results: dict[str, dict[str, Row]] = {}
    pictures, floors = {}, []
    for name, (sample, surface) in samples.items():
        results[name], pictures[name] = score_object(lirm, sample, surface)
        floors.append(chamfer(surface[::2], surface[1::2]))
        print(f"{name}: {results[name]['LIRM, 8 views']['psnr']:.2f} dB", flush=True)
    procedural = [r for name, r in results.items() if name != "bob"]
    document = {
        "weights": options.weights.name,
        "parameters": sum(p.numel() for p in lirm.parameters()),
        "side": options.side,
        "objects": len(procedural),
        "procedural": {row: summary([r[row] for r in procedural]) for row in procedural[0]},
        "gains": paired_gains(procedural),
        "bob": results["bob"],
        "floor": float(np.mean(floors)),
        "cost": measure_cost(lirm, samples["bob"][0]),
        "machine": describe_machine(),
    }
    shown = {name: pictures[name] for name in [*list(samples)[:5], "bob"]}
    with atomic_path(options.output / "lirm.jpg", overwrite=True) as temporary:
        draw_sheet(shown).save(temporary, "JPEG", quality=88)
    write_text(options.output / "lirm.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "lirm.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
