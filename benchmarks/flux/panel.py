"""Measure what SIRR-LMM's panel learns on kontext-small, with a table for each question.

    python -m benchmarks.flux.panel DATA [--only blends caption ...] [--seeds 1]

Every cell is a fine-tune of kontext-small (docs/models/kontext-small.md), scored on rendered scenes with
held-out backgrounds and on real_pairs/val, both shrunk to the panel's size, and on the edits that the base
was trained on. Trained cells are kept, and scored again without training by --rescore; an interrupted one
resumes. Writes docs/figures/panel.md and panel.json after every cell, and panel.jpg at the end. Needs the
extras [train], [synthesis] and [flux].
"""

import json
import sys
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
import tyro
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.rendered_scenes import SCENE_SETS, draw_scene_sets
from benchmarks.common.runs import finish, finish_runs, known_runs
from benchmarks.flux.edit_scores import edit_pictures, mean_psnr, score_edits
from benchmarks.flux.panel_cells import (
    AVERAGE,
    BATCH,
    BLENDS,
    CELLS,
    CLAIMED,
    RANK,
    RENDERED,
    SCENE_SEED,
    SCENE_SIZE,
    USUAL,
    Cell,
    Question,
    base_digest,
    learning_rate,
    run_key,
    zoom,
)
from benchmarks.flux.panel_scores import (
    SAMPLING_STEPS,
    SAMPLINGS,
    array,
    score_as_shown,
    score_ceiling,
    score_full_size,
    score_kept,
    score_pictures,
    score_vae,
    separate,
    shrink,
)
from benchmarks.flux.panel_tables import render
from benchmarks.flux.small_base import BASE, load_base
from benchmarks.glass.sets import copy_pictures, draw_glass_set
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.lora import add_lora
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import cut_panels
from clearpane.training.flux.flow_matching import flow_matching_loss
from clearpane.training.flux.panel_batches import (
    PanelPictures,
    draw_panels,
    load_glass_panels,
    load_real_panels,
)
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.pictures import load_natural, natural_paths, random_crop
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import Schedule, held_parameters, parameter_holder, run_steps

TRAINED_FILE = "trained.safetensors"


@dataclass(frozen=True)
class Options:
    """Measure what the panel learns from different data and settings."""

    data: Positional[Path]
    """Folder with natural, environments and real_pairs/val."""
    only: tuple[Question, ...] = tuple(CELLS)
    """The questions to answer."""
    seeds: int = 1
    """Runs of each cell that a claim rests on; all others have one."""
    rescore: bool = False
    """Score trained cells again."""
    workers: int = 2
    """Number of runs in parallel, with one thread each."""
    base: Path = BASE
    """Directory of kontext-small, made from the repository's weights."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of panel.md and panel.json."""
    cache: Path = ROOT / "build" / "benchmarks" / "panel"
    """Folder of the trained cells."""


def rendered_set(data: Path, cache: Path, name: str) -> Path:
    """Render the scenes of one renderer, the same ones for both, or resume; return the folder.

    Args:
        data: Folder with natural and environments.
        cache: Cache folder of a benchmark; the scenes go beside it.
    """
    short, count, renderer = RENDERED[name]
    shared = cache.parent / "ablation"
    backgrounds = copy_pictures(natural_paths(data / "natural"), shared / "backgrounds")
    folder = shared / f"{short}_{count}_{SCENE_SIZE}"
    environments = data / "environments"
    return draw_glass_set(folder, count, SCENE_SIZE, SCENE_SEED, backgrounds, environments, renderer, {})


def training_pictures(options: Options, name: str) -> list[PanelPictures]:
    """Return the training pictures of a cell with this data."""
    if name in RENDERED:
        return load_glass_panels(rendered_set(options.data, options.cache, name))
    return blended_pictures(options, name)


def blended_pictures(options: Options, name: str) -> list[PanelPictures]:
    """Make as many blends of natural pictures as there are rendered scenes, at their size."""
    natural = load_natural(options.data / "natural")
    blends = []
    for index in range(USUAL.samples):
        generator = step_generator(SCENE_SEED, index)
        two = torch.randperm(len(natural), generator=generator)[:2].tolist()
        first, second = (random_crop((natural[i],), SCENE_SIZE, generator)[0] for i in two)
        blend = BLENDS[name](first, second, generator)
        layers = (blend.input, blend.transmission, blend.reflection)
        blends.append(PanelPictures(*(to_bytes(x) for x in layers)))
    return blends


def to_bytes(picture: Tensor) -> Tensor:
    """Convert [0, 1] to uint8."""
    return (255 * picture.clamp(0, 1)).round().to(torch.uint8)


def encode(options: Options, sentence: str) -> TaskEmbedding:
    """Encode a sentence with the base's encoders."""
    return encode_text(options.base, sentence).to("cpu", torch.float32)


def run_folder(options: Options, cell: Cell, seed: int) -> Path:
    """Return the folder of a run's training."""
    return options.cache / run_key(cell, seed, base_digest(options.base))


def train_cell(options: Options, cell: Cell, seed: int, pictures: list[PanelPictures]) -> Backbone:
    """Train or load one cell."""
    folder = run_folder(options, cell, seed)
    folder.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(options.base, Loading("float32", "cpu"))
    transformer = backbone.transformer
    torch.manual_seed(seed)
    if cell.full:
        transformer.requires_grad_(True)
        parameters = dict(transformer.named_parameters())
    else:
        parameters = add_lora(transformer, RANK, "all")
    trained = folder / TRAINED_FILE
    if not trained.exists():
        task = encode(options, cell.caption)
        held = parameter_holder(parameters)
        accelerator = Accelerator(cpu=True)
        optimizer = accelerator.prepare(
            torch.optim.AdamW(held.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
        )
        recipe = json.loads(json.dumps({**asdict(cell), "seed": seed}))
        state = TrainingState(held, AveragedWeights(held, AVERAGE), optimizer, recipe=recipe)

        def loss_of(step: int) -> Tensor:
            generator = step_generator(seed, step)
            chosen = torch.randint(len(pictures), (BATCH,), generator=generator).tolist()
            size = (cell.side, cell.side)
            batch = draw_panels([pictures[i] for i in chosen], size, zoom(cell), generator)
            photo, transmission, _ = cut_panels(batch.panel)
            panel = cell.target == "panel"
            with mixed_precision("cpu"):
                with torch.no_grad():
                    target = backbone.encode(batch.panel if panel else transmission).float()
                    reference = backbone.encode(batch.reference if panel else photo).float()
                return flow_matching_loss(backbone, target, reference, task, DEFAULT_GUIDANCE, generator)

        schedule = Schedule(cell.steps, learning_rate(cell), checkpoint_every=200)
        if not run_steps(state, schedule, folder, loss_of, accelerator):
            raise KeyboardInterrupt
        weights = held_parameters(state.average.weights)
        with atomic_path(trained, overwrite=True) as temporary:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
        (folder / "checkpoint.safetensors").unlink()
    weights = load_file(trained)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    transformer.requires_grad_(False)
    return backbone


def score_run(options: Options, cell: Cell, seed: int) -> dict[str, Any]:
    """Measure a run; train it first if it is missing."""
    torch.set_num_threads(1)
    pictures = training_pictures(options, cell.data)
    if cell.samples == 1:
        one = pictures[cell.scene]
        layers = (one.input, one.transmission, one.reflection)
        pictures = [PanelPictures(*(to_bytes(shrink(x, cell)[0]) for x in layers))]
    else:
        # All data sets have the first 200; only the cell that needs more gets more.
        pool = pictures[: max(USUAL.samples, cell.samples)]
        order = torch.randperm(len(pool), generator=step_generator(seed, cell.steps)).tolist()
        pictures = [pool[i] for i in order[: cell.samples]]
    fresh = not run_folder(options, cell, seed).exists()
    started = process_time()
    backbone = train_cell(options, cell, seed, pictures)
    scores: dict[str, Any] = {"seconds": process_time() - started if fresh else None}
    task = encode(options, cell.caption)
    if cell.samples == 1:
        scores["own scene"] = score_pictures(backbone, task, cell, pictures)
        scores["ceiling"] = score_ceiling(backbone, cell, pictures[0])
        scores["as shown"] = score_as_shown(backbone, task, cell, pictures[0])
        return scores
    held_out, val = held_out_pictures(options.data, options.cache)
    for name, subset in (("scenes", held_out), ("val", val)):
        scores[name] = score_pictures(backbone, task, cell, subset)
        if cell in CELLS["side"].values():
            scores[f"{name}, full size"] = score_full_size(backbone, task, cell, subset)
    if cell == USUAL:
        scores["scenes, I held"] = score_pictures(backbone, task, cell, held_out, hold=True)
        scores["sampling"] = {
            name: score_pictures(backbone, task, cell, held_out, steps=steps, seeds=seeds)
            for name, (steps, seeds) in SAMPLINGS.items()
        }
        scores["kept"] = score_kept(backbone, task, cell, held_out)
    scores["edits"] = score_own_edits(options, backbone)
    return scores


def score_shown(options: Options) -> dict[str, dict[str, list[float]]]:
    """Compute by subset the PSNR of each true T, and of known R, through the untouched VAE."""
    vae = load_backbone(options.base, Loading("float32", "cpu"))
    subsets = zip(("scenes", "val"), held_out_pictures(options.data, options.cache), strict=True)
    return {name: score_vae(vae, USUAL, pictures) for name, pictures in subsets}


def score_own_edits(options: Options, backbone: Backbone) -> dict[str, float]:
    """Compute the PSNR of the base's own edits."""
    natural = load_natural(options.data / "natural", held_out=True)
    return score_edits(backbone, lambda sentence: encode(options, sentence), natural)


@cache
def held_out_pictures(data: Path, folder: Path) -> tuple[list[PanelPictures], list[PanelPictures]]:
    """Return rendered scenes with held-out backgrounds and the pairs of real_pairs/val, all square."""
    (scene_set,) = (s for s in SCENE_SETS if s.name == "flat panes")
    scenes = draw_scene_sets(data, folder.parent / "rendered", [scene_set], None)[scene_set.name]
    val = load_real_panels(data / "real_pairs" / "val")
    return load_glass_panels(scenes), [central_square(picture) for picture in val]


def central_square(picture: PanelPictures) -> PanelPictures:
    """Crop a photograph's central square: at this scale all pictures of panels are square."""
    height, width = picture.input.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    layers = (picture.input, picture.transmission, picture.reflection)
    return PanelPictures(*(x if x is None else x[:, top : top + side, left : left + side] for x in layers))


@torch.no_grad()
def draw_sheet(options: Options, count: int = 6) -> Image.Image:
    """Draw a column per held-out scene, by the usual cell: I, predicted T and R, true T and R."""
    backbone = train_cell(options, USUAL, 0, [])
    shown = held_out_pictures(options.data, options.cache)[0][:count]
    photos, *truths = (
        torch.cat([shrink(layer, USUAL) for x in shown if (layer := getattr(x, name)) is not None])
        for name in ("input", "transmission", "reflection")
    )
    made = separate(
        backbone, encode(options, USUAL.caption), USUAL, photos, Sampling(SAMPLING_STEPS), hold=False
    )
    rows = [torch.cat(list(x), dim=2) for x in (photos, *made, *truths) if x is not None]
    sheet = Image.fromarray(array(torch.cat(rows, dim=1)))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)


def score_missing(options: Options, document: dict[str, Any]) -> None:
    """Train and score the missing runs in parallel, and write each as it ends."""
    wanted: dict[str, tuple[Cell, int]] = {}
    for seed in range(options.seeds):  # every cell once before any gets a second seed
        for cell in (cell for question in options.only for cell in CELLS[question].values()):
            key = run_key(cell, seed, document["base"])
            known = key in document["runs"] and not options.rescore
            if not known and (seed == 0 or cell in CLAIMED):
                wanted[key] = cell, seed
    # Once, before several processes would render the same scenes.
    for name in {cell.data for cell, _ in wanted.values()} & set(RENDERED):
        rendered_set(options.data, options.cache, name)
    if wanted:
        held_out_pictures(options.data, options.cache)
    jobs = {key: (options, *run) for key, run in wanted.items()}
    for key, scores in finish_runs(score_run, jobs, options.workers):
        if scores["seconds"] is None and key in document["runs"]:  # trained before
            scores["seconds"] = document["runs"][key]["seconds"]
        document["runs"][key] = scores
        write(options, document)


def write(options: Options, document: dict[str, Any]) -> None:
    """Write the figures and the tables."""
    write_text(options.output / "panel.json", json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "panel.md", render(document), __spec__.name)


def measure(options: Options) -> str:
    """Train and score what is missing; return the tables."""
    load_base(options.base)
    document = known_runs(options.output / "panel.json", base_digest(options.base))
    if "edits" not in document:
        backbone = load_backbone(options.base, Loading("float32", "cpu"))
        natural = load_natural(options.data / "natural", held_out=True)
        nothing = {name: mean_psnr(*pair) for name, pair in edit_pictures(natural).items()}
        document["edits"] = {"nothing": nothing, "base": score_own_edits(options, backbone)}
    if "shown" not in document:
        document["shown"] = score_shown(options)
    document |= {"seeds": max(options.seeds, document.get("seeds", 1)), "machine": describe_machine()}
    score_missing(options, document)
    write(options, document)
    # The scores of runs are kept in the repository, the trained weights are not.
    if (run_folder(options, USUAL, 0) / TRAINED_FILE).is_file():
        with atomic_path(options.output / "panel.jpg", overwrite=True) as temporary:
            draw_sheet(options).save(temporary, "JPEG", quality=90)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
