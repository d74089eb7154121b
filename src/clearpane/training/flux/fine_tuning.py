"""Share bounds, randomness, checkpoints and TensorBoard between the recipes of FLUX.1 Kontext's parts."""

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
from clearpane.training.runner import Schedule, draws_per_step, held_parameters, run_steps


class Recipe(Protocol):
    """Define the settings that all these recipes share, as dataclass fields."""

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
    @property
    def set_bfloat16(self) -> bool | None: ...


class PhotographRecipe(Recipe, Protocol):
    """Define the settings of a recipe that learns from glass scenes and real pairs."""

    @property
    def real_share(self) -> float: ...
    @property
    def zoom(self) -> float: ...


def check_recipe(recipe: Recipe, learning_rate: float) -> None:
    """Raise ClearpaneError if a shared setting is out of bounds."""
    for name in ("steps", "batch", "side", "rank", "checkpoint_every"):
        if getattr(recipe, name) < 1:
            raise ClearpaneError(f"`{name}={getattr(recipe, name)}`: give 1 or more")
    if not 0 <= recipe.average < 1:
        raise ClearpaneError(f"`average={recipe.average:g}`: give 0 or more, less than 1")
    if learning_rate <= 0:
        raise ClearpaneError(f"`learning_rate={learning_rate:g}`: give more than 0")


def check_photographs(recipe: PhotographRecipe) -> None:
    """Raise ClearpaneError if a setting of the photographs is out of bounds."""
    if not 0 <= recipe.real_share <= 1:
        raise ClearpaneError(f"`real_share={recipe.real_share:g}`: give 0 to 1")
    if recipe.zoom < 1:
        raise ClearpaneError(f"`zoom={recipe.zoom:g}`: give 1 or more")


class HasInput(Protocol):
    """Define training data that include a photograph through glass."""

    @property
    def input(self) -> Tensor: ...


def warn_of_small_pictures(pictures: Sequence[HasInput], side: int) -> None:
    """Warn of photographs [3, H, W] that must be enlarged to ``side * side`` pixels."""
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
    loss_of: Callable[[int, Generator], Tensor],
    accelerator: Accelerator,
    draw: Callable[[SummaryWriter, int], None] = lambda writer, step: None,
) -> dict[str, Tensor] | None:
    """Train up to the recipe's steps, resuming from the run's checkpoint; a warm-up, then a constant rate.

    Args:
        recipe: Dataclass of settings.
        free: Names of the settings that may change when a run resumes.
        facts: Facts that identify a run besides the other settings, such as its initial weights.
        held: Parameters to train, see `parameter_holder`.
        optimizer: Optimiser of these parameters, as the accelerator prepared it.
        learning_rate: Peak learning rate.
        loss_of: Function from a draw's number and random generator to its loss. Each draw has its own
            generator, and the same one again after an interruption.
        accelerator: Accelerator of the run.
        draw: Called by one process after each step with TensorBoard's writer and the number of finished
            steps.

    Returns:
        The averaged weights by their names in the model, on the CPU, in all processes; None after Ctrl-C.

    Raises:
        ClearpaneError: See `run_steps`.
    """
    own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in free}
    state = TrainingState(
        held,
        AveragedWeights(held, recipe.average),
        optimizer,
        draws=draws_per_step(recipe.output, accelerator),
        recipe=json.loads(json.dumps(own | facts)),
        set_bfloat16=recipe.set_bfloat16,
    )

    def loss_at(draw: int) -> Tensor:
        return loss_of(draw, step_generator(recipe.seed, draw))

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
            f"{accelerator.device} has not enough memory; lower `batch`, `side` or `rank`{keep}"
        ) from error
    if not finished:
        return None
    gathered = {}
    for name, value in state.average.weights.items():  # one at a time, moved off the device
        gathered[name] = whole(value).cpu()
    return held_parameters(gathered)
