"""Train LIRM (arXiv 2504.20026): random objects, coarse to fine, one target view at a time."""

import copy
import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.hub.card import CardFacts
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm, LirmConfig
from clearpane.reconstruction.lirm.weights_file import (
    load_lirm,
    save_lirm,
    trained_environments,
    weights_file,
)
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, Pictures
from clearpane.synthesis.objects.materials import load_materials
from clearpane.synthesis.objects.samples import ObjectDataset, ObjectSources, ObjectStream
from clearpane.training.curves import Curves
from clearpane.training.lirm.augmentation import augment
from clearpane.training.lirm.losses import WEIGHTS
from clearpane.training.lirm.object_queue import ObjectOrder, ObjectQueue
from clearpane.training.lirm.objective import (
    LAST_BETA,
    MOST_SHOWN,
    ROUNDS,
    LirmObjective,
    Stage,
    TargetSampling,
    reduced,
)
from clearpane.training.lirm.validation import new_view_psnr
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.model_card import write_run_card
from clearpane.training.runner import Schedule, draws_per_step, run_steps

WEIGHTS_FILE = "lirm.safetensors"
# Settings of a recipe that may change when a run resumes.
_FREE = {
    "output",
    "environments",
    "materials",
    "workers",
    "cpu",
    "checkpoint_every",
    "gradient_checkpointing",
    "validation",
    "init",
}
# Smallest patch that fits SSIM's windows and the coarsest gradients.
_LEAST_PATCH = 8
# First 1 / beta, per metre. A model that starts from the visual hull gains nothing from a fog.
_FIRST_SHARPNESS = {"small": 800.0, "paper": 20.0}
_LAST_SHARPNESS = 1 / LAST_BETA
# The same in all runs, so that their results are comparable.
_VALIDATION_SEED = 1_000_000
_SIZES = {"small": LIRM_SMALL, "paper": LirmConfig()}

_CARD = CardFacts(
    "LIRM: relightable objects from a few views",
    "Predicts shape, materials and view-dependent colour of an object from a few posed photographs: LIRM "
    "(arXiv 2504.20026), trained on random objects.",
    "clearpane reconstruct PHOTOGRAPHS --output object.glb --weights THIS_DIRECTORY/lirm.safetensors",
    task="image-to-3d",
    tags=("relighting", "inverse-rendering"),
)

DESCRIPTION = """\
Trains LIRM: a transformer that makes a relightable object from a few views.
It learns from random objects, which are made during training. Run the same
command again to resume an interrupted run.

Examples:
  clearpane train lirm --output run --environments hdris --materials pbr
  clearpane train lirm --output run --objects 2000 --workers 2
      keeps 2000 objects in run/objects: on a CPU, rendering them takes most of
          the time
"""


@dataclass(frozen=True)
class TrainLirm:
    """Train LIRM (needs the extra [train])."""

    output: Path
    """Folder of the run: the weights, checkpoint and log, and the objects that are kept."""
    environments: Path | None = None
    """Folder with equirectangular HDR maps that light the objects; default: synthetic skies."""
    materials: Path | None = None
    """Folder with a sub-folder for each PBR texture set; default: procedural materials alone."""
    size: Literal["small", "paper"] = "small"
    """Size of the model: lirm-small, or the paper's."""
    objects: int = 0
    """Number of objects that are kept and reused, some 7 MB each; 0 for new objects in each step."""
    side: int = 128
    """Side of the pictures, pixels."""
    coarse_side: int = 64
    """Side of the pictures in the first part of the run, pixels."""
    coarse_share: float = 0.6
    """Length of that part as a share of the run."""
    targets: int = 4
    """Number of target views rendered for each object; one at a time is in memory."""
    patch: int = 32
    """Side of the window rendered in a target view, pixels."""
    samples: int = 96
    """Number of samples along a ray."""
    steps: int = 10_000
    """Number of optimiser steps."""
    batch: int = 1
    """Objects in a step, on each device."""
    learning_rate: float = 4e-4
    """Peak learning rate of AdamW; half a cosine brings it down to a twentieth."""
    average: float = 0.999
    """Decay of the averaged weights (EMA), which are the ones saved."""
    workers: int = 1
    """Number of processes that make or read objects, on the CPU; 0 to do it in the training process, on its
    GPU."""
    cpu: bool = False
    """Train on the CPU even if there is a GPU."""
    gradient_checkpointing: bool = False
    """Store fewer activations and recompute them: less memory, a third more time."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    validation: int = 4
    """Number of validation objects with another seed, whose new views are scored after the first step and at
    each checkpoint, under the run's own maps; 0 for none."""
    init: Path | None = None
    """Initial weights: lirm-small, which comes with Clearpane, or those of an earlier run; the learning rate
    starts again."""
    seed: int = 0
    """Random seed."""


def check(recipe: TrainLirm) -> None:
    """Raise ClearpaneError if the settings of a recipe are invalid."""
    for name in ("side", "coarse_side", "targets", "patch", "samples", "steps", "batch", "checkpoint_every"):
        if getattr(recipe, name) < 1:
            raise ClearpaneError(f"`{name}={getattr(recipe, name)}`: give 1 or more")
    for name in ("objects", "workers", "validation", "seed"):
        if getattr(recipe, name) < 0:
            raise ClearpaneError(f"`{name}={getattr(recipe, name)}`: give 0 or more")
    if not 0 <= recipe.coarse_share <= 1:
        raise ClearpaneError(f"`coarse_share={recipe.coarse_share:g}`: give 0 to 1")
    if not 0 <= recipe.average < 1:
        raise ClearpaneError(f"`average={recipe.average:g}`: give 0 or more, less than 1")
    if not 0 < recipe.learning_rate < math.inf:
        raise ClearpaneError(f"`learning_rate={recipe.learning_rate:g}`: give more than 0")
    if recipe.init and recipe.init.resolve() == (recipe.output / WEIGHTS_FILE).resolve():
        raise ClearpaneError(f"`init={recipe.init}`: this run would overwrite it; choose another `output`")
    patch = _SIZES[recipe.size].patch
    if recipe.side % recipe.coarse_side or recipe.coarse_side % patch:
        raise ClearpaneError(
            f"`coarse_side={recipe.coarse_side}`: give a multiple of {patch} that divides "
            f"`side={recipe.side}`"
        )
    if not _LEAST_PATCH <= recipe.patch <= recipe.coarse_side:
        raise ClearpaneError(
            f"`patch={recipe.patch}`: give {_LEAST_PATCH} to {recipe.coarse_side}, the coarse side"
        )
    most = ObjectStream().views - MOST_SHOWN
    if recipe.targets > most:
        raise ClearpaneError(f"`targets={recipe.targets}`: give {most} or less, to leave views to show")


def stage_at(recipe: TrainLirm, step: int) -> Stage:
    """Return a step's settings: coarse pictures first, 1 / beta growing geometrically, random rounds.

    1 / beta ends at that of `LAST_BETA`; a small model has it throughout. The tail of the density stops rays
    that graze the object: at the paper's 200 per metre outlines are 1 to 2 cm too wide, at 800 half a
    centimetre. A surface that fits such outlines is too small by as much.
    """
    progress = step / recipe.steps
    first = _FIRST_SHARPNESS[recipe.size]
    sharpness = first * (_LAST_SHARPNESS / first) ** progress
    side = recipe.coarse_side if progress < recipe.coarse_share else recipe.side
    # The same draw on all devices, which wait for each other; a separate stream, see `ObjectOrder`.
    drawn = np.random.default_rng(np.random.SeedSequence([recipe.seed, 2, step]))
    return Stage(side, 1 / sharpness, ROUNDS[int(drawn.integers(len(ROUNDS)))])


def open_objects(recipe: TrainLirm, device: torch.device) -> ObjectDataset:
    """Open the objects of a run; without workers they are rendered on ``device``."""
    folder = recipe.output / "objects" if recipe.objects else None
    materials = load_materials(recipe.materials) if recipe.materials else ()
    maps = Pictures(recipe.environments, ENVIRONMENT_SUFFIXES) if recipe.environments else None
    return ObjectDataset(
        ObjectSources(materials, maps),
        ObjectStream(seed=recipe.seed, side=recipe.side),
        folder,
        "cpu" if recipe.workers else device,
    )


def open_validation(recipe: TrainLirm, objects: ObjectDataset, device: torch.device) -> ObjectDataset:
    """Open the validation objects of a run: other objects of the same kind, kept in its folder."""
    stream = replace(objects.stream, seed=_VALIDATION_SEED)
    return ObjectDataset(objects.sources, stream, recipe.output / "validation", device)


def first_model(recipe: TrainLirm) -> Lirm:
    """Make the initial model of a training.

    Raises:
        ClearpaneError: The initial weights cannot be read, or have another size.
    """
    config = _SIZES[recipe.size]
    if recipe.init is None:
        return Lirm(config)
    lirm = load_lirm(recipe.init)
    if lirm.config != config:
        raise ClearpaneError(f"`init={recipe.init}`: these weights do not have the size {recipe.size}")
    return lirm.train()


def run(recipe: TrainLirm) -> int:
    """Train, or resume from the run's checkpoint, and write the weights. Return the exit code.

    Raises:
        ClearpaneError: The recipe is invalid, or a file cannot be read or written.
    """
    if recipe.init:
        recipe = replace(recipe, init=weights_file(recipe.init))
    check(recipe)
    torch.manual_seed(recipe.seed)
    lirm = first_model(recipe)
    recipe.output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=recipe.cpu)
    lirm.gradient_checkpointing = recipe.gradient_checkpointing
    optimizer = torch.optim.AdamW(lirm.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
    sampling = TargetSampling(recipe.targets, recipe.patch, recipe.samples)
    module = LirmObjective(lirm, sampling)
    objective, optimizer = accelerator.prepare(module, optimizer)
    draws = draws_per_step(recipe.output, accelerator)
    order = ObjectOrder(
        recipe.steps * draws, recipe.batch, recipe.objects, recipe.seed, accelerator.num_processes
    )
    objects = open_objects(recipe, accelerator.device)
    queue = ObjectQueue(objects, order, recipe.workers)
    own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in _FREE}
    own["config"] = asdict(_SIZES[recipe.size])
    init = hashlib.sha256(recipe.init.read_bytes()).hexdigest()[:16] if recipe.init else None
    own |= {**objects.sources.facts(), "init": init, "rounds": ROUNDS}
    own["losses"] = WEIGHTS
    own["sharpness"] = [_FIRST_SHARPNESS[recipe.size], _LAST_SHARPNESS]
    maps = set(objects.sources.facts()["environments"])
    if recipe.init:
        maps |= set(trained_environments(recipe.init))
    # The other processes wait. Data that cannot be drawn are reported before hours of steps.
    with accelerator.main_process_first():
        validation = None
        if recipe.validation and accelerator.is_main_process:
            validation = open_validation(recipe, objects, accelerator.device)
            for number in range(recipe.validation):
                validation[number]
            averaged = copy.deepcopy(lirm).eval()
    state = TrainingState(
        lirm,
        AveragedWeights(lirm, recipe.average),
        optimizer,
        draws=draws,
        recipe=json.loads(json.dumps(own)),
    )

    def loss_of(draw: int) -> Tensor:
        generator = step_generator(recipe.seed, draw)
        stage = stage_at(recipe, draw // draws)
        samples = [augment(reduced(s, stage.side), generator) for s in queue.take(draw)]
        loss: Tensor = objective(samples, stage, generator)
        return loss

    def export() -> Path:
        """Write the current averaged weights."""
        path = recipe.output / WEIGHTS_FILE
        save_lirm(path, lirm.config, state.average.weights, tuple(sorted(maps)))
        return path

    def on_step(step: int, loss: float, rate: float) -> None:
        writer = curves.add(step, loss, rate)
        for name, value in module.parts.items():
            writer.add_scalar(f"loss/{name}", float(value), step)
        if step % recipe.checkpoint_every == 0:  # the weights can be used before the end
            export()
        # After the first step, in the warm-up, the model is nearly the initial one.
        if validation is not None and (step in (1, recipe.steps) or step % recipe.checkpoint_every == 0):
            averaged.load_state_dict(state.average.weights)
            psnr = new_view_psnr(averaged, (validation[number] for number in range(recipe.validation)))
            writer.add_scalar("validation/psnr", psnr, step)
            print(f"step {step}: {psnr:.2f} dB on new views of {recipe.validation} other objects", flush=True)

    schedule = Schedule(
        recipe.steps,
        recipe.learning_rate,
        warmup=min(500, math.ceil(recipe.steps / 20)),
        floor=0.05,
        checkpoint_every=recipe.checkpoint_every,
    )
    with Curves(recipe.output) as curves:
        finished = run_steps(state, schedule, recipe.output, loss_of, accelerator, on_step)
    if accelerator.is_main_process:
        print(f"wrote {export()}")
        counted = {"environment maps": len(maps), "objects that were kept": recipe.objects}
        write_run_card(recipe, _CARD, counted, _FREE)
    return 0 if finished else 130
