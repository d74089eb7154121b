"""Distil the panel and GenSIRR, on kontext-small, into editors of one step; draw quality over time.

    python -m benchmarks.flux.distillation DATA

Each teacher is a fine-tune of kontext-small's whole transformer by flow matching. Its student starts from its
weights and learns to reach in one step, from the same noise, the latents that the teacher reaches in four;
it sees photographs only. A second student learns the true latents instead. Trained parts are kept; an
interrupted run resumes. Writes docs/figures/distillation.md and .json after every part, and distillation.svg.
Needs the extras [train] and [flux].
"""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, Literal

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from benchmarks.common.linear_light import linear_light_blend
from benchmarks.common.measuring import ROOT, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish, known_runs
from benchmarks.flux.distillation_tables import draw_curve, render
from benchmarks.flux.gensirr_branches import quality
from benchmarks.flux.panel import central_square, to_bytes
from benchmarks.flux.panel_cells import base_digest
from benchmarks.flux.small_base import BASE, load_base
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.sampling import Sampling, integrate, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr.separator import REMOVAL_SENTENCE
from clearpane.separation.panel.separator import cut_panels, reference_panel
from clearpane.separation.separator import load_separator
from clearpane.synthesis.dataset.shards import PANEL_CAPTION
from clearpane.training.flux.flow_matching import distillation_loss, flow_matching_loss
from clearpane.training.flux.panel_batches import PanelPictures, load_real_panels
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.pictures import load_natural, random_crop
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import Schedule, run_steps

Editor = Literal["GenSIRR", "panel"]
Part = Literal["teacher", "distilled", "one step from the truth"]
EDITORS: dict[Editor, str] = {"GenSIRR": REMOVAL_SENTENCE, "panel": PANEL_CAPTION}
PARTS: tuple[Part, ...] = ("teacher", "distilled", "one step from the truth")
STEPS, TEACHER_STEPS = (1, 2, 4, 8), 4
_RATE, _AVERAGE, _SIZE, _SCENES, _HELD_OUT = 1e-3, 0.98, 160, 200, 24


@dataclass(frozen=True)
class Options:
    """Distil the panel and GenSIRR at small scale."""

    data: Positional[Path]
    """Folder with natural and real_pairs/val."""
    editors: tuple[Editor, ...] = tuple(EDITORS)
    """The editors to distil."""
    steps: int = 100
    """Optimiser steps of the teacher."""
    distilling_steps: int = 80
    """Optimiser steps of each student."""
    batch: int = 8
    """Photographs per step."""
    side: int = 48
    """Side of a picture, pixels."""
    base: Path = BASE
    """Directory of kontext-small, made from the repository's weights."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of distillation.md, .json and .svg."""
    cache: Path = ROOT / "build" / "benchmarks" / "distillation"
    """Folder of the trained parts."""


def blends(data: Path, count: int, *, held_out: bool) -> list[PanelPictures]:
    """Blend natural pictures in linear light."""
    natural = load_natural(data / "natural", held_out=held_out)
    made = []
    for index in range(count):
        generator = step_generator(11, index)
        two = torch.randperm(len(natural), generator=generator)[:2].tolist()
        first, second = (random_crop((natural[i],), _SIZE, generator)[0] for i in two)
        blend = linear_light_blend(first, second, generator)
        made.append(
            PanelPictures(*(to_bytes(x) for x in (blend.input, blend.transmission, blend.reflection)))
        )
    return made


def draw_crops(pictures: list[PanelPictures], options: Options, generator: Generator) -> list[Tensor]:
    """Draw windows of I, T and R, [B, 3, side, side] each."""
    crops = []
    for index in torch.randint(len(pictures), (options.batch,), generator=generator).tolist():
        layers = tuple(layers_of(pictures[index]))
        crops.append(random_crop(layers, options.side, generator, _SIZE / options.side))
    return [torch.stack(x) for x in zip(*crops, strict=True)]


def layers_of(picture: PanelPictures) -> list[Tensor]:
    """Return I, T and, if it is known, R."""
    return [x for x in (picture.input, picture.transmission, picture.reflection) if x is not None]


def given_and_wanted(editor: Editor, crops: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the pictures that an editor is given and those it should make."""
    photo, transmission, reflection = crops
    if editor == "panel":
        return reference_panel(photo), torch.cat([photo, transmission, reflection], dim=-1)
    return photo, transmission


@torch.no_grad()
def remove(editor: Editor, backbone: Backbone, task: TaskEmbedding, photos: Tensor, how: Sampling) -> Tensor:
    """Predict T of photographs."""
    reference = backbone.encode(reference_panel(photos) if editor == "panel" else photos)
    made = backbone.decode(sample(backbone, reference, task, how)).clamp(0, 1)
    return cut_panels(made)[1] if editor == "panel" else made


def loss_of_part(
    part: Part,
    editor: Editor,
    backbone: Backbone,
    teacher: Backbone,
    task: TaskEmbedding,
    crops: list[Tensor],
    generator: Generator,
) -> Tensor:
    """Compute the loss of a step of a teacher or of a student."""
    with torch.no_grad():
        given, wanted = given_and_wanted(editor, crops)
        reference = backbone.encode(given)
        if part != "distilled":
            ends = backbone.encode(wanted)
        if part != "teacher":
            noise = torch.randn(reference.shape, generator=generator).to(reference)
        if part == "distilled":
            ends = integrate(teacher, noise, reference, task, Sampling(TEACHER_STEPS))
    if part == "teacher":
        return flow_matching_loss(backbone, ends, reference, task, DEFAULT_GUIDANCE, generator)
    return distillation_loss(backbone, ends, noise, reference, task, DEFAULT_GUIDANCE)


def train_part(
    options: Options,
    part: Part,
    editor: Editor,
    start: Backbone,
    pictures: list[PanelPictures],
    task: TaskEmbedding,
) -> tuple[Backbone, float | None]:
    """Train or load a part; return it, and the processor's seconds if this run trained all of it.

    Args:
        start: Backbone to start from, which a student also learns from.
    """
    steps = options.steps if part == "teacher" else options.distilling_steps
    name = f"{editor}-{part}-{options.steps}-{steps}-{options.batch}-{options.side}".replace(" ", "_")
    folder = options.cache / name
    trained = folder / "trained.safetensors"
    transformer = copy.deepcopy(start.transformer).requires_grad_(True)
    backbone = Backbone(transformer, start.vae, start.scheduler, start.device)
    seconds = None
    if not trained.is_file():
        fresh, began = not folder.exists(), process_time()
        folder.mkdir(parents=True, exist_ok=True)
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(transformer.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
        average = AveragedWeights(transformer, _AVERAGE)
        state = TrainingState(
            transformer, average, accelerator.prepare(optimizer), recipe={"name": name, "steps": steps}
        )

        def loss_at(step: int) -> Tensor:
            generator = step_generator(PARTS.index(part), step)
            crops = draw_crops(pictures, options, generator)
            with mixed_precision("cpu", False):
                return loss_of_part(part, editor, backbone, start, task, crops, generator)

        if not run_steps(state, Schedule(steps, _RATE, checkpoint_every=20), folder, loss_at, accelerator):
            raise KeyboardInterrupt
        with atomic_path(trained, overwrite=True) as temporary:
            save_file({n: x.contiguous() for n, x in state.average.weights.items()}, temporary)
        if fresh:
            seconds = process_time() - began
    transformer.load_state_dict(load_file(trained))
    transformer.requires_grad_(False)
    return backbone, seconds


def shrink(pictures: list[PanelPictures], side: int) -> tuple[Tensor, Tensor]:
    """Return I and T of square pictures at an editor's size, [N, 3, side, side]."""
    layers = [
        torch.cat([F.interpolate(x[None] / 255, (side, side), mode="bilinear", antialias=True) for x in row])
        for row in ([p.input for p in pictures], [p.transmission for p in pictures])
    ]
    return layers[0].clamp(0, 1), layers[1].clamp(0, 1)


def score_part(
    part: Part,
    editor: Editor,
    backbone: Backbone,
    task: TaskEmbedding,
    subsets: dict[str, tuple[Tensor, Tensor]],
) -> dict[str, Any]:
    """Score a part by its number of steps: metrics by picture, and the processor's seconds of one."""
    rows: dict[str, Any] = {}
    for steps in STEPS if part == "teacher" else (1,):
        how = Sampling(steps)
        photo = next(iter(subsets.values()))[0][:1]
        row: dict[str, Any] = {
            "seconds": time_of(partial(remove, editor, backbone, task, photo, how)),
        }
        for name, (photos, truths) in subsets.items():
            row[name] = quality(remove(editor, backbone, task, photos, how), truths)
        rows[str(steps)] = row
    return rows


def time_of(work: Callable[[], Any]) -> float:
    """Return the median seconds of the processor of three runs, after one that warms up."""
    taken = []
    for _ in range(4):
        began = process_time()
        work()
        taken.append(process_time() - began)
    return float(np.median(taken[1:]))


def score_others(options: Options, subsets: dict[str, list[PanelPictures]]) -> dict[str, Any]:
    """Score doing nothing, and `compact` at the pictures' own size, shrunk afterwards."""
    separator = load_separator("compact")
    rows: dict[str, Any] = {"nothing": {}, "compact": {"seconds": 0.0}}
    taken = []
    for name, pictures in subsets.items():
        photos, truths = shrink(pictures, options.side)
        rows["nothing"][name] = quality(photos, truths)
        made = []
        for picture in pictures:
            photo = np.ascontiguousarray(picture.input.permute(1, 2, 0).numpy() / np.float32(255))
            began = process_time()
            layers = separator.separate(photo)
            taken.append((process_time() - began) / photo[..., 0].size)
            made.append(
                PanelPictures(
                    to_bytes(torch.from_numpy(layers.transmission).permute(2, 0, 1)),
                    picture.transmission,
                    None,
                )
            )
        rows["compact"][name] = quality(shrink(made, options.side)[0], truths)
    # Its time grows with the pixels; the editors see as few as this.
    rows["compact"]["seconds"] = float(np.median(taken)) * options.side**2
    rows["compact"]["own seconds"] = float(np.median(taken)) * float(
        np.median([p.input[0].numel() for p in subsets["val"]])
    )
    return rows


def write(options: Options, document: dict[str, Any]) -> None:
    """Write the figures, the tables and the picture."""
    write_text(options.output / "distillation.json", json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "distillation.md", render(document), __spec__.name)
    write_text(options.output / "distillation.svg", draw_curve(document), overwrite=True)


def measure(options: Options) -> str:
    """Train and score what is missing; return the tables."""
    torch.set_num_threads(1)
    load_base(options.base)
    start = load_backbone(options.base, Loading("float32", "cpu"))
    facts = [base_digest(options.base), options.steps, options.distilling_steps, options.batch, options.side]
    document = known_runs(options.output / "distillation.json", str(facts))
    document |= {
        "steps": options.steps,
        "distilling_steps": options.distilling_steps,
        "batch": options.batch,
        "side": options.side,
        "machine": describe_machine(),
    }
    val = [central_square(picture) for picture in load_real_panels(options.data / "real_pairs" / "val")]
    scored = {"val": val, "blends": blends(options.data, _HELD_OUT, held_out=True)}
    subsets = {name: shrink(pictures, options.side) for name, pictures in scored.items()}
    if "others" not in document:
        document["others"] = score_others(options, scored)
    pictures = blends(options.data, _SCENES, held_out=False)
    tasks = {x: encode_text(options.base, EDITORS[x]).to("cpu", torch.float32) for x in options.editors}
    for part in PARTS:  # every teacher and its student before any second student
        for editor in options.editors:
            key = f"{editor}, {part}"
            if key in document["runs"]:
                continue
            first = start
            if part != "teacher":
                first, _ = train_part(options, "teacher", editor, start, pictures, tasks[editor])
            backbone, seconds = train_part(options, part, editor, first, pictures, tasks[editor])
            document["runs"][key] = {
                "training_seconds": seconds,
                "scores": score_part(part, editor, backbone, tasks[editor], subsets),
            }
            print(key, seconds, flush=True)
            write(options, document)
    write(options, document)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
