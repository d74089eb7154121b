import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.dataset.shards import StoredSample, encode_sample, write_shard
from clearpane.synthesis.glass.scene import Background, GlassScene, ReflectedWorld
from clearpane.training.loop import AveragedWeights, TrainingState
from clearpane.training.runner import CHECKPOINT_FILE, Schedule, run_steps

HEIGHT, WIDTH = 40, 56

# File and line number.
Line = tuple[str, int]


@pytest.fixture
def glass(tmp_path):
    """A data set of four scenes, T and R below one half, B a quarter brighter than T."""
    random = np.random.default_rng(0)
    samples = []
    for index in range(4):
        layers = {letter: random.random((HEIGHT, WIDTH, 3), dtype=np.float32) / 2 for letter in "TR"}
        layers["B"] = layers["T"] / np.float32(0.8)
        photo = linear_to_srgb(layers["T"] + layers["R"])
        scene = GlassScene(Background("a"), ReflectedWorld("b"))
        samples.append(encode_sample(StoredSample(f"{index:08d}", scene, photo, layers, None), "png16"))
    folder = tmp_path / "glass"
    folder.mkdir()
    write_shard(folder / "shard-000000.tar", samples)
    return folder


@pytest.fixture
def real(tmp_path):
    """A folder with one real pair."""
    folder = tmp_path / "real"
    folder.mkdir()
    for kind, value in (("input", 180), ("transmission", 90)):
        Image.new("RGB", (WIDTH, HEIGHT), (value,) * 3).save(folder / f"000_{kind}.jpg")
    return folder


@pytest.fixture
def interrupt_every_line(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[ModuleType, list[ModuleType], Callable[[], int]], set[Line]]:
    """A recipe's run, interrupted in turn before every line of its own that a step executes."""
    return partial(_interrupt_every_line, monkeypatch)


def _interrupt_every_line(
    patch: pytest.MonkeyPatch, caller: ModuleType, own: list[ModuleType], train: Callable[[], int]
) -> set[Line]:
    """Run a recipe; expect each resumed run to end with the uninterrupted one's checkpoint.

    What the recipe prepares is prepared once: weights and optimiser are set back for every run.

    Args:
        caller: Module that calls `run_steps`.
        own: Modules whose lines are interrupted, in the second of at least three steps.
        train: Runs the recipe.

    Returns:
        The lines, each with its file's name.
    """
    files = {str(module.__file__) for module in own}
    tested: set[Line] = set()

    def every_line(
        state: TrainingState,
        schedule: Schedule,
        folder: Path,
        loss_of: Callable[[int], Tensor],
        accelerator: Accelerator,
        on_step: Any = None,
    ) -> bool:
        weights = {name: value.clone() for name, value in state.model.state_dict().items()}

        def go(name: str, loss_of: Callable[[int], Tensor] = loss_of) -> bool:
            torch.manual_seed(0)
            state.model.load_state_dict(weights)
            state.optimizer.zero_grad(set_to_none=True)
            state.optimizer.state.clear()
            state.average = AveragedWeights(state.model, state.average.decay)
            state.step, state.bfloat16 = 0, None
            (folder / name).mkdir(exist_ok=True)
            return run_steps(state, schedule, folder / name, loss_of, accelerator)

        assert go("whole")
        expected = load_file(folder / "whole" / CHECKPOINT_FILE)
        assert go("lines", _traced(loss_of, files, tested.add))
        for line in sorted(tested):
            name = f"{Path(line[0]).stem}-{line[1]}"
            assert not go(name, _traced(loss_of, files, _interrupt_at(line))), line
            assert state.step == 2, line
            assert go(name), line
            result = load_file(folder / name / CHECKPOINT_FILE)
            assert expected.keys() == result.keys()
            assert all(torch.equal(expected[key], result[key]) for key in expected), line
        return False

    with patch.context() as patched:
        patched.setattr(caller, "run_steps", every_line)
        assert train() == 130
    return {(Path(file).name, number) for file, number in tested}


def _interrupt_at(line: Line) -> Callable[[Line], None]:
    left = [line]

    def on_line(here: Line) -> None:
        if here in left:  # once: a second Ctrl-C would not wait for the end of the step
            left.clear()
            signal.raise_signal(signal.SIGINT)

    return on_line


def _traced(
    loss_of: Callable[[int], Tensor], files: set[str], on_line: Callable[[Line], None]
) -> Callable[[int], Tensor]:
    """Call ``on_line`` before each line of these files that the loss of the second step executes."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            on_line((frame.f_code.co_filename, frame.f_lineno))
        return trace

    def loss_at(step: int) -> Tensor:
        if step != 1:
            return loss_of(step)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            return loss_of(step)
        finally:
            sys.settrace(before)

    return loss_at
