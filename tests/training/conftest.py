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
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
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
    folder = tmp_path / "glass"
    folder.mkdir()
    write_scenes(folder, 0)
    return folder


@pytest.fixture
def two_shards(glass):
    """The same data set with a second shard of four other scenes."""
    write_scenes(glass, 1)
    return glass


def write_scenes(folder: Path, shard: int) -> None:
    random = np.random.default_rng(shard)
    samples = []
    for index in range(4 * shard, 4 * shard + 4):
        layers = {letter: random.random((HEIGHT, WIDTH, 3), dtype=np.float32) / 2 for letter in "TR"}
        layers["B"] = layers["T"] / np.float32(0.8)
        photo = linear_to_srgb(layers["T"] + layers["R"])
        scene = GlassScene(Background("a"), ReflectedWorld("b"))
        samples.append(encode_sample(StoredSample(f"{index:08d}", scene, photo, layers, None), "png16"))
    write_shard(folder / f"shard-{shard:06d}.tar", samples)


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
    """Interrupt each step of a recipe's run before another line; expect the uninterrupted run's checkpoint.

    What the recipe prepares is prepared once: weights and optimiser are set back before the second run. A
    step that an interrupt lost or did twice would change all weights after it.

    Args:
        caller: Module that calls `run_steps`.
        own: Modules whose lines are interrupted, those that any of the recipe's steps executes.
        train: Runs the recipe, for as many steps as there may be lines.

    Returns:
        The lines, each with its file's name.
    """
    files = {str(module.__file__) for module in own}
    executed: dict[Line, set[int]] = {}

    def every_line(
        state: TrainingState,
        schedule: Schedule,
        folder: Path,
        loss_of: Callable[[int], Tensor],
        accelerator: Accelerator,
        on_step: Any = None,
    ) -> bool:
        weights = {name: value.clone() for name, value in state.model.state_dict().items()}

        def go(name: str, on_line: Callable[[int, Line], None]) -> bool:
            (folder / name).mkdir(exist_ok=True)
            return run_steps(state, schedule, folder / name, _traced(loss_of, files, on_line), accelerator)

        torch.manual_seed(0)
        assert go("whole", lambda step, line: executed.setdefault(line, set()).add(step))
        expected = load_file(folder / "whole" / CHECKPOINT_FILE)
        state.model.load_state_dict(weights)
        state.optimizer.zero_grad(set_to_none=True)
        state.optimizer.state.clear()
        state.average = AveragedWeights(state.model, state.average.decay)
        state.step, state.bfloat16 = 0, None
        torch.manual_seed(0)
        left = _a_step_for_each(executed, schedule.steps)

        def interrupt(step: int, line: Line) -> None:
            if left.get(step) == line:
                del left[step]  # once: a second Ctrl-C would not wait for the end of the step
                signal.raise_signal(signal.SIGINT)

        for step in sorted(left):
            assert not go("lines", interrupt), executed
            assert state.step == step + 1
        assert not left
        assert state.step == schedule.steps or go("lines", interrupt)
        result = load_file(folder / "lines" / CHECKPOINT_FILE)
        assert expected.keys() == result.keys()
        assert all(torch.equal(expected[key], result[key]) for key in expected)
        return False

    with patch.context() as patched:
        patched.setattr(caller, "run_steps", every_line)
        assert train() == 130
    return {(Path(file).name, number) for file, number in executed}


def _a_step_for_each(executed: dict[Line, set[int]], steps: int) -> dict[int, Line]:
    """Choose for each line one of the steps that execute it, each step for one line at most."""
    lines = sorted(executed)
    table = np.array([[step in executed[line] for step in range(steps)] for line in lines], np.int8)
    chosen = maximum_bipartite_matching(csr_matrix(table), perm_type="column")
    assert (chosen >= 0).all(), f"{len(lines)} lines in {steps} steps: give the recipe more"
    return {int(step): line for step, line in zip(chosen, lines, strict=True)}


def _traced(
    loss_of: Callable[[int], Tensor], files: set[str], on_line: Callable[[int, Line], None]
) -> Callable[[int], Tensor]:
    """Call ``on_line`` before each line of these files that a step's loss executes."""

    def loss_at(step: int) -> Tensor:
        def trace(frame: Any, event: str, argument: Any) -> Any:
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                on_line(step, (frame.f_code.co_filename, frame.f_lineno))
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            return loss_of(step)
        finally:
            sys.settrace(before)

    return loss_at
