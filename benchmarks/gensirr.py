"""GenSIRR on kontext-small: does each of its parts help?

    python benchmarks/gensirr.py DATA [--only vae embedding steps branching] [--seeds 1]

Every cell is a fine-tune of kontext-small (docs/models/kontext-small.md) by `clearpane train kontext`, scored
on real_pairs/val, on rendered glass before held-out backgrounds and on blends of rendered rooms, whose depth
is known. The VAEs are those of equivariance.py, trained if they are not there; the depth estimator is that of
small_depth.py, to be run first. What is trained is kept; an interrupted run goes on. Writes
docs/figures/gensirr.md and gensirr.json after every cell. Needs the extras [train], [synthesis] and [flux].
"""

import json
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr, psnr_after_gain, ssim, to_8bit
from clearpane.evaluation.tables import write_text
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.base import load_separator
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.gensirr import TASK_FILE, one_step
from clearpane.separation.flux.loading import Loading, folder_fingerprint, load_backbone
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.scorers import (
    DepthEstimator,
    score_by_depth,
    score_by_depth_and_edges,
    score_by_residual,
)
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.training.kontext import EditPair, TrainKontext, load_glass_edits
from clearpane.training.kontext import run as train_kontext
from clearpane.training.pictures import load_pairs
from depth_rooms import load_rooms
from equivariance import UNTOUCHED, train_vaes
from equivariance import Options as VaeOptions
from gensirr_branches import Subset, score_branches
from gensirr_cells import BATCH, CELLS, CLAIMED, RATE, REAL_SHARE, SIDE, USUAL, ZOOM, Cell, Question, run_key
from gensirr_tables import render
from measuring import FOLDER, describe_machine
from panel import rendered_set
from panel_cells import base_digest
from rendered_scenes import SCENE_SETS, draw_scene_sets
from runs import finish, finish_runs, known_runs
from small_base import BASE, load_base

STEPS = (28, 8, 4, 2, 1)
SAMPLING = Sampling(8)
_BLENDS = 60
# Of a blend's light the share that is reflected: strong, so that it can be mistaken for the scene.
_REFLECTED = (0.2, 0.5)


@dataclass(frozen=True)
class Options:
    """Try GenSIRR's claims at small scale."""

    data: Positional[Path]
    """Folder with natural, environments and real_pairs."""
    only: tuple[Question | Literal["branching"], ...] = (*CELLS, "branching")
    """The questions to answer."""
    seeds: int = 1
    """Runs of each cell that a claim rests on; all others have one."""
    workers: int = 2
    """Runs at a time, of one thread each."""
    base: Path = BASE
    """Directory of kontext-small, made from the repository's weights."""
    depth: Path = FOLDER.parent / "build" / "benchmarks" / "small-depth"
    """Directory of the depth estimator."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of gensirr.md and gensirr.json."""
    cache: Path = FOLDER.parent / "build" / "benchmarks" / "gensirr"
    """Folder of the trained cells."""


def vae_folders(options: Options) -> dict[str, Path]:
    """The directories of the VAEs by name; trained where they are not there."""
    vaes = train_vaes(VaeOptions(options.data, base=options.base))
    return {UNTOUCHED: options.base / "vae", **vaes}


def train_cell(options: Options, cell: Cell, seed: int, vae: Path, folder: Path) -> None:
    """Train one cell, or go on with it."""
    recipe = TrainKontext(
        rendered_set(options.data, options.cache, "analytic scenes"),
        str(options.base),
        folder,
        vae=None if cell.vae == UNTOUCHED else vae,
        real=options.data / "real_pairs" / "train",
        real_share=REAL_SHARE,
        full=True,
        embedding=cell.embedding,
        one_step=cell.one_step,
        steps=cell.steps,
        batch=BATCH,
        side=SIDE,
        zoom=ZOOM,
        learning_rate=RATE,
        cpu=True,
        gradient_checkpointing=False,
        seed=seed,
    )
    if train_kontext(recipe):
        raise KeyboardInterrupt


def square(pair: EditPair) -> tuple[Tensor, Tensor]:
    """The middle of a photograph and of its truth as the editor sees them, 3 x 64 x 64 in [0, 1]."""
    height, width = pair.input.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    first, second = (
        F.interpolate(
            x[None, :, top : top + side, left : left + side] / 255,
            (SIDE, SIDE),
            mode="bilinear",
            antialias=True,
        )[0].clamp(0, 1)
        for x in (pair.input, pair.truth)
    )
    return first, second


def blend_rooms(rooms: dict[str, Tensor], count: int) -> Subset:
    """Rooms before rooms, ``I = (1 - a) B + a R`` in linear light; which one is farther by its mean depth."""
    generator = torch.Generator().manual_seed(5)
    behind, before = (
        srgb_to_linear(x[:count] / 255) for x in (rooms["pictures"], rooms["pictures"].roll(-count, 0))
    )
    low, high = _REFLECTED
    alpha = (low + (high - low) * torch.rand(count, generator=generator))[:, None, None, None]
    depth, mirrored = (x[:count].mean(dim=(1, 2)) for x in (rooms["depth"], rooms["depth"].roll(-count, 0)))
    photos, truths = linear_to_srgb(torch.lerp(behind, before, alpha)), linear_to_srgb(behind)
    return Subset(photos, truths, (mirrored > depth).numpy())


@cache
def subsets(data: Path, folder: Path) -> dict[str, Subset]:
    """What is scored: real_pairs/val, glass scenes with held-out backgrounds, blended rooms."""
    (scene_set,) = (s for s in SCENE_SETS if s.name == "flat panes")
    scenes = draw_scene_sets(data, folder.parent / "rendered", [scene_set], None)[scene_set.name]
    val = [EditPair(pair.input, pair.truth) for pair in load_pairs(data / "real_pairs" / "val")]
    chosen = {}
    for name, pairs in (("val", val), ("scenes", load_glass_edits(scenes))):
        photos, truths = (torch.stack(x) for x in zip(*(square(pair) for pair in pairs), strict=True))
        chosen[name] = Subset(photos, truths)
    rooms = load_rooms(data, folder.parent / "rooms", 2 * _BLENDS, 2, held_out=True)
    return {**chosen, "rooms": blend_rooms(rooms, _BLENDS)}


@torch.no_grad()
def remove(backbone: Backbone, task: TaskEmbedding, cell: Cell, photos: Tensor, sampling: Sampling) -> Tensor:
    """T of photographs."""
    reference = backbone.encode(photos)
    method = one_step if cell.one_step else sample
    return backbone.decode(method(backbone, reference, task, sampling)).clamp(0, 1)


def score(made: Tensor, truths: Tensor) -> dict[str, list[float]]:
    """By picture, of 8 bits."""
    pairs = [[to_8bit(x.permute(1, 2, 0).numpy()) for x in pair] for pair in zip(made, truths, strict=True)]
    metrics = {"psnr": psnr, "psnr_g": psnr_after_gain, "ssim": ssim}
    return {name: [metric(*pair) for pair in pairs] for name, metric in metrics.items()}


def score_run(options: Options, cell: Cell, seed: int, vae: Path, key: str) -> dict[str, Any]:
    """Everything a run is measured by; it is trained if it is not yet."""
    torch.set_num_threads(1)
    folder = options.cache / key
    fresh, started = not folder.exists(), monotonic()
    if not (folder / "gensirr.json").is_file():
        train_cell(options, cell, seed, vae, folder)
    scores: dict[str, Any] = {"seconds": monotonic() - started} if fresh else {}
    backbone, task = load_run(folder)
    chosen = subsets(options.data, options.cache)
    for name, subset in chosen.items():
        scores[name] = score(remove(backbone, task, cell, subset.photos, SAMPLING), subset.truths)
    if cell == USUAL and "steps" in options.only:
        scores["steps"] = {
            str(steps): {
                name: score(remove(backbone, task, cell, subset.photos, Sampling(steps)), subset.truths)
                for name, subset in chosen.items()
            }
            for steps in STEPS
        }
    if cell == USUAL and "branching" in options.only:
        branches = {
            name: score_branches(backbone, task, SAMPLING, subset, scorers(options))
            for name, subset in chosen.items()
        }
        scores["branches"] = branches | {"depth": folder_fingerprint(options.depth)}
    return scores


def load_run(folder: Path) -> tuple[Backbone, TaskEmbedding]:
    """What a cell was trained to."""
    task = load_task_embedding(folder / TASK_FILE).to("cpu", torch.float32)
    return load_backbone(folder, Loading("float32", "cpu")), task


def time_cells(options: Options, document: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds of the cells of the question of steps, with nothing else at work."""
    torch.set_num_threads(1)
    photo = subsets(options.data, options.cache)["val"].photos[:1]
    times = {}
    for name, cell in CELLS["steps"].items():
        folder = options.cache / run_key(cell, 0, document["base"], document["vaes"][cell.vae])
        if (folder / "gensirr.json").is_file():
            times[name] = time_removal(*load_run(folder), cell, photo)
    return times


def time_removal(backbone: Backbone, task: TaskEmbedding, cell: Cell, photo: Tensor) -> dict[str, float]:
    """Median seconds for one photograph by steps, encoding and decoding included."""
    seconds = {}
    for steps in (1,) if cell.one_step else STEPS:
        taken = []
        for _ in range(5):
            started = monotonic()
            remove(backbone, task, cell, photo, Sampling(steps))
            taken.append(monotonic() - started)
        seconds[str(steps)] = float(np.median(taken))
    return seconds


def scorers(options: Options) -> dict[str, Any]:
    """What picks, by what it looks at."""
    estimator = DepthEstimator(str(options.depth), torch.device("cpu"))
    return {
        "depth": score_by_depth(estimator),
        "depth and edges": score_by_depth_and_edges(estimator),
        "residual reflection": score_by_residual(load_separator("compact")),
    }


def score_others(options: Options) -> dict[str, dict[str, Any]]:
    """Doing nothing, and the compact separator, at the size the editor sees."""
    separator = load_separator("compact")
    rows: dict[str, dict[str, Any]] = {"nothing": {}, "compact": {}}
    for name, subset in subsets(options.data, options.cache).items():
        arrays = [np.ascontiguousarray(x.permute(1, 2, 0).numpy()) for x in subset.photos]
        made = torch.stack(
            [torch.from_numpy(separator.separate(x).transmission).permute(2, 0, 1) for x in arrays]
        )
        rows["nothing"][name] = score(subset.photos, subset.truths)
        rows["compact"][name] = score(made, subset.truths)
    return rows


def score_missing(options: Options, document: dict[str, Any]) -> None:
    """Train and score the runs that the document has not, several at a time, and write each as it ends."""
    vaes = vae_folders(options)
    prints = document.setdefault("vaes", {})
    prints |= {name: folder_fingerprint(folder) for name, folder in vaes.items()}
    wanted: dict[str, tuple[Cell, int]] = {}
    questions = [question for question in options.only if question != "branching"]
    cells = [USUAL, *(cell for question in questions for cell in CELLS[question].values())]
    for seed in range(options.seeds):  # all cells once before any a second time
        for cell in (cell for cell in cells if seed == 0 or cell in CLAIMED):
            key = run_key(cell, seed, document["base"], prints[cell.vae])
            known = document["runs"].get(key, {})
            asked = {"steps", "branches"} if cell == USUAL else set()
            asked &= {"branches" if question == "branching" else question for question in options.only}
            if "branches" in known and known["branches"]["depth"] != folder_fingerprint(options.depth):
                del known["branches"]
            if not known or asked - set(known):
                wanted[key] = cell, seed
    # Once, before several processes would draw the same.
    rendered_set(options.data, options.cache, "analytic scenes")
    subsets(options.data, options.cache)
    jobs = {key: (options, cell, seed, vaes[cell.vae], key) for key, (cell, seed) in wanted.items()}
    for key, scores in finish_runs(score_run, jobs, options.workers):
        document["runs"][key] = document["runs"].get(key, {}) | scores
        write(options, document)


def write(options: Options, document: dict[str, Any]) -> None:
    """The numbers and the tables."""
    write_text(options.output / "gensirr.json", json.dumps(document) + "\n", overwrite=True)
    write_text(options.output / "gensirr.md", render(document), overwrite=True)


def measure(options: Options) -> str:
    """Train and score what is missing; the tables."""
    if not (options.depth / "config.json").is_file():
        raise ClearpaneError(f"{options.depth}: missing; run benchmarks/small_depth.py first")
    load_base(options.base)
    document = known_runs(options.output / "gensirr.json", base_digest(options.base))
    document["others"] = score_others(options)
    document |= {"seeds": max(options.seeds, document.get("seeds", 1)), "machine": describe_machine()}
    score_missing(options, document)
    if "steps" in options.only:
        document["times"] = document.get("times", {}) | time_cells(options, document)
    write(options, document)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
