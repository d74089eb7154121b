"""What the recipes of FLUX.1 Kontext's parts share: bounds, randomness, checkpoints, TensorBoard."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from clearpane.errors import ClearpaneError
from clearpane.training.curves import Curves
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator, whole
from clearpane.training.runner import Schedule, held_parameters, run_steps


class Recipe(Protocol):
    """What each of them has, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def output(self) -> Path: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def average(self) -> float: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def seed(self) -> int: ...


class PhotographRecipe(Recipe, Protocol):
    """One that learns from glass scenes and real pairs."""

    @property
    def real_share(self) -> float: ...
    @property
    def zoom(self) -> float: ...


def check_recipe(recipe: Recipe, learning_rate: float) -> None:
    """Raise ClearpaneError where what all have is out of its bounds."""
    for name in ("steps", "batch", "side", "rank", "checkpoint_every"):
        if getattr(recipe, name) < 1:
            raise ClearpaneError(f"`{name}={getattr(recipe, name)}`: give 1 or more")
    if not 0 <= recipe.average < 1:
        raise ClearpaneError(f"`average={recipe.average:g}`: give 0 or more, less than 1")
    if learning_rate <= 0:
        raise ClearpaneError(f"`learning_rate={learning_rate:g}`: give more than 0")


def check_photographs(recipe: PhotographRecipe) -> None:
    """Raise ClearpaneError where how photographs are drawn is out of its bounds."""
    if not 0 <= recipe.real_share <= 1:
        raise ClearpaneError(f"`real_share={recipe.real_share:g}`: give 0 to 1")
    if recipe.zoom < 1:
        raise ClearpaneError(f"`zoom={recipe.zoom:g}`: give 1 or more")


class HasInput(Protocol):
    """A photograph through glass and what belongs to it."""

    @property
    def input(self) -> Tensor: ...


def warn_of_small_pictures(pictures: Sequence[HasInput], side: int) -> None:
    """Say how many photographs, 3 x H x W, must be enlarged to be seen at ``side * side`` pixels."""
    small = sum(min(picture.input.shape[-2:]) < side for picture in pictures)
    if small:
        print(
            f"warning: {small} of {len(pictures)} pictures are smaller than {side} x {side} pixels and are "
            "enlarged; give larger ones, or a smaller side",
            file=sys.stderr,
            flush=True,
        )


def fine_tune(
    recipe: Recipe,
    free: set[str],
    facts: dict[str, Any],
    held: nn.ParameterDict,
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    loss_of: Callable[[Generator], Tensor],
    accelerator: Accelerator,
    draw: Callable[[SummaryWriter, int], None] = lambda writer, step: None,
) -> dict[str, Tensor] | None:
    """Train up to the recipe's steps, or go on from the run's checkpoint; a warm-up, then a constant rate.

    Args:
        recipe: a dataclass.
        free: of its settings those that may change while a run is interrupted.
        facts: what tells runs apart besides the other settings, such as what they started from.
        held: what is trained, see `parameter_holder`.
        optimizer: of it, as the accelerator prepared it.
        loss_of: the loss of a step, by its randomness: every process has its own, and the same again after
            an interruption.
        draw: called after each step with TensorBoard's writer and how many are done, by one process.

    Returns:
        The averaged weights by their names in the model, on the CPU, in all processes; None after Ctrl-C.

    Raises:
        ClearpaneError: see `run_steps`.
    """
    own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in free}
    own |= {"processes": accelerator.num_processes} | facts
    average = AveragedWeights(held, recipe.average)
    state = TrainingState(held, average, optimizer, recipe=json.loads(json.dumps(own)))

    def loss_at(step: int) -> Tensor:
        number = step * accelerator.num_processes + accelerator.process_index
        return loss_of(step_generator(recipe.seed, number))

    def on_step(step: int, loss: float, rate: float) -> None:
        draw(curves.add(step, loss, rate), step)

    schedule = Schedule(recipe.steps, learning_rate, floor=1, checkpoint_every=recipe.checkpoint_every)
    try:
        with Curves(recipe.output) as curves:
            finished = run_steps(state, schedule, recipe.output, loss_at, accelerator, on_step)
    except torch.OutOfMemoryError as error:
        keep = ""
        if any(f.name == "gradient_checkpointing" for f in fields(recipe)):
            keep = ", and keep `gradient_checkpointing`"
        raise ClearpaneError(
            f"the memory of {accelerator.device} is not enough; lower `batch`, `side` or `rank`{keep}"
        ) from error
    if not finished:
        return None
    gathered = {}
    for name, value in average.weights.items():  # one at a time, away from the device
        gathered[name] = whole(value).cpu()
    return held_parameters(gathered)
