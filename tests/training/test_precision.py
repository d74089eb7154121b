"""Where training computes in bfloat16."""

from pathlib import Path

import pytest
import torch

from clearpane.training.flux.gensirr import TrainKontext, compute_precision
from clearpane.training.precision import has_bfloat16, mixed_precision


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx2": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"architecture": "aarch64", "bf16": False}, False),
    ],
)
def test_a_processor_computes_in_what_it_has(
    capabilities: dict[str, object], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16("cpu") == native
    a = torch.ones(2, 2)
    with mixed_precision("cpu"):
        assert (a @ a).dtype == (torch.bfloat16 if native else torch.float32)
    with mixed_precision("cpu", wanted=False):
        assert (a @ a).dtype == torch.float32


def test_a_release_that_does_not_say_is_answered_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16("cpu")


def test_a_gpu_that_only_emulates_it_is_not_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or False)
    assert not has_bfloat16("cuda")
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize("native", [False, True])
def test_weights_that_are_trained_are_computed_in_what_the_device_has(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen weights in bfloat16 with a LoRA on them are computed in bfloat16 anyway."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native}, raising=False)
    a = torch.ones(2, 2)
    for full, precision, wanted in (
        (True, "bfloat16", native),
        (True, "float32", False),
        (False, "bfloat16", True),
        (False, "float32", False),
    ):
        recipe = TrainKontext(Path(), "base", Path(), full=full, precision=precision)
        with compute_precision(recipe, "cpu"):
            assert (a @ a).dtype == (torch.bfloat16 if wanted else torch.float32)
