"""Test each part of GenSIRR on kontext-small.

    python -m benchmarks.flux.gensirr DATA [--only vae embedding steps branching] [--seeds 1]

Every cell is a fine-tune of kontext-small (docs/models/kontext-small.md) by `clearpane train gensirr`, scored
on real_pairs/val, on rendered glass in front of held-out backgrounds and on blends of rendered rooms of known
depth. The VAEs are those of equivariance.py, trained if missing; the depth estimator is that of
small_depth.py, which must be run first. Trained runs are kept; an interrupted run resumes. Writes
docs/figures/gensirr.md, gensirr.json and gensirr_steps.svg after every cell, and gensirr.jpg at the end.
Needs the extras [train], [synthesis] and [flux].
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.rendered_scenes import SCENE_SETS, draw_scene_sets
from benchmarks.common.runs import finish, finish_runs, known_runs
from benchmarks.flux.depth_rooms import load_rooms
from benchmarks.flux.equivariance import UNTOUCHED, train_vaes, vae_key
from benchmarks.flux.equivariance import Options as VaeOptions
from benchmarks.flux.gensirr_branches import METRICS, Subset, quality, score_branches
from benchmarks.flux.gensirr_cells import (
    BATCH,
    CELLS,
    PRECISION,
    RATE,
    REAL_SHARE,
    SIDE,
    USUAL,
    USUAL_STEPS,
    ZOOM,
    Cell,
    Question,
    noises_of,
    run_key,
)
from benchmarks.flux.gensirr_curve import draw_curve
from benchmarks.flux.gensirr_tables import render
from benchmarks.flux.panel import rendered_set
from benchmarks.flux.panel_cells import base_digest
from benchmarks.flux.small_base import BASE, load_base
from benchmarks.flux.small_depth import estimator_digest
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.loading import Loading, load_backbone
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.settings import load_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.separation.gensirr.branching import Scorer
from clearpane.separation.gensirr.scorers import (
    DepthEstimator,
    edge_energy,
    score_by_depth,
    score_by_residual,
)
from clearpane.separation.gensirr.separator import (
    SETTINGS_FILE,
    TASK_FILE,
    GensirrSeparator,
    GensirrSettings,
    one_step,
)
from clearpane.separation.separator import Separator, load_separator
from clearpane.training.flux.edit_batches import EditPair, load_glass_edits
from clearpane.training.flux.gensirr import TrainGensirr
from clearpane.training.flux.gensirr import run as train_kontext
from clearpane.training.pictures import load_pairs

STEPS = (8, 4, 2, 1)
_BLENDS = 60
# Photographs on the sheet, by subset.
_SHOWN = {"val": 4, "scenes": 3, "rooms": 3}
# Reflected share of a blend's light: strong enough to be mistaken for the scene.
_REFLECTED = (0.2, 0.5)


@dataclass(frozen=True)
class Options:
    """Test GenSIRR's claims at small scale."""

    data: Positional[Path]
    """Folder with natural, environments and real_pairs."""
    only: tuple[Question | Literal["branching"], ...] = (*CELLS, "branching")
    """The questions to answer."""
    seeds: int = 1
    """Runs of each cell, for the VAE and for the transformer."""
    workers: int = 2
    """Number of runs in parallel, with one thread each."""
    base: Path = BASE
    """Directory of kontext-small, made from the repository's weights."""
    depth: Path = ROOT / "build" / "benchmarks" / "small-depth"
    """Directory of the depth estimator."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of gensirr.md and gensirr.json."""
    cache: Path = ROOT / "build" / "benchmarks" / "gensirr"
    """Folder of the trained cells."""


def vae_options(options: Options) -> VaeOptions:
    """Return the training options of the VAEs."""
    return VaeOptions(options.data, base=options.base, workers=options.workers)


def vae_keys(options: Options) -> dict[str, dict[str, str]]:
    """Return the keys of the VAEs' runs, by name and seed."""
    vaes = vae_options(options)
    return {
        name: {
            str(seed): UNTOUCHED if name == UNTOUCHED else vae_key(vaes, name, seed)
            for seed in range(options.seeds)
        }
        for name in CELLS["vae"]
    }


def train_cell(options: Options, cell: Cell, seed: int, vae: Path, folder: Path) -> None:
    """Train or resume one cell."""
    recipe = TrainGensirr(
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
        precision=PRECISION,
        cpu=True,
        gradient_checkpointing=False,
        seed=seed,
    )
    if train_kontext(recipe):
        raise KeyboardInterrupt


def square(pair: EditPair) -> tuple[Tensor, Tensor]:
    """Return the central squares of a photograph and its ground truth at the editor's size, [3, 64, 64]."""
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
    """Blend rooms, ``I = (1 - a) B + a R`` in linear light; note which is farther by mean depth."""
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
def photographs(data: Path, folder: Path) -> dict[str, list[EditPair]]:
    """Return the pairs to score, at full size: real_pairs/val, and glass scenes with held-out backgrounds."""
    (scene_set,) = (s for s in SCENE_SETS if s.name == "flat panes")
    scenes = draw_scene_sets(data, folder.parent / "rendered", [scene_set], None)[scene_set.name]
    val = [EditPair(pair.input, pair.truth) for pair in load_pairs(data / "real_pairs" / "val")]
    return {"val": val, "scenes": load_glass_edits(scenes)}


def shrink_all(pairs: Sequence[EditPair]) -> Subset:
    """Shrink pairs to the editor's size."""
    photos, truths = (torch.stack(x) for x in zip(*(square(pair) for pair in pairs), strict=True))
    return Subset(photos, truths)


@cache
def subsets(data: Path, folder: Path) -> dict[str, Subset]:
    """Return the subsets to score at the editor's size: the photographs, and blended rooms."""
    chosen = {name: shrink_all(pairs) for name, pairs in photographs(data, folder).items()}
    rooms = load_rooms(data, folder.parent / "rooms", 2 * _BLENDS, 2, held_out=True)
    return {**chosen, "rooms": blend_rooms(rooms, _BLENDS)}


@torch.no_grad()
def remove(backbone: Backbone, task: TaskEmbedding, cell: Cell, photos: Tensor, sampling: Sampling) -> Tensor:
    """Predict T of photographs."""
    reference = backbone.encode(photos)
    method = one_step if cell.one_step else sample
    return backbone.decode(method(backbone, reference, task, sampling)).clamp(0, 1)


def separate_all(separator: Separator, pairs: Sequence[EditPair]) -> list[Tensor]:
    """Predict T of photographs at their own size, [3, H, W] in [0, 1] each."""
    photos = (np.ascontiguousarray(pair.input.permute(1, 2, 0).numpy() / np.float32(255)) for pair in pairs)
    return [torch.from_numpy(separator.separate(x).transmission).permute(2, 0, 1) for x in photos]


def full_size_quality(made: Iterable[Tensor], pairs: Sequence[EditPair]) -> dict[str, list[float]]:
    """Compute the metrics of pictures at their own size, by picture."""
    rows = [quality(x[None], pair.truth[None] / 255) for x, pair in zip(made, pairs, strict=True)]
    return {metric: [row[metric][0] for row in rows] for metric in METRICS}


def score_run(options: Options, cell: Cell, seed: int, vae: Path, key: str) -> dict[str, Any]:
    """Measure a run; train it first if it is missing."""
    torch.set_num_threads(1)
    folder = options.cache / key
    fresh, started = not folder.exists(), monotonic()
    if not (folder / SETTINGS_FILE).is_file():
        train_cell(options, cell, seed, vae, folder)
    scores: dict[str, Any] = {"seconds": monotonic() - started} if fresh else {}
    backbone, task = load_run(folder)
    chosen = subsets(options.data, options.cache)
    noises = noises_of(seed)

    def mean_quality(steps: int, subset: Subset) -> dict[str, list[float]]:
        """Average over the noises, by picture; without noise there is one result."""
        samplings = [Sampling(steps, noise) for noise in (noises[:1] if cell.one_step else noises)]
        made = (remove(backbone, task, cell, subset.photos, sampling) for sampling in samplings)
        return mean_of_noises([quality(x, subset.truths) for x in made])

    scores |= {name: mean_quality(USUAL_STEPS, subset) for name, subset in chosen.items()}
    if cell == USUAL:
        settings = load_settings(GensirrSettings, folder / SETTINGS_FILE, "this benchmark")
        separators = [
            GensirrSeparator(backbone, task, settings, Sampling(USUAL_STEPS, noise)) for noise in noises
        ]
        scores["full size"] = {
            name: mean_of_noises([full_size_quality(separate_all(x, pairs), pairs) for x in separators])
            for name, pairs in photographs(options.data, options.cache).items()
        }
    if cell == USUAL and "steps" in options.only:
        scores["steps"] = {
            str(steps): {
                name: scores[name] if steps == USUAL_STEPS else mean_quality(steps, subset)
                for name, subset in chosen.items()
            }
            for steps in STEPS
        }
    if cell == USUAL and "branching" in options.only:
        sampling = Sampling(USUAL_STEPS, noises[0])
        branches = {
            name: score_branches(backbone, task, sampling, subset, scorers(options))
            for name, subset in chosen.items()
        }
        scores["branches"] = branches | {"depth": estimator_digest(options.depth)}
    return scores


def mean_of_noises(scored: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Average results of several noises, by metric and picture."""
    return {metric: np.mean([x[metric] for x in scored], axis=0).tolist() for metric in METRICS}


def load_run(folder: Path) -> tuple[Backbone, TaskEmbedding]:
    """Load a trained cell."""
    task = load_task_embedding(folder / TASK_FILE).to("cpu", torch.float32)
    return load_backbone(folder, Loading("float32", "cpu")), task


def time_cells(options: Options, document: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Time the cells of the question of steps, with nothing else running."""
    torch.set_num_threads(1)
    photo = subsets(options.data, options.cache)["val"].photos[:1]
    folders = trained_cells(options, document)
    cells = CELLS["steps"]
    return {name: time_removal(*load_run(folder), cells[name], photo) for name, folder in folders.items()}


def trained_cells(options: Options, document: dict[str, Any]) -> dict[str, Path]:
    """Return the folders of the cells of the question of steps, by name: of the first seed that both have.

    The scores of runs are kept in the repository, the trained weights are not.
    """
    for seed in map(str, range(options.seeds)):
        folders = {
            name: options.cache / run_key(cell, int(seed), document["base"], document["vaes"][cell.vae][seed])
            for name, cell in CELLS["steps"].items()
        }
        if all((folder / SETTINGS_FILE).is_file() for folder in folders.values()):
            return folders
    return {}


def time_removal(backbone: Backbone, task: TaskEmbedding, cell: Cell, photo: Tensor) -> dict[str, float]:
    """Measure the median seconds for one photograph by steps, encoding and decoding included."""
    seconds = {}
    for steps in (1,) if cell.one_step else STEPS:
        taken = []
        for _ in range(5):
            started = monotonic()
            remove(backbone, task, cell, photo, Sampling(steps))
            taken.append(monotonic() - started)
        seconds[str(steps)] = float(np.median(taken))
    return seconds


def scorers(options: Options) -> dict[str, Scorer]:
    """Return the scorers to compare."""
    estimator = DepthEstimator(str(options.depth), torch.device("cpu"))
    residual = score_by_residual(load_separator("compact"))

    def enlarged(pictures: Tensor) -> Tensor:
        """Enlarge pictures for the compact separator, which cannot handle such small ones."""
        return residual(F.interpolate(pictures, scale_factor=4, mode="bilinear").clamp(0, 1))

    return {
        "depth": score_by_depth(estimator),
        "edges": lambda pictures: -edge_energy(pictures),
        "residual reflection": enlarged,
    }


def score_others(options: Options) -> dict[str, dict[str, Any]]:
    """Score doing nothing and the compact separator: shrunk to the editor's size, and at full size.

    The compact separator gets the photographs at their own size; rooms exist only at the editor's.
    """
    separator = load_separator("compact")
    rows: dict[str, dict[str, Any]] = {name: {"full size": {}} for name in ("nothing", "compact")}
    for name, pairs in photographs(options.data, options.cache).items():
        made = separate_all(separator, pairs)
        small = shrink_all([EditPair(255 * x, pair.truth) for x, pair in zip(made, pairs, strict=True)])
        rows["compact"][name] = quality(small.photos, small.truths)
        rows["compact"]["full size"][name] = full_size_quality(made, pairs)
        rows["nothing"]["full size"][name] = full_size_quality((pair.input / 255 for pair in pairs), pairs)
    subset = subsets(options.data, options.cache)["rooms"]
    photos, truths = ((255 * x).round() for x in (subset.photos, subset.truths))
    rooms = separate_all(separator, [EditPair(*pair) for pair in zip(photos, truths, strict=True)])
    rows["compact"]["rooms"] = quality(torch.stack(rooms), subset.truths)
    for name, subset in subsets(options.data, options.cache).items():
        rows["nothing"][name] = quality(subset.photos, subset.truths)
    return rows


def score_missing(options: Options, document: dict[str, Any]) -> None:
    """Train and score the missing runs in parallel, and write each as it ends."""
    keys = vae_keys(options)
    for name, by_seed in keys.items():
        document.setdefault("vaes", {}).setdefault(name, {}).update(by_seed)
    estimator = estimator_digest(options.depth)
    wanted: dict[str, tuple[Cell, int]] = {}
    questions = [question for question in options.only if question != "branching"]
    cells = [USUAL, *(cell for question in questions for cell in CELLS[question].values())]
    for seed in range(options.seeds):  # every cell once before any gets a second seed
        for cell in cells:
            key = run_key(cell, seed, document["base"], keys[cell.vae][str(seed)])
            known = document["runs"].get(key, {})
            asked = {"steps", "branches"} if cell == USUAL else set()
            asked &= {"branches" if question == "branching" else question for question in options.only}
            if "branches" in known and "branches" in asked and known["branches"]["depth"] != estimator:
                del known["branches"]
            if not known or asked - set(known):
                wanted[key] = cell, seed
    untouched = {(UNTOUCHED, seed) for seed in range(options.seeds)}
    # Once, before several processes would render the same scenes.
    rendered_set(options.data, options.cache, "analytic scenes")
    subsets(options.data, options.cache)
    vaes = train_vaes(vae_options(options), {(cell.vae, seed) for cell, seed in wanted.values()} - untouched)
    vaes |= dict.fromkeys(untouched, options.base / "vae")
    jobs = {key: (options, cell, seed, vaes[cell.vae, seed], key) for key, (cell, seed) in wanted.items()}
    for key, scores in finish_runs(score_run, jobs, options.workers):
        document["runs"][key] = document["runs"].get(key, {}) | scores
        write(options, document)


def write(options: Options, document: dict[str, Any]) -> None:
    """Write the figures and the tables."""
    write_text(options.output / "gensirr.json", json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "gensirr.md", render(document), __spec__.name)
    if curve := draw_curve(document):
        write_text(options.output / "gensirr_steps.svg", curve, overwrite=True)


def draw_sheet(options: Options, document: dict[str, Any]) -> Image.Image | None:
    """Draw a column per photograph: input, T by flow matching, T in one step, ground truth.

    Return None before there are runs.
    """
    folders = trained_cells(options, document)
    if not folders:
        return None
    columns = []
    cells = CELLS["steps"]
    for name, shown in _SHOWN.items():
        chosen = subsets(options.data, options.cache)[name]
        photos, truths = chosen.photos[:shown], chosen.truths[:shown]
        sampling = Sampling(USUAL_STEPS)
        made = [remove(*load_run(folder), cells[x], photos, sampling) for x, folder in folders.items()]
        columns += [torch.cat(list(rows), dim=1) for rows in zip(photos, *made, truths, strict=True)]
    sheet = Image.fromarray(to_8bit(torch.cat(columns, dim=2).permute(1, 2, 0).numpy()))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)


def measure(options: Options) -> str:
    """Train and score what is missing; return the tables."""
    estimator_digest(options.depth)  # fail before hours of training, not after
    load_base(options.base)
    document = known_runs(options.output / "gensirr.json", base_digest(options.base))
    document["others"] = score_others(options)
    document |= {"seeds": max(options.seeds, document.get("seeds", 1)), "machine": describe_machine()}
    score_missing(options, document)
    if "steps" in options.only:
        document["times"] = document.get("times", {}) | time_cells(options, document)
    write(options, document)
    sheet = draw_sheet(options, document)
    if sheet:
        with atomic_path(options.output / "gensirr.jpg", overwrite=True) as temporary:
            sheet.save(temporary, "JPEG", quality=90)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
