"""Storing and loading the small base."""

import pytest
import torch

from benchmarks.flux import small_base
from clearpane.errors import ClearpaneError


def test_the_small_base_comes_back_but_for_its_rounding(tmp_path):
    torch.manual_seed(0)
    pipeline = small_base.new_pipeline(small_base.SmallKontext(), small_base.SENTENCES)
    pipeline.vae.register_to_config(shift_factor=0.25, scaling_factor=0.5)
    small_base.save_weights(pipeline, tmp_path / "base.safetensors")
    again = small_base.load_pipeline(tmp_path / "base.safetensors")
    assert again.vae.config.shift_factor == 0.25 and again.vae.config.scaling_factor == 0.5
    for part, other in zip(*(small_base.weighted_parts(p).values() for p in (pipeline, again)), strict=True):
        for name, value in part.state_dict().items():
            step = value.abs().max() / 127 if value.ndim > 1 else 1e-3
            assert (other.state_dict()[name] - value).abs().max() <= 0.51 * step, name
    stored = sum(f.stat().st_size for f in tmp_path.iterdir())
    assert stored < 1.2 * sum(
        p.numel() for part in small_base.weighted_parts(pipeline).values() for p in part.parameters()
    )


def test_what_is_not_the_small_base_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"12345678")
    with pytest.raises(ClearpaneError, match="not the weights of kontext-small"):
        small_base.load_pipeline(tmp_path / "a.safetensors")
