"""The recipe of LIRM (arXiv 2504.20026): random objects, from coarse to fine, one target view at a time."""

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
from clearpane.training.runner import Schedule, run_steps

WEIGHTS_FILE = "lirm.safetensors"
# Of a recipe, what may change while a run is interrupted.
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
# SSIM's windows and the coarsest gradients fit in it.
_LEAST_PATCH = 8
# 1 / beta, per metre. A model that starts from the visual hull has nothing to find in a fog.
_FIRST_SHARPNESS = {"small": 800.0, "paper": 20.0}
_LAST_SHARPNESS = 1 / LAST_BETA
# The same in all runs, so that they compare.
_VALIDATION_SEED = 1_000_000
_SIZES = {"small": LIRM_SMALL, "paper": LirmConfig()}

DESCRIPTION = """\
Trains LIRM: a transformer that makes a relightable object from a few views.
It learns from random objects, which are made while it trains. An interrupted
run goes on when the same command is given again.

Examples:
  clearpane train lirm --output run --environments hdris --materials pbr
  clearpane train lirm --output run --objects 2000 --workers 2
      keeps 2000 objects in run/objects: on a processor, rendering them is
      what takes longest
"""


@dataclass(frozen=True)
class TrainLirm:
    """Train LIRM (needs the extra [train])."""

    output: Path
    """Folder of the run: the weights, checkpoint and log, and the objects that are kept."""
    environments: Path | None = None
    """Folder with equirectangular HDR maps to light objects with; without it, drawn skies."""
    materials: Path | None = None
    """Folder with a folder for each PBR texture set; without it, procedural materials alone."""
    size: Literal["small", "paper"] = "small"
    """The model: lirm-small, or the paper's."""
    objects: int = 0
    """How many objects are kept and shown again, of some 7 MB each; 0: each step has new ones."""
    side: int = 128
    """Pictures have SIDE x SIDE pixels."""
    coarse_side: int = 64
    """Their size in the first part of the run."""
    coarse_share: float = 0.6
    """How much of the run that part is."""
    targets: int = 4
    """Views of each object that are rendered and compared; one at a time is in memory."""
    patch: int = 32
    """Side of the window of a target view that is rendered, pixels."""
    samples: int = 96
    """Points along a ray."""
    steps: int = 10_000
    """Optimiser steps."""
    batch: int = 1
    """Objects a step, on each device."""
    learning_rate: float = 4e-4
    """Peak learning rate of AdamW; then half a cosine down to a twentieth."""
    average: float = 0.999
    """Decay of the averaged weights (EMA), which are what is saved."""
    workers: int = 1
    """Processes that make or read objects, on the processor; 0: training itself does, on its GPU."""
    cpu: bool = False
    """Train on the processor even where there is a GPU."""
    gradient_checkpointing: bool = False
    """Keep fewer activations and compute them again: less memory, a third more time."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    validation: int = 4
    """Objects of another seed, of which new views are measured after the first step and at each checkpoint,
    under the run's own maps; 0: none."""
    init: Path | None = None
    """Weights to begin with: lirm-small, which come with Clearpane, or those of an earlier run; the schedule
    begins anew."""
    seed: int = 0
    """Seed of all randomness."""


def check(recipe: TrainLirm) -> None:
    """Raise ClearpaneError where a recipe asks for what cannot be."""
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
        raise ClearpaneError(f"`init={recipe.init}`: this run would write over it; choose another `output`")
    patch = _SIZES[recipe.size].patch
    if recipe.side % recipe.coarse_side or recipe.coarse_side % patch:
        raise ClearpaneError(
            f"`side={recipe.side}` `coarse_side={recipe.coarse_side}`: the second is a multiple of {patch} "
            "and divides the first"
        )
    if not _LEAST_PATCH <= recipe.patch <= recipe.coarse_side:
        raise ClearpaneError(
            f"`patch={recipe.patch}`: give {_LEAST_PATCH} to {recipe.coarse_side}, the coarse side"
        )
    most = ObjectStream().views - MOST_SHOWN
    if recipe.targets > most:
        raise ClearpaneError(f"`targets={recipe.targets}`: give {most} or less; the other views are shown")


def stage_at(recipe: TrainLirm, step: int) -> Stage:
    """Coarse pictures first; 1 / beta up to that of `LAST_BETA` by the same factor each step; random rounds.

    A small model has it throughout. A ray that grazes the object passes enough of the tail of its density to
    be stopped: at the paper's 200 per metre outlines are 1 to 2 cm too wide, at 800 half a centimetre. A
    surface that fits them then is as much too small.
    """
    progress = step / recipe.steps
    first = _FIRST_SHARPNESS[recipe.size]
    sharpness = first * (_LAST_SHARPNESS / first) ** progress
    side = recipe.coarse_side if progress < recipe.coarse_share else recipe.side
    # The same on all devices, which wait for each other; a stream of its own, see `ObjectOrder`.
    drawn = np.random.default_rng(np.random.SeedSequence([recipe.seed, 2, step]))
    return Stage(side, 1 / sharpness, ROUNDS[int(drawn.integers(len(ROUNDS)))])


def open_objects(recipe: TrainLirm, device: torch.device) -> ObjectDataset:
    """Open the objects of a run; without workers they are rendered on a device."""
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
    """Open the objects that a run is measured on: other ones of the same kind, kept in its folder."""
    stream = replace(objects.stream, seed=_VALIDATION_SEED)
    return ObjectDataset(objects.sources, stream, recipe.output / "validation", device)


def first_model(recipe: TrainLirm) -> Lirm:
    """Make the model that training begins with.

    Raises:
        ClearpaneError: the weights to begin with cannot be read, or are of another size.
    """
    config = _SIZES[recipe.size]
    if recipe.init is None:
        return Lirm(config)
    lirm = load_lirm(recipe.init)
    if lirm.config != config:
        raise ClearpaneError(f"`init={recipe.init}`: these weights are not of the size {recipe.size}")
    return lirm.train()


def run(recipe: TrainLirm) -> int:
    """Train, or go on from the run's checkpoint, and write the weights. Returns the exit code.

    Raises:
        ClearpaneError: the recipe asks for what cannot be, or a file cannot be read or written.
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
    order = ObjectOrder(
        recipe.steps,
        recipe.batch,
        recipe.objects,
        recipe.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    objects = open_objects(recipe, accelerator.device)
    queue = ObjectQueue(objects, order, recipe.workers)
    own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in _FREE}
    own |= {"processes": accelerator.num_processes, "config": asdict(_SIZES[recipe.size])}
    init = hashlib.sha256(recipe.init.read_bytes()).hexdigest()[:16] if recipe.init else None
    own |= {**objects.sources.facts(), "init": init, "rounds": ROUNDS}
    own["losses"] = WEIGHTS
    own["sharpness"] = [_FIRST_SHARPNESS[recipe.size], _LAST_SHARPNESS]
    maps = set(objects.sources.facts()["environments"])
    if recipe.init:
        maps |= set(trained_environments(recipe.init))
    # The others wait. What cannot be drawn is said before hours of steps.
    with accelerator.main_process_first():
        validation = None
        if recipe.validation and accelerator.is_main_process:
            validation = open_validation(recipe, objects, accelerator.device)
            for number in range(recipe.validation):
                validation[number]
            averaged = copy.deepcopy(lirm).eval()
    state = TrainingState(
        lirm, AveragedWeights(lirm, recipe.average), optimizer, recipe=json.loads(json.dumps(own))
    )

    def loss_of(step: int) -> Tensor:
        number = step * accelerator.num_processes + accelerator.process_index
        generator = step_generator(recipe.seed, number)
        stage = stage_at(recipe, step)
        samples = [augment(reduced(s, stage.side), generator) for s in queue.take(step)]
        loss: Tensor = objective(samples, stage, generator)
        return loss

    def export() -> Path:
        """Write the averaged weights as they are now."""
        path = recipe.output / WEIGHTS_FILE
        save_lirm(path, lirm.config, state.average.weights, tuple(sorted(maps)))
        return path

    def on_step(step: int, loss: float, rate: float) -> None:
        writer = curves.add(step, loss, rate)
        for name, value in module.parts.items():
            writer.add_scalar(f"loss/{name}", float(value), step)
        if step % recipe.checkpoint_every == 0:  # what is learnt can be used before the end
            export()
        # After the first step, of the warm-up, it is still what it began with.
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
    return 0 if finished else 130
