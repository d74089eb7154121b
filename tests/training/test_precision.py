"""The number format that training computes in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clearpane.training import precision
from clearpane.training.flux.gensirr import TrainGensirr
from clearpane.training.flux.gensirr_vae import TrainGensirrVae
from clearpane.training.flux.panel import TrainPanel
from clearpane.training.precision import describe_precision, has_bfloat16, keep_bfloat16, mixed_precision

FULL = TrainGensirr(Path(), "base", Path(), full=True)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    precision.bfloat16_speed.cache_clear()
    monkeypatch.setattr(precision, "_chosen", None)
    yield
    precision.bfloat16_speed.cache_clear()


def seconds(float32: float, bfloat16: float, calls: list[bool] | None = None):
    def measured(in_bfloat16: bool) -> float:
        if calls is not None:
            calls.append(in_bfloat16)
        return bfloat16 if in_bfloat16 else float32

    return measured


@pytest.mark.parametrize(("bfloat16", "faster"), [(0.5, True), (0.99, False), (20.0, False)])
def test_the_faster_format_is_chosen(bfloat16: float, faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "convolution_seconds", seconds(1.0, bfloat16))
    assert has_bfloat16("cpu") == faster
    a = torch.ones(2, 2)
    with mixed_precision("cpu"):
        assert (a @ a).dtype == (torch.bfloat16 if faster else torch.float32)
    with mixed_precision("cpu", False):
        assert (a @ a).dtype == torch.float32


def test_it_is_measured_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(precision, "convolution_seconds", seconds(1.0, 2.0, calls))
    assert [has_bfloat16("cpu") for _ in range(3)] == [False] * 3
    assert calls == [False, True] * 8


@pytest.mark.parametrize("bfloat16", [0.1, 20.0])
def test_a_clear_difference_is_measured_twice(bfloat16: float, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(precision, "convolution_seconds", seconds(1.0, bfloat16, calls))
    assert has_bfloat16("cpu") == (bfloat16 < 1)
    assert calls == [False, True] * 2


@pytest.mark.parametrize("chosen", [False, True])
def test_a_resumed_run_computes_as_it_was_begun(chosen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "convolution_seconds", seconds(1.0, 2.0 if chosen else 0.5))
    keep_bfloat16(chosen)
    assert has_bfloat16("cpu") == chosen
    assert describe_precision("cpu").endswith("as in the earlier part of this run")


def test_the_choice_is_said_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "convolution_seconds", seconds(1.0, 20.0))
    assert describe_precision("cpu") == "float32 (bfloat16 runs at 0.05 times the speed of float32 here)"


def test_a_real_measurement_is_a_time_and_leaves_no_gradient_mode_behind() -> None:
    with torch.no_grad():
        assert precision.bfloat16_speed() > 0
        assert not torch.is_grad_enabled()


def test_a_gpu_that_only_emulates_it_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or False)
    assert not has_bfloat16("cuda")
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize("faster", [False, True])
def test_trained_weights_are_computed_in_what_is_faster(faster: bool) -> None:
    """Frozen weights in bfloat16 with a LoRA on them are computed in bfloat16 anyway."""
    keep_bfloat16(faster)
    a = torch.ones(2, 2)
    for full, wanted_precision, in_bfloat16 in (
        (True, "bfloat16", faster),
        (True, "float32", False),
        (False, "bfloat16", True),
        (False, "float32", False),
    ):
        recipe = TrainGensirr(Path(), "base", Path(), full=full, precision=wanted_precision)
        with mixed_precision("cpu", recipe.set_bfloat16):
            assert (a @ a).dtype == (torch.bfloat16 if in_bfloat16 else torch.float32)


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (TrainPanel(Path(), "base", Path()), "bfloat16, which the recipe sets"),
        (TrainPanel(Path(), "base", Path(), precision="nf4"), "bfloat16, which the recipe sets"),
        (TrainPanel(Path(), "base", Path(), precision="float32"), "float32, which the recipe sets"),
        (TrainGensirr(Path(), "base", Path()), "bfloat16, which the recipe sets"),
        (FULL, "float32, as in the earlier part of this run"),
        (
            TrainGensirr(Path(), "base", Path(), full=True, precision="float32"),
            "float32, which the recipe sets",
        ),
        (
            TrainGensirrVae(Path(), "base", Path(), precision="bfloat16"),
            "float32, as in the earlier part of this run",
        ),
        (TrainGensirrVae(Path(), "base", Path(), precision="float32"), "float32, which the recipe sets"),
    ],
)
def test_what_is_said_is_what_is_computed_in(
    recipe: TrainPanel | TrainGensirr | TrainGensirrVae, line: str
) -> None:
    keep_bfloat16(False)
    assert describe_precision("cpu", recipe.set_bfloat16) == line
    a = torch.ones(2, 2)
    with mixed_precision("cpu", recipe.set_bfloat16):
        assert str((a @ a).dtype) == f"torch.{line.partition(',')[0]}"
