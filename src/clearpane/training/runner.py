"""The steps of a run, on one processor or several: gradients, checkpoints, log, progress."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.training.loop import TrainingState, append_json_line, cosine_learning_rate

CHECKPOINT_FILE, LOG_FILE = "checkpoint.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Schedule:
    """How long a run is, and how fast it learns.

    Attributes:
        steps: of the optimiser.
        learning_rate: at its peak.
        warmup: steps up to the peak.
        floor: the last learning rate over the peak; 1 keeps it.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    floor: float = 0.01
    checkpoint_every: int = 500
    log_every: int = 50


def parameter_holder(parameters: dict[str, nn.Parameter]) -> nn.ParameterDict:
    """Parameters of some model as a module of their own, to be averaged and saved without the rest.

    A name's dots, which modules' names may not hold, become slashes.
    """
    return nn.ParameterDict({name.replace(".", "/"): p for name, p in parameters.items()})


def held_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `parameter_holder` for its state dictionary, or an average of it."""
    return {name.replace("/", "."): value for name, value in weights.items()}


def run_steps(
    state: TrainingState,
    schedule: Schedule,
    folder: Path,
    loss_of: Callable[[int], Tensor],
    accelerator: Accelerator,
    on_log: Callable[[dict[str, float]], None] = lambda facts: None,
) -> bool:
    """Train up to the schedule's end, from where ``state`` is; a checkpoint in ``folder`` is loaded first.

    Args:
        state: its optimiser as the accelerator prepared it.
        folder: of the run; the checkpoint and the log lie there.
        loss_of: the loss of a step, by how many were done before.
        accelerator: the first of its processes saves and logs.
        on_log: called with what the log says; ``step`` is the number of steps done.

    Returns:
        Whether the end was reached; False after Ctrl-C.

    Raises:
        ClearpaneError: the checkpoint is of another run, or cannot be written; the loss is not finite.
    """
    checkpoint = folder / CHECKPOINT_FILE
    if checkpoint.exists():
        state.load(checkpoint)
        _cut_log(folder / LOG_FILE, state.step)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    started, first, losses = time.monotonic(), state.step, []
    try:
        while state.step < schedule.steps:
            rate = cosine_learning_rate(
                state.step, schedule.steps, schedule.learning_rate, schedule.warmup, schedule.floor
            )
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(state.step)
            if not torch.isfinite(loss):
                raise ClearpaneError(
                    f"the loss is not finite at step {state.step}; lower the learning rate and go on from "
                    f"{checkpoint}"
                )
            state.optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(parameters, 1.0)
            state.optimizer.step()
            state.average.update(state.model)
            state.step += 1
            losses.append(loss.item())
            last = state.step == schedule.steps
            if accelerator.is_main_process and (last or state.step % schedule.log_every == 0):
                minutes = (time.monotonic() - started) / 60
                facts = {
                    "step": state.step,
                    "loss": float(np.mean(losses)),
                    "learning_rate": rate,
                    "minutes_left": minutes / (state.step - first) * (schedule.steps - state.step),
                }
                losses.clear()
                append_json_line(folder / LOG_FILE, facts)
                print("  ".join(f"{name} {value:.4g}" for name, value in facts.items()), flush=True)
                on_log(facts)
            if accelerator.is_main_process and (last or state.step % schedule.checkpoint_every == 0):
                state.save(checkpoint)
    except KeyboardInterrupt:
        if accelerator.is_main_process:
            state.save(checkpoint)
            print(f"interrupted at step {state.step}; the same command goes on from there")
        return False
    return True


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines that a run wrote after its last checkpoint: they are about to be written again."""
    if path.exists():
        lines = [x for x in path.read_text(encoding="utf-8").splitlines() if json.loads(x)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
