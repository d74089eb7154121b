"""A run that is interrupted at any point of a step resumes to the uninterrupted run's weights.

This is the shared runner; each recipe's own lines are interrupted in its tests, see `conftest.py`.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from clearpane.training import runner
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.runner import CHECKPOINT_FILE, Schedule, run_steps

STEPS = 4


def train(folder: Path) -> bool:
    """Train a tiny model from its start or from the folder's checkpoint; return whether it was finished."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    state = TrainingState(model, AveragedWeights(model), torch.optim.AdamW(model.parameters()))

    def loss_of(step: int) -> torch.Tensor:
        return model(torch.randn(5, 3, generator=step_generator(0, step))).square().mean()

    folder.mkdir(exist_ok=True)
    schedule = Schedule(STEPS, 1e-2, warmup=1, checkpoint_every=2)
    return run_steps(state, schedule, folder, loss_of, Accelerator(cpu=True))


def lines_of_a_step(folder: Path) -> list[int]:
    """Run once and return the line numbers of `run_steps` that run during the second step, in order."""
    seen: list[int] = []
    in_second_step = [False]

    def trace(frame, event, argument):
        if frame.f_code is not run_steps.__code__:
            return None
        if event == "line":
            state = frame.f_locals["state"]
            if "interrupted" in frame.f_locals and 1 <= state.step <= 2:
                in_second_step[0] = True
                seen.append(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        train(folder)
    finally:
        sys.settrace(None)
    return seen


def interrupt_at_line(folder: Path, number: int) -> bool:
    """Train, with Ctrl-C just before the given one of the lines that `lines_of_a_step` lists."""
    count = [0]

    def trace(frame, event, argument):
        if frame.f_code is not run_steps.__code__:
            return None
        if event == "line" and "interrupted" in frame.f_locals and 1 <= frame.f_locals["state"].step <= 2:
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGINT)
            count[0] += 1
        return trace

    sys.settrace(trace)
    try:
        return train(folder)
    finally:
        sys.settrace(None)


def test_an_interrupt_before_any_line_of_a_step_costs_nothing(tmp_path, capsys):
    assert train(tmp_path / "whole")
    expected = load_file(tmp_path / "whole" / CHECKPOINT_FILE)
    lines = lines_of_a_step(tmp_path / "lines")
    assert len(set(lines)) > 15
    stopped = 0
    for number in range(len(lines)):
        folder = tmp_path / str(number)
        stopped += not interrupt_at_line(folder, number)
        assert train(folder)
        result = load_file(folder / CHECKPOINT_FILE)
        assert expected.keys() == result.keys()
        assert all(torch.equal(expected[name], result[name]) for name in expected), lines[number]
        logged = (folder / runner.LOG_FILE).read_text().splitlines()
        assert len(logged) == STEPS
    assert stopped == len(lines)


@pytest.mark.parametrize("failing", ["append_json_line", "AveragedWeights.update", "TrainingState.save"])
def test_a_run_that_dies_inside_a_step_resumes_from_its_checkpoint(tmp_path, monkeypatch, failing):
    """As by a second Ctrl-C or a full disk: what was saved before is whole, and the step is done once."""
    assert train(tmp_path / "whole")
    owner, _, name = failing.rpartition(".")
    place = getattr(runner, owner, None) if owner else runner
    place = {"AveragedWeights": AveragedWeights, "TrainingState": TrainingState}.get(owner, place)
    real, calls = getattr(place, name), [0]

    def dies(*arguments, **named):
        calls[0] += 1
        if calls[0] == (2 if name == "save" else 3):
            raise KeyboardInterrupt
        return real(*arguments, **named)

    folder = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(KeyboardInterrupt):
            train(folder)
    assert train(folder)
    expected, result = (load_file(x / CHECKPOINT_FILE) for x in (tmp_path / "whole", folder))
    assert all(torch.equal(expected[n], result[n]) for n in expected)
