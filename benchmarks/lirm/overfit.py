"""First test of learning: overfit lirm-small to one glossy, textured object.

    python -m benchmarks.lirm.overfit DATA

It always gets the same eight views and is compared with these and 24 others; the eight new views that it is
scored on are neither. Writes docs/figures/lirm_overfit.{md,json,jpg}. Needs the extras [train] and
[synthesis].
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from PIL import Image
from torch import Generator, Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.scores import view_scores
from benchmarks.reconstruction.view_baselines import hull_views, nearest_views, visual_hull
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.field.rendering import RenderOptions, render_views
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, Pictures
from clearpane.synthesis.objects.materials import load_materials
from clearpane.synthesis.objects.rendering import render_object
from clearpane.synthesis.objects.samples import (
    GENERATOR_VERSION,
    ObjectSample,
    ObjectSources,
    draw_cameras,
    draw_environment,
    draw_points,
    load_object_sample,
    save_object_sample,
)
from clearpane.synthesis.objects.solids import draw_object
from clearpane.training.lirm.losses import WEIGHTS
from clearpane.training.lirm.objective import LirmObjective, Stage, TargetSampling, stack_views
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.runner import Schedule, run_steps

_SEED, _VIEWS, _SHOWN = 5, 40, 8
_ROUGHNESS = 0.2
_RATE = 1e-3
# An overfitted surface is known well enough for sharp edges.
_RENDERING = RenderOptions(1 / 2000, samples=128, occupancy=48)


@dataclass(frozen=True)
class Options:
    """Overfit to one object."""

    data: Positional[Path]
    """Folder with environments and materials."""
    steps: int = 1500
    """Optimiser steps."""
    side: int = 128
    """Side of the pictures, pixels."""
    threads: int = 2
    """CPU threads."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of lirm_overfit.md, .json and .jpg."""
    cache: Path = ROOT / "build" / "benchmarks" / "lirm-overfit"
    """Folder of the object and the checkpoint."""


def load_object(options: Options) -> ObjectSample:
    """Make a random object with glossy materials, seen from 40 sides; rendered once."""
    key = f"{_SEED}-{_VIEWS}-{_ROUGHNESS}-{options.side}-{GENERATOR_VERSION}"
    path = options.cache / f"object-{key}.safetensors"
    options.cache.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        maps = Pictures(options.data / "environments", ENVIRONMENT_SUFFIXES)
        sources = ObjectSources(load_materials(options.data / "materials"), maps)
        solid = draw_object(_SEED, sources.materials)
        for part in solid.primitives:
            for level in part.material.levels:
                level[4] = _ROUGHNESS
        generator = Generator().manual_seed(_SEED)
        environment = draw_environment(sources, generator)
        cameras = draw_cameras(_VIEWS, options.side, generator)
        views = render_object(solid, environment, cameras)
        points = draw_points(solid, views.mask, cameras, 16384, generator)
        save_object_sample(ObjectSample(views, cameras, points, solid.signed_distance(points)[:, None]), path)
    return load_object_sample(path)


def part_of(sample: ObjectSample, chosen: list[int]) -> ObjectSample:
    """Select some of an object's views."""
    views = type(sample.views)(*(value[chosen] for value in sample.views))
    return ObjectSample(views, sample.cameras[chosen], sample.points, sample.distances)


def train(options: Options, lirm: Lirm, sample: ObjectSample, shown: tuple[int, ...]) -> None:
    """Train or resume the model; it is left with its averaged weights."""
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare(torch.optim.AdamW(lirm.parameters(), betas=(0.9, 0.95), weight_decay=0))
    objective = LirmObjective(lirm, TargetSampling(targets=4, patch=32, samples=96))
    recipe = {
        **{"steps": options.steps, "side": options.side, "beta": _RENDERING.beta, "rate": _RATE},
        **{"config": asdict(lirm.config), "shown": list(shown), "losses": WEIGHTS},
        **{"seed": _SEED, "generator": GENERATOR_VERSION},
    }
    state = TrainingState(lirm, AveragedWeights(lirm, 0.99), optimizer, recipe=recipe)

    def loss_of(step: int) -> Tensor:
        stage = Stage(options.side, _RENDERING.beta, (len(shown),), shown)
        return objective([sample], stage, step_generator(0, step))

    if not run_steps(state, Schedule(options.steps, _RATE, floor=0.05), options.cache, loss_of, accelerator):
        raise KeyboardInterrupt
    lirm.load_state_dict(state.average.weights)
    lirm.eval()


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    rows = [
        [name, f"{r['psnr']:.2f}", f"{r['object']:.2f}", f"{r['ssim']:.3f}"]
        for name, r in document["rows"].items()
    ]
    return (
        "# Overfitting one object\n\n"
        f"lirm-small with planes twice as fine, after {document['steps']} steps on "
        f"{_VIEWS - document['new']} views of one object of roughness {_ROUGHNESS}, with always the same "
        f"{_SHOWN} as input, and on its true distances, depth, normals and materials; the baselines "
        f"below it have pictures and masks alone. {document['new']} new views of {document['side']} x "
        f"{document['side']} pixels on white.\n\n"
        + table(["", "PSNR, dB", "object's, dB", "SSIM"], rows)
        + "\n![New views: true, and below as they are rendered](lirm_overfit.jpg)\n"
        + "\nWeights of the losses: "
        + ", ".join(f"{name} {weight:g}" for name, weight in document["losses"].items())
        + f".\n\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Overfit to the object and render its new views."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sample = load_object(options)
    shown = list(range(0, _VIEWS, _VIEWS // _SHOWN))
    new = [view + 2 for view in shown]
    kept = [view for view in range(_VIEWS) if view not in new]
    # The textures are finer than lirm-small's usual planes, so these are twice as fine.
    lirm = Lirm(replace(LIRM_SMALL, plane_side=16))
    train(options, lirm, part_of(sample, kept), tuple(kept.index(view) for view in shown))
    with torch.no_grad():
        views = stack_views([sample], [torch.tensor(shown)], False, torch.device("cpu"))
        (field,) = lirm([views])
    wanted = sample.cameras[new]
    rendered = render_views(field, wanted, _RENDERING)["colour"]
    new_views = {"lirm-small with planes twice as fine": rendered}
    for name, own in (("the shown views", shown), (f"all {len(kept)} views", kept)):
        pictures, masks = sample.views.colour[own], sample.views.mask[own]
        hull = visual_hull(masks, sample.cameras[own])
        new_views[f"visual hull with projected colours, of {name}"] = hull_views(
            hull, pictures, masks, sample.cameras[own], wanted
        )
        new_views[f"nearest of {name}"] = nearest_views(pictures, sample.cameras[own], wanted)
    document = {
        "steps": options.steps,
        "side": options.side,
        "shown": shown,
        "new": len(new),
        "losses": WEIGHTS,
        "rows": {name: view_scores(views, sample, new) for name, views in new_views.items()},
        "machine": describe_machine(),
    }
    both = [torch.cat(list(x), dim=2) for x in (sample.views.colour[new], rendered.clamp(0, 1))]
    sheet = np.asarray(torch.cat(both, dim=1).permute(1, 2, 0))
    with atomic_path(options.output / "lirm_overfit.jpg", overwrite=True) as temporary:
        Image.fromarray(to_8bit(sheet)).save(temporary, "JPEG", quality=88)
    write_text(options.output / "lirm_overfit.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "lirm_overfit.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
