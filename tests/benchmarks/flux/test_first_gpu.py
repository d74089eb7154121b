"""The checks for the first GPU, as far as a CPU runs them."""

import json

import pytest
import torch

from benchmarks.flux import first_gpu
from benchmarks.flux.cuda_autocast import layer_norm_in_float32, quantise
from clearpane.errors import ClearpaneError


def test_training_steps_lower_the_loss_and_the_types_between_blocks_are_reported(backbone, task):
    for part in (backbone.transformer, backbone.vae):
        part.to(torch.bfloat16)
    quantise(backbone.transformer)
    with layer_norm_in_float32():
        row = first_gpu.train_steps(backbone, task, 16, 6)
    assert row["block_types"] == ["torch.bfloat16"]
    assert row["losses"][-1] < row["losses"][0]


def test_without_a_gpu_it_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ClearpaneError, match="there is no NVIDIA GPU"):
        first_gpu.main(first_gpu.Options())


def test_one_process_takes_its_steps(base, tmp_path, monkeypatch):
    monkeypatch.setattr(first_gpu.distributed, "init_process_group", lambda *args, **named: None)
    monkeypatch.setattr(first_gpu.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(first_gpu, "shard_over_devices", lambda *args: None)  # tests/training does it
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
    first_gpu.step_of_one_process(0, base, 1, False, tmp_path / "facts.json")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["device"] == "cpu" and facts["losses"][1] < facts["losses"][0]
