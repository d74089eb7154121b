import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from clearpane.errors import ClearpaneError
from clearpane.training.loop import (
    AveragedWeights,
    TrainingState,
    cosine_learning_rate,
    load_average,
    step_generator,
)
from clearpane.training.runner import CHECKPOINT_FILE, Schedule, draws_per_step, run_steps


def new_state() -> TrainingState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    return TrainingState(
        model, AveragedWeights(model), torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    )


def train(state: TrainingState, until: int) -> None:
    while state.step < until:
        x = torch.rand(8, 3, generator=step_generator(3, state.step))
        state.optimizer.zero_grad()
        state.model(x).square().mean().backward()
        state.optimizer.step()
        state.average.update(state.model)
        state.step += 1


def same_weights(one: TrainingState, other: TrainingState) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path):
    whole = new_state()
    train(whole, 10)
    first = new_state()
    train(first, 4)
    first.save(tmp_path / "run.safetensors")
    resumed = new_state()
    resumed.load(tmp_path / "run.safetensors")
    assert resumed.step == 4
    train(resumed, 10)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
        assert torch.equal(whole.average.weights[name], resumed.average.weights[name])


def test_moments_belong_to_parameters_by_name_not_by_their_order(tmp_path):
    whole, first, resumed = new_state(), new_state(), new_state()
    train(whole, 10)
    train(first, 4)
    first.save(tmp_path / "run.safetensors")
    backwards = reversed(list(resumed.model.parameters()))
    resumed.optimizer = torch.optim.AdamW(backwards, 0.01, fused=True)
    resumed.load(tmp_path / "run.safetensors")
    train(resumed, 10)
    assert same_weights(whole, resumed)


def test_a_checkpoint_before_the_first_step_changes_nothing(tmp_path):
    whole, resumed = new_state(), new_state()
    whole.save(tmp_path / "run.safetensors")
    resumed.load(tmp_path / "run.safetensors")
    assert not whole.optimizer.state and not resumed.optimizer.state
    for state in (whole, resumed):
        train(state, 3)
    assert same_weights(whole, resumed)


def test_a_parameter_without_a_gradient_so_far_starts_its_moments_after_the_checkpoint(tmp_path):
    def late(state: TrainingState, until: int) -> TrainingState:
        while state.step < until:
            state.optimizer.zero_grad()
            part = state.model if state.step >= 6 else state.model[0]
            part(torch.rand(8, 3, generator=step_generator(3, state.step))).square().mean().backward()
            state.optimizer.step()
            state.average.update(state.model)
            state.step += 1
        return state

    whole = late(new_state(), 10)
    late(new_state(), 4).save(tmp_path / "run.safetensors")
    resumed = new_state()
    resumed.load(tmp_path / "run.safetensors")
    late(resumed, 10)
    assert same_weights(whole, resumed)


def rewritten(path: Path, drop: str) -> None:
    """A checkpoint without one fact or tensor."""
    with safe_open(path, "pt") as file:
        facts = {name: value for name, value in file.metadata().items() if name != drop}
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if name != drop}, path, facts)


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (
            "layout",
            "of an earlier version of Clearpane; finish the run with that one, or choose another folder",
        ),
        ("model.0.bias", "not a checkpoint of this network"),
        ("average.1.weight", "not a checkpoint of this network"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_with_is_one_clear_line(tmp_path, drop, said):
    path = tmp_path / "run.safetensors"
    state = new_state()
    train(state, 1)
    state.save(path)
    rewritten(path, drop)
    with pytest.raises(ClearpaneError, match=said) as caught:
        new_state().load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "name"), [(True, "bfloat16"), (False, "float32")])
def test_the_first_line_says_what_the_recipe_sets(tmp_path, capsys, value, name):
    state = new_state()
    state.set_bfloat16 = value
    run_steps(
        state,
        Schedule(1, 1e-3),
        tmp_path,
        lambda step: state.model(torch.ones(3)).sum(),
        Accelerator(cpu=True),
    )
    assert capsys.readouterr().out.splitlines()[0] == f"computing in {name}, which the recipe sets"


def test_a_step_averages_its_draws_whoever_computes_them(tmp_path):
    """One process with two draws per step, against steps by hand."""
    state, twin = new_state(), new_state()
    state.draws = 2
    inputs = [torch.rand(8, 3, generator=step_generator(3, draw)) for draw in range(6)]
    schedule = Schedule(3, 0.01, warmup=1, floor=1)
    assert run_steps(
        state,
        schedule,
        tmp_path,
        lambda draw: state.model(inputs[draw]).square().mean(),
        Accelerator(cpu=True),
    )
    for step in range(3):
        twin.optimizer.zero_grad()
        losses = [twin.model(x).square().mean() for x in inputs[2 * step : 2 * step + 2]]
        (sum(losses) / 2).backward()
        nn.utils.clip_grad_norm_(twin.model.parameters(), 1.0)
        twin.optimizer.step()
    for one, other in zip(state.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    log = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == 3 and log[-1] == pytest.approx(float(sum(losses)) / 2)


def test_a_run_keeps_its_draws_and_names_the_processes_that_can_share_them(tmp_path):
    alone = Accelerator(cpu=True)
    assert draws_per_step(tmp_path, alone) == 1
    state = new_state()
    state.draws = 4
    state.save(tmp_path / CHECKPOINT_FILE)
    assert draws_per_step(tmp_path, alone) == 4
    assert draws_per_step(tmp_path, SimpleNamespace(num_processes=2)) == 4
    with pytest.raises(ClearpaneError, match="4 draws per step cannot be shared evenly by 3 processes"):
        draws_per_step(tmp_path, SimpleNamespace(num_processes=3))
    with pytest.raises(ClearpaneError, match="it has 4 draws per step, not 1"):
        new_state().load(tmp_path / CHECKPOINT_FILE)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(ClearpaneError, match="not a checkpoint"):
        draws_per_step(tmp_path, alone)


@pytest.mark.parametrize("error", [OSError("No space left"), SafetensorError("I/O error: No space left")])
def test_a_failed_write_leaves_the_earlier_checkpoint_alone(tmp_path, monkeypatch, error):
    path = tmp_path / "run.safetensors"
    state = new_state()
    state.save(path)
    before = path.read_bytes()

    def full(tensors: dict, file: Path, facts: dict) -> None:
        file.write_bytes(b"the first half")
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", full)
    train(state, 1)
    with pytest.raises(ClearpaneError, match=r"run\.safetensors: writing failed \(.*No space"):
        state.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    path.write_bytes(damage)
    with pytest.raises(ClearpaneError, match=r"run\.safetensors: not a checkpoint"):
        new_state().load(path)
    with pytest.raises(ClearpaneError, match=r"run\.safetensors: not a checkpoint"):
        load_average(new_state().model, path)


def test_another_networks_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    new_state().save(path)
    with pytest.raises(ClearpaneError, match="not a checkpoint of this network"):
        load_average(nn.Linear(5, 5), path)


def test_parts_that_an_earlier_network_lacked_keep_their_own_weights(tmp_path):
    path = tmp_path / "run.safetensors"
    state = new_state()
    train(state, 2)
    state.save(path)
    grown = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(1, 1))
    own = grown[2].weight.clone()
    load_average(grown, path, optional=("2.",))
    assert torch.equal(grown[2].weight, own)
    assert torch.equal(grown[0].weight, state.average.weights["0.weight"])
    with pytest.raises(ClearpaneError, match="not a checkpoint of this network"):
        load_average(grown, path, optional=("3.",))


def test_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = AveragedWeights(model, decay=0.999)
    nn.init.constant_(model.weight, 1.0)
    average.update(model)  # decay 1 / 10
    assert average.weights["weight"].item() == pytest.approx(0.9)
    average.update(model)  # decay 2 / 11
    assert average.weights["weight"].item() == pytest.approx(1 - 0.1 * 2 / 11)


def test_learning_rate_warms_up_and_falls_to_its_floor():
    rates = [cosine_learning_rate(step, 1000, 1e-3) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-3 / 200)
    assert max(rates) == rates[200] == pytest.approx(1e-3)
    assert rates[600] == pytest.approx(1e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert rates[1000] == pytest.approx(1e-5)


def test_a_gradient_that_is_not_finite_stops_a_run_before_it_spoils_the_weights(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters())
    state = TrainingState(model, AveragedWeights(model), optimizer)

    def loss_of(step):
        # The root of zero is finite, its gradient is not.
        return (model.weight * (0 if step == 2 else 1)).abs().sum().sqrt()

    with pytest.raises(ClearpaneError, match="the gradient is not finite at step 2"):
        run_steps(state, Schedule(5, 1e-3), tmp_path, loss_of, Accelerator(cpu=True))
    assert all(p.isfinite().all() for p in model.parameters())


def test_what_counts_in_whole_numbers_is_not_averaged():
    model = nn.BatchNorm1d(2)
    average = AveragedWeights(model, decay=0.9)
    for _ in range(3):
        model(torch.rand(4, 2))
        average.update(model)
    assert average.weights["num_batches_tracked"] == 3
    assert (average.weights["running_mean"] < model.running_mean).all()


def damaged(path, facts=None, tensors=None):
    """A checkpoint after two steps with other facts or tensors."""
    state = new_state()
    train(state, 2)
    state.save(path)
    with safe_open(path, "pt") as file:
        stored = file.metadata()
    save_file({**load_file(path), **(tensors or {})}, path, {**stored, **(facts or {})})
    return path


@pytest.mark.parametrize(
    "facts",
    [
        {"step": "x"},
        {"step": "-1"},
        {"updates": "1e9"},
        {"recipe": "[" * 100_000},
        {"recipe": "[]"},
        {"recipe": "not JSON"},
        {"bfloat16": '"yes"'},
    ],
)
def test_a_checkpoint_with_damaged_facts_is_refused(tmp_path, facts):
    with pytest.raises(ClearpaneError, match="not a checkpoint of this network"):
        new_state().load(damaged(tmp_path / "a.safetensors", facts))


@pytest.mark.parametrize(
    "tensors",
    [
        {"average.0.bias": torch.zeros(1)},
        {"average.9.bias": torch.zeros(1)},
        {"optimizer.99.exp_avg": torch.zeros(4, 3)},
        {"optimizer.x.exp_avg": torch.zeros(4, 3)},
        {"optimizer.0.exp_avg": torch.zeros(1)},
        {"optimizer.0": torch.zeros(1)},
    ],
)
def test_a_checkpoint_with_foreign_tensors_is_refused(tmp_path, tensors):
    with pytest.raises(ClearpaneError, match="not a checkpoint of this network"):
        new_state().load(damaged(tmp_path / "a.safetensors", tensors=tensors))
