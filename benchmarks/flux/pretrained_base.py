"""Put the small editor on a pretrained latent space, and train the key fine-tunes of both papers on it again.

    python -m benchmarks.flux.pretrained_base DATA [--seeds 3]

kontext-small's own VAE limits what its fine-tunes can show. Here a tiny autoencoder of FLUX.2's latents takes
its place. The transformer keeps its weights but for its first and last layers, and is trained on the same
edits and panels; then follow the fine-tunes that pretrained_base_cells.py lists, scored as panel.py and
gensirr.py score theirs. The depth estimator is that of small_depth.py, which must be run first. Trained parts
are kept; an interrupted run resumes. Writes docs/figures/pretrained_base.md and .json after every run. Needs
the extras [train], [synthesis] and [flux].
"""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
import tyro
from accelerate import Accelerator
from diffusers import FluxKontextPipeline
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish, known_runs
from benchmarks.flux import gensirr, gensirr_cells, kontext_small, panel_cells, pretrained_latents
from benchmarks.flux.edit_scores import score_edits, score_others, score_panels
from benchmarks.flux.edits import EDITS
from benchmarks.flux.gensirr_branches import Subset, quality, score_branches
from benchmarks.flux.panel import held_out_pictures, rendered_set, to_bytes
from benchmarks.flux.panel_edits import OTHERS, panel_sentence
from benchmarks.flux.panel_scores import score_as_shown, score_ceiling, score_pictures, score_vae, shrink
from benchmarks.flux.pretrained_base_cells import BRANCHES, CELLS, Cell, digest_of
from benchmarks.flux.pretrained_base_tables import render
from benchmarks.flux.small_base import WEIGHTS, load_pipeline
from benchmarks.flux.small_depth import estimator_digest
from benchmarks.flux.small_kontext import SmallKontext, new_transformer
from benchmarks.flux.tiny_autoencoder import TinyAutoencoder, load_tiny_autoencoder
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.lora import add_lora
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.task_embedding import LearnableTask, TaskEmbedding
from clearpane.separation.gensirr.separator import REMOVAL_SENTENCE
from clearpane.separation.panel.separator import cut_panels
from clearpane.separation.separator import load_separator
from clearpane.synthesis.dataset.shards import PANEL_CAPTION
from clearpane.training.flux.edit_batches import draw_edits, load_glass_edits, load_real_edits
from clearpane.training.flux.flow_matching import flow_matching_loss
from clearpane.training.flux.gensirr import TrainGensirr
from clearpane.training.flux.panel_batches import PanelPictures, draw_panels, load_glass_panels
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.pictures import load_natural
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import Schedule, held_parameters, parameter_holder, run_steps

# Layers whose size depends on the latents.
_NEW_LAYERS = ("x_embedder.", "proj_out.")
_BATCHES = 200
# Crops whose latents decide the scale.
_CROPS = 256
_RATES = kontext_small.Rates(1e-3, 0.99)
Batches = list[tuple[Tensor, Tensor]]
"""Latents of what is wanted and of what is given, [B, 32, h, w] each."""


@dataclass(frozen=True)
class Options:
    """Train the small editor and its fine-tunes on a pretrained latent space."""

    data: Positional[Path]
    """Folder with natural, environments, real_pairs and weights."""
    seeds: int = 3
    """Runs of each fine-tune."""
    base_steps: int = 700
    """Optimiser steps of the editor on the new latents."""
    depth: Path = ROOT / "build" / "benchmarks" / "small-depth"
    """Directory of the depth estimator."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of pretrained_base.md and .json."""
    cache: Path = ROOT / "build" / "benchmarks" / "pretrained-base"
    """Folder of the trained parts."""


def new_pipeline(data: Path) -> FluxKontextPipeline:
    """Make kontext-small's pipeline with the pretrained autoencoder, its latents scaled to unit variance.

    The transformer keeps its weights but for the layers that take and return latents, which start anew.
    """
    pipeline = load_pipeline()
    transformer = new_transformer(replace(SmallKontext(), latent_channels=32))
    learnt = pipeline.transformer.state_dict().items()
    kept = {name: value for name, value in learnt if not name.startswith(_NEW_LAYERS)}
    transformer.load_state_dict(transformer.state_dict() | kept)
    vae = load_tiny_autoencoder(data / "weights").requires_grad_(False)
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster
    scale_latents(vae, load_natural(data / "natural"))
    pipeline.transformer, pipeline.vae = transformer, vae
    return pipeline


@torch.no_grad()
def scale_latents(vae: TinyAutoencoder, pictures: list[Tensor]) -> None:
    """Set the shift and the scale with which latents of natural pictures have mean 0 and variance 1."""
    crops = kontext_small.draw_crops(pictures, _CROPS, step_generator(0, 0))
    latents = torch.cat([vae.encode(2 * part - 1).latent_dist.mode() for part in crops.split(32)])
    vae.config.shift_factor = latents.mean().item()
    vae.config.scaling_factor = 1 / latents.std().item()


def backbone_of(pipeline: FluxKontextPipeline, vae: TinyAutoencoder | None = None) -> Backbone:
    """Return the parts that process pictures, with another autoencoder if one is given."""
    return Backbone(pipeline.transformer, vae or pipeline.vae, pipeline.scheduler, pipeline.device)


def train_base(options: Options) -> FluxKontextPipeline:
    """Train or load the editor on the new latents, on single edits and on panels."""
    torch.manual_seed(0)
    pipeline = new_pipeline(options.data)
    recipe = kontext_small.Options(options.data, cache=options.cache)
    pictures = load_natural(options.data / "natural")
    kontext_small.train_panels("base", recipe, pipeline, pictures, options.base_steps, _RATES)
    pipeline.transformer.requires_grad_(False).eval()
    return pipeline


@torch.no_grad()
def score_base(options: Options, pipeline: FluxKontextPipeline) -> dict[str, dict[str, float]]:
    """Score the editor as kontext_small.py does."""
    held_out = load_natural(options.data / "natural", held_out=True)
    sentences = [edit.sentence for edit in EDITS.values()] + [panel_sentence(name, True) for name in OTHERS]
    tasks = {sentence: kontext_small.encode_task(pipeline, [sentence]) for sentence in sentences}
    backbone, encode = backbone_of(pipeline), tasks.__getitem__
    edited, panels = (score(backbone, encode, held_out) for score in (score_edits, score_panels))
    others = score_others(backbone, encode, held_out)
    return {name: {"edited": edited[name], "panel": panels[name], **others[name]} for name in EDITS}


def stored(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors from a file, which is written if it does not exist."""
    if not path.is_file():
        tensors = {name: value.contiguous() for name, value in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as temporary:
            save_file(tensors, temporary)
    return load_file(path)


def autoencoder(options: Options, cell: Cell, seed: int, like: TinyAutoencoder) -> TinyAutoencoder:
    """Return a cell's autoencoder; a LoRA is trained as pretrained_latents.py does, once for each seed."""
    if cell.vae == pretrained_latents.UNTOUCHED:
        return like
    recipe = pretrained_latents.Options(options.data)
    path = options.cache / f"{cell.vae.replace(' ', '_')}-{seed}.safetensors"
    weights = stored(path, lambda: pretrained_latents.load_adapted(recipe, cell.vae, seed).state_dict())
    vae = pretrained_latents.load_adapted(replace(recipe, steps=0), cell.vae, seed)
    vae.load_state_dict(weights)
    vae.config = like.config
    return vae


def scenes(options: Options) -> list[PanelPictures]:
    """Return the scenes that panel.py trains on."""
    folder = rendered_set(options.data, options.cache, "analytic scenes")
    return load_glass_panels(folder)[: panel_cells.USUAL.samples]


def draw_panel_batch(
    cell: Cell, pictures: list[PanelPictures], generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw what is wanted and what is given of a step of the panel or of T alone."""
    usual = panel_cells.USUAL
    chosen = torch.randint(len(pictures), (panel_cells.BATCH,), generator=generator).tolist()
    size = (usual.side, usual.side)
    batch = draw_panels([pictures[i] for i in chosen], size, panel_cells.zoom(usual), generator)
    if cell.editor == "panel":
        return batch.panel, batch.reference
    photo, transmission, _ = cut_panels(batch.panel)
    return transmission, photo


def draws_of(options: Options, cell: Cell) -> Callable[[Generator], tuple[Tensor, Tensor]]:
    """Return the function that draws a cell's pictures: those wanted and those given."""
    if cell.editor != "GenSIRR":
        pictures = scenes(options)
        if cell.scene is not None:
            pictures = [one_scene(options, cell.scene)]
        return partial(draw_panel_batch, cell, pictures)
    recipe = TrainGensirr(
        options.data,
        "",
        Path(),
        real_share=gensirr_cells.REAL_SHARE,
        batch=gensirr_cells.BATCH,
        side=gensirr_cells.SIDE,
        zoom=gensirr_cells.ZOOM,
    )
    glass = load_glass_edits(rendered_set(options.data, options.cache, "analytic scenes"))
    real = load_real_edits(options.data / "real_pairs" / "train")

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        photos, truths = draw_edits(recipe, glass, real, 16, generator)
        return truths, photos

    return draw


def one_scene(options: Options, index: int) -> PanelPictures:
    """Return one of the scenes, whole, at the panel's size."""
    scene = scenes(options)[index]
    layers = [x for x in (scene.input, scene.transmission, scene.reflection) if x is not None]
    return PanelPictures(*(to_bytes(shrink(x, panel_cells.USUAL)[0]) for x in layers))


@torch.no_grad()
def encoded_batches(options: Options, cell: Cell, seed: int, backbone: Backbone) -> Batches:
    """Return the batches that a cell's steps choose from, encoded once.

    Runs share the pictures; a run has its own order and noises and, with a LoRA, its own latents.
    """
    own = f"-{seed}" if cell.vae != pretrained_latents.UNTOUCHED else ""
    path = options.cache / f"latents-{digest_of(cell.pictures)}{own}.safetensors"

    def make() -> dict[str, Tensor]:
        draw, tensors = draws_of(options, cell), {}
        for index in range(_BATCHES if cell.scene is None else 4):
            both = draw(step_generator(panel_cells.SCENE_SEED, index))
            for name, pictures in zip(("wanted", "given"), both, strict=True):
                tensors[f"{name}{index}"] = backbone.encode(pictures)
        return tensors

    tensors = stored(path, make)
    return [(tensors[f"wanted{i}"], tensors[f"given{i}"]) for i in range(len(tensors) // 2)]


def train_cell(
    options: Options, cell: Cell, seed: int, start: Backbone, task: TaskEmbedding, folder: Path
) -> tuple[Backbone, TaskEmbedding]:
    """Train or load one cell."""
    batches = encoded_batches(options, cell, seed, start)
    torch.manual_seed(seed)
    transformer, learnt_task = copy.deepcopy(start.transformer), LearnableTask(task)
    if cell.editor == "GenSIRR":
        transformer.requires_grad_(True)
        parameters = dict(transformer.named_parameters())
        rate, steps, warmup = gensirr_cells.RATE, gensirr_cells.USUAL.steps, Schedule(1, 1.0, floor=1)
    else:
        parameters = add_lora(transformer, panel_cells.RANK, "all")
        rate, steps, warmup = panel_cells.LORA_RATE, panel_cells.USUAL.steps, Schedule(1, 1.0)
    if cell.learned:
        parameters |= {f"task.{name}": value for name, value in learnt_task.named_parameters()}
    held = parameter_holder(parameters)
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(held.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
    average = AveragedWeights(held, panel_cells.AVERAGE)
    recipe = {"cell": cell.key, "seed": seed}
    state = TrainingState(held, average, accelerator.prepare(optimizer), recipe=recipe)
    backbone = replace(start, transformer=transformer)

    def loss_of(step: int) -> Tensor:
        generator = step_generator(seed, step)
        wanted, given = batches[int(torch.randint(len(batches), (), generator=generator))]
        with mixed_precision("cpu", False):
            return flow_matching_loss(backbone, wanted, given, learnt_task(), DEFAULT_GUIDANCE, generator)

    folder.mkdir(parents=True, exist_ok=True)
    schedule = replace(warmup, steps=steps, learning_rate=rate, checkpoint_every=100)
    if not run_steps(state, schedule, folder, loss_of, accelerator):
        raise KeyboardInterrupt
    weights = held_parameters(state.average.weights)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
        transformer.requires_grad_(False)
        return backbone, learnt_task()


def score_cell(
    options: Options, cell: Cell, seed: int, backbone: Backbone, task: TaskEmbedding
) -> dict[str, Any]:
    """Score a trained cell."""
    if cell.editor == "GenSIRR":
        return score_gensirr(options, cell, seed, backbone, task)
    usual = replace(panel_cells.USUAL, target="panel" if cell.editor == "panel" else "transmission")
    if cell.scene is not None:
        picture = one_scene(options, cell.scene)
        return {
            "own scene": score_pictures(backbone, task, usual, [picture]),
            "ceiling": score_ceiling(backbone, usual, picture),
            "as shown": score_as_shown(backbone, task, usual, picture),
        }
    held_out = held_out_pictures(options.data, options.cache)
    return {
        name: score_pictures(backbone, task, usual, pictures)
        for name, pictures in zip(("scenes", "val"), held_out, strict=True)
    }


def subsets(options: Options) -> dict[str, Subset]:
    """Return the photographs that gensirr.py scores, at the editor's size, but for its rooms."""
    photographs = gensirr.photographs(options.data, options.cache)
    return {name: gensirr.shrink_all(pairs) for name, pairs in photographs.items()}


def score_gensirr(
    options: Options, cell: Cell, seed: int, backbone: Backbone, task: TaskEmbedding
) -> dict[str, Any]:
    """Score GenSIRR and, of the usual cell, early branching among `BRANCHES` candidates."""
    chosen, noises = subsets(options), gensirr_cells.noises_of(seed)
    scores: dict[str, Any] = {}
    for name, subset in chosen.items():
        samplings = [Sampling(gensirr_cells.USUAL_STEPS, noise) for noise in noises]
        made = [gensirr.remove(backbone, task, gensirr_cells.USUAL, subset.photos, x) for x in samplings]
        scores[name] = gensirr.mean_of_noises([quality(x, subset.truths) for x in made])
    if cell == CELLS["GenSIRR"]:
        scorers = gensirr.scorers(gensirr.Options(options.data, depth=options.depth))
        scores["branches"] = {
            name: score_branches(backbone, task, samplings[0], subset, scorers, BRANCHES)
            for name, subset in chosen.items()
        }
    return scores


def score_photographs(options: Options) -> dict[str, Any]:
    """Score doing nothing, and `compact` at the photographs' own size, shrunk afterwards."""
    separator, rows = load_separator("compact"), {}
    for name, pairs in gensirr.photographs(options.data, options.cache).items():
        subset, made = gensirr.shrink_all(pairs), gensirr.separate_all(separator, pairs)
        edited = [replace(pair, input=255 * x) for x, pair in zip(made, pairs, strict=True)]
        rows[name] = {
            "nothing": quality(subset.photos, subset.truths),
            "compact": quality(gensirr.shrink_all(edited).photos, subset.truths),
        }
    return rows


def score_autoencoder(options: Options, backbone: Backbone) -> dict[str, Any]:
    """Score the true layers as the autoencoder shows them, the limit of what can be painted."""
    held_out = held_out_pictures(options.data, options.cache)
    return {
        name: score_vae(backbone, panel_cells.USUAL, pictures)
        for name, pictures in zip(("scenes", "val"), held_out, strict=True)
    }


def write(options: Options, document: dict[str, Any]) -> None:
    """Write the figures and the tables."""
    write_text(options.output / "pretrained_base.json", json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "pretrained_base.md", render(document, options.output), __spec__.name)


def measure(options: Options) -> str:
    """Train and score what is missing; return the tables."""
    torch.set_num_threads(1)
    depth = estimator_digest(options.depth)  # fail before hours of training, not after
    facts = [digest_of(WEIGHTS), options.base_steps, _BATCHES, depth]
    document = known_runs(options.output / "pretrained_base.json", str(facts))
    document |= {"base_steps": options.base_steps, "batches": _BATCHES, "machine": describe_machine()}
    pipeline = train_base(options)
    with torch.no_grad():
        sentences = {"panel": PANEL_CAPTION, "GenSIRR": REMOVAL_SENTENCE}
        tasks = {name: kontext_small.encode_task(pipeline, [x]) for name, x in sentences.items()}
    if "edits" not in document:
        document["edits"] = score_base(options, pipeline)
        document["shown"] = score_autoencoder(options, backbone_of(pipeline))
        document["others"] = score_photographs(options)
    for seed in range(options.seeds):  # every cell once before any gets a second seed
        for name, cell in CELLS.items():
            key = f"{name}, seed {seed}"
            if key in document["runs"] or (cell.scene is not None and seed):
                continue
            backbone = backbone_of(pipeline, autoencoder(options, cell, seed, pipeline.vae))
            task = tasks.get(cell.editor, tasks["panel"])
            began = process_time()
            folder = options.cache / f"{cell.key}-{seed}"
            trained = train_cell(options, cell, seed, backbone, task, folder)
            seconds = process_time() - began
            document["runs"][key] = {"seconds": seconds} | score_cell(options, cell, seed, *trained)
            print(key, f"{seconds:.0f} s", flush=True)
            write(options, document)
    write(options, document)
    return render(document, options.output)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
