"""Run the steps of a training on one or several devices: gradients, checkpoints, log, progress."""

import contextlib
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.locks import only_run
from clearpane.training.loop import TrainingState, append_json_line, cosine_learning_rate, read_draws
from clearpane.training.precision import describe_precision, has_bfloat16, keep_bfloat16

CHECKPOINT_FILE, LOG_FILE = "checkpoint.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Schedule:
    """Set the length and the learning rate of a run.

    Attributes:
        steps: Number of optimiser steps.
        learning_rate: Peak learning rate.
        warmup: Number of steps up to the peak.
        floor: Last learning rate relative to the peak; 1 for a constant rate after the warm-up.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines on the screen; the log has a line for each step.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    floor: float = 0.01
    checkpoint_every: int = 500
    log_every: int = 50


def parameter_holder(parameters: dict[str, nn.Parameter]) -> nn.ParameterDict:
    """Wrap some parameters of a model in a module, to be averaged and saved without the rest.

    Names of modules may not contain dots, so those become slashes.
    """
    return nn.ParameterDict({name.replace(".", "/"): p for name, p in parameters.items()})


def held_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo the renaming of `parameter_holder` in its state dictionary, or in an average of it."""
    return {name.replace("/", "."): value for name, value in weights.items()}


def draws_per_step(folder: Path, accelerator: Accelerator) -> int:
    """Return the number of draws per step: that of the folder's checkpoint, or one for each process.

    A run thus goes on with fewer or more processes, with the same losses.

    Raises:
        ClearpaneError: The processes cannot share the draws evenly, or the checkpoint cannot be read.
    """
    checkpoint, processes = folder / CHECKPOINT_FILE, accelerator.num_processes
    draws = read_draws(checkpoint) if checkpoint.exists() else processes
    if draws % processes:
        raise ClearpaneError(
            f"{checkpoint}: {draws} draws per step cannot be shared evenly by {processes} processes; start a "
            f"number of processes that divides {draws}"
        )
    return draws


def run_steps(
    state: TrainingState,
    schedule: Schedule,
    folder: Path,
    loss_of: Callable[[int], Tensor],
    accelerator: Accelerator,
    on_step: Callable[[int, float, float], None] = lambda step, loss, rate: None,
) -> bool:
    """Train from the current ``state`` to the schedule's end; a checkpoint in ``folder`` is loaded first.

    Args:
        state: State of the run, with the optimiser that the accelerator prepared.
        schedule: Length and learning rate of the run.
        folder: Folder of the run, with the checkpoint and the log.
        loss_of: Function from the number of a draw to its loss. Step n, counted from 0, averages the draws
            n D to n D + D - 1, D the state's `draws`, which the processes share.
        accelerator: Accelerator of the run; its first process saves and logs.
        on_step: Called in that process after each step with the number of finished steps, the loss and the
            learning rate. A resumed run calls it again for its checkpoint's step: a kill may have come in
            between.

    Returns:
        True at the schedule's end; False after Ctrl-C, which takes effect at the end of a step.

    Raises:
        ClearpaneError: The checkpoint belongs to another run or cannot be written, the loss is not finite,
            or another run is working in the folder.
    """
    checkpoint, log = folder / CHECKPOINT_FILE, folder / LOG_FILE
    main = accelerator.is_main_process
    if checkpoint.exists():
        state.load(checkpoint)
    draws = range(accelerator.process_index, state.draws, accelerator.num_processes)
    _settle_precision(state, accelerator)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    started, first = time.monotonic(), state.step
    recent: deque[float] = deque(maxlen=schedule.log_every)
    with only_run(folder) if main else contextlib.nullcontext(), _deferred_interrupt() as interrupted:
        if main:
            logged = cut_log(log, state.step)
            if logged and logged[-1]["step"] == state.step:
                on_step(state.step, logged[-1]["loss"], logged[-1]["learning_rate"])
        while state.step < schedule.steps:
            if interrupted():
                accelerator.set_trigger()
            if accelerator.check_trigger():  # from any process: all stop at the same step
                break
            rate = cosine_learning_rate(
                state.step, schedule.steps, schedule.learning_rate, schedule.warmup, schedule.floor
            )
            for group in state.optimizer.param_groups:
                group["lr"] = rate * group.get("rate", 1.0)
            state.optimizer.zero_grad(set_to_none=True)
            mean = torch.zeros((), device=accelerator.device)
            for draw in draws:
                loss = loss_of(state.step * state.draws + draw) / len(draws)
                _check_finite("loss", loss, state.step)
                accelerator.backward(loss)
                mean += loss.detach()
            _check_finite("gradient", accelerator.clip_grad_norm_(parameters, 1.0), state.step)
            state.optimizer.step()
            state.average.update(state.model)
            state.step += 1
            recent.append(accelerator.reduce(mean, "mean").item())
            if main:
                last = state.step == schedule.steps
                append_json_line(log, {"step": state.step, "loss": recent[-1], "learning_rate": rate})
                if last or state.step % schedule.log_every == 0:
                    minutes = (time.monotonic() - started) / 60
                    left = minutes / (state.step - first) * (schedule.steps - state.step)
                    print(
                        f"step {state.step} of {schedule.steps}, loss {np.mean(recent):.4g}, "
                        f"{left:.0f} minutes left",
                        flush=True,
                    )
            if (main or state.sharded) and (
                state.step == schedule.steps or state.step % schedule.checkpoint_every == 0
            ):
                state.save(checkpoint, write=main)
            if main:  # after the checkpoint: an error here loses no step
                on_step(state.step, recent[-1], rate)
        finished = state.step == schedule.steps
        if (main or state.sharded) and not finished:
            state.save(checkpoint, write=main)
        if main and not finished:
            print(f"interrupted at step {state.step}; run the same command to resume")
        # A launcher of several processes ends them all as soon as one exits.
        accelerator.wait_for_everyone()
    return finished


def _settle_precision(state: TrainingState, accelerator: Accelerator) -> None:
    """Compute as the recipe sets, as the run was begun or as the first process measures; print which."""
    keep_bfloat16(state.bfloat16)
    if accelerator.is_main_process:
        described = describe_precision(accelerator.device.type, state.set_bfloat16)
        print(f"computing in {described}", flush=True)
    if state.set_bfloat16 is None:
        (state.bfloat16,) = broadcast_object_list([has_bfloat16(accelerator.device.type)])
        keep_bfloat16(state.bfloat16)


def _check_finite(what: str, value: Tensor, step: int) -> None:
    if not torch.isfinite(value):
        raise ClearpaneError(
            f"the {what} is not finite at step {step}; start again in another folder with a lower "
            "learning rate"
        )


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Defer Ctrl-C to the end of a step: yield a function that returns True once an interrupt was requested.

    A second Ctrl-C stops at once.
    An interrupt within a step would leave weights that do not match their step number.
    """
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    here = threading.current_thread() is threading.main_thread()
    signals = [signal.SIGINT, signal.SIGTERM] if here else []
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cut_log(path: Path, step: int) -> list[dict[str, float]]:
    """Drop the lines that a run wrote after its last checkpoint, since it will write them again.

    Returns:
        Figures of the lines that are kept.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # an incomplete last line
            facts = json.loads(line)
            if facts["step"] <= step:
                kept.append(facts)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("".join(f"{json.dumps(facts)}\n" for facts in kept), encoding="utf-8")
    return kept
