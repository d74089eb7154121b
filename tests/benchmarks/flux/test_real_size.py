"""FLUX.1 Kontext's exact size: counts, quantisation a few rows at a time, and all stages of a tiny one."""

import json
import sys

import pytest
import torch

from benchmarks.flux import real_size
from benchmarks.flux.real_size_model import (
    TransformerSize,
    new_transformer,
    new_vae,
    quantised,
    write_base,
)
from benchmarks.flux.small_kontext import SmallKontext
from benchmarks.flux.small_kontext import new_vae as new_small_vae
from clearpane.separation.flux.memory import BackboneSize


def test_the_configuration_has_as_many_parameters_as_flux_1_kontext():
    transformer = new_transformer(TransformerSize())
    assert sum(x.numel() for x in transformer.parameters()) == BackboneSize().transformer
    with torch.device("meta"):
        assert sum(x.numel() for x in new_vae().parameters()) == BackboneSize().vae


def test_rows_quantised_in_parts_equal_the_whole_matrix(monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes.functional")
    monkeypatch.setattr("benchmarks.flux.real_size_model._AT_ONCE", 3 * 128)
    weight = torch.randn((10, 128), generator=torch.Generator().manual_seed(0))
    made = quantised(weight, torch.float32)
    assert torch.equal(
        bitsandbytes.dequantize_4bit(made.data, made.quant_state),
        bitsandbytes.dequantize_4bit(*bitsandbytes.quantize_4bit(weight, quant_type="nf4")),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
def test_all_stages_of_a_tiny_transformer_are_measured(tmp_path, monkeypatch):
    class Sent(list):
        def send(self, row):
            self.append(row)

        def close(self):
            pass

    monkeypatch.setattr(real_size, "TEXT", 8)
    options = real_size.Options(TransformerSize(1, 1, 1), side=16, training_side=16, output=tmp_path)
    monkeypatch.setattr(real_size, "has_bfloat16", lambda device: False)
    small = SmallKontext((8, 16, 16, 16), 16)
    monkeypatch.setattr("benchmarks.flux.real_size_model.new_vae", lambda: new_small_vae(small))
    base = write_base(tmp_path / "base", options.size)
    sent = Sent()
    real_size.run_stages(options, base, sent)
    assert [row["stage"] for row in sent] == list(
        real_size.estimates(real_size.backbone_size(base), options, "float32")
    )
    assert sent[2]["finite"] and sent[2]["shape"] == [1, 3, 16, 48]
    assert 0 < sent[3]["with_gradient"] <= sent[3]["parameters"]
    document = {
        "stages": sent,
        "size": real_size.backbone_size(base).__dict__,
        "estimated_bytes": real_size.estimates(real_size.backbone_size(base), options, "float32"),
        "side": 16,
        "training_side": 16,
        "disk_bytes": 1,
        "ended": "",
        "machine": real_size.describe_machine(),
    }
    assert json.loads(json.dumps(document)) == document
    assert "| train |" in real_size.render(document)
