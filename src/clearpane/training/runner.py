"""The steps of a run, on one processor or several: gradients, checkpoints, log, progress."""

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
from clearpane.training.loop import TrainingState, append_json_line, cosine_learning_rate
from clearpane.training.precision import describe_precision, has_bfloat16, keep_bfloat16

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
        log_every: steps between lines on the screen; the log has one for each step.
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
    """Undo `parameter_holder` for its state dictionary, or an average of it."""
    return {name.replace("/", "."): value for name, value in weights.items()}


def run_steps(
    state: TrainingState,
    schedule: Schedule,
    folder: Path,
    loss_of: Callable[[int], Tensor],
    accelerator: Accelerator,
    on_step: Callable[[int, float, float], None] = lambda step, loss, rate: None,
) -> bool:
    """Train up to the schedule's end, from where ``state`` is; a checkpoint in ``folder`` is loaded first.

    Args:
        state: its optimiser as the accelerator prepared it.
        folder: of the run; the checkpoint and the log lie there.
        loss_of: the loss of a step, by how many were done before.
        accelerator: the first of its processes saves and logs.
        on_step: called by that process after each step with how many are done, the loss, the learning rate.

    Returns:
        Whether the end was reached; False after Ctrl-C, which waits for the end of a step.

    Raises:
        ClearpaneError: the checkpoint is of another run, or cannot be written; the loss is not finite.
    """
    checkpoint, log = folder / CHECKPOINT_FILE, folder / LOG_FILE
    main = accelerator.is_main_process
    if checkpoint.exists():
        state.load(checkpoint)
    _settle_precision(state, accelerator)
    if main:
        cut_log(log, state.step)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    started, first = time.monotonic(), state.step
    recent: deque[float] = deque(maxlen=schedule.log_every)
    with _deferred_interrupt() as interrupted:
        while state.step < schedule.steps:
            if interrupted():
                accelerator.set_trigger()
            if accelerator.check_trigger():  # any process's: all stop at the same step
                break
            rate = cosine_learning_rate(
                state.step, schedule.steps, schedule.learning_rate, schedule.warmup, schedule.floor
            )
            for group in state.optimizer.param_groups:
                group["lr"] = rate * group.get("rate", 1.0)
            loss = loss_of(state.step)
            _check_finite("loss", loss, state.step)
            state.optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            _check_finite("gradient", accelerator.clip_grad_norm_(parameters, 1.0), state.step)
            state.optimizer.step()
            state.average.update(state.model)
            state.step += 1
            recent.append(loss.item())
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
            if main:  # after the checkpoint: what goes wrong here costs no step
                on_step(state.step, recent[-1], rate)
        finished = state.step == schedule.steps
        if (main or state.sharded) and not finished:
            state.save(checkpoint, write=main)
        if main and not finished:
            print(f"interrupted at step {state.step}; the same command goes on from there")
        # Who starts several processes ends them all as soon as one is gone.
        accelerator.wait_for_everyone()
    return finished


def _settle_precision(state: TrainingState, accelerator: Accelerator) -> None:
    """Compute as the run was begun, or as the first process measures, in all processes; print which."""
    keep_bfloat16(state.bfloat16)
    if accelerator.is_main_process:
        described = describe_precision(accelerator.device.type)
        print(f"computing in {described}, unless the recipe sets another precision", flush=True)
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
    """Yield a function that tells whether an end was asked for, by Ctrl-C or otherwise.

    A second Ctrl-C stops at once.

    A step broken off half-way would leave weights and their step number that do not belong together.
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


def cut_log(path: Path, step: int) -> None:
    """Drop the lines that a run wrote after its last checkpoint: they are about to be written again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # a last line that was not written to its end
            if json.loads(line)["step"] <= step:
                kept.append(f"{line}\n")
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
