import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr.checkpoint import convert, read_checkpoint, transformer_config, vae_config
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.gensirr.separator import GensirrSeparator, GensirrSettings
from clearpane.separation.separator import load_separator


@pytest.fixture
def parts():
    """A small model with FLUX.1's proportions."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=10, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 64), layers_per_block=2, latent_channels=4, norm_num_groups=32,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    return transformer, vae, TaskEmbedding(torch.randn(1, 5, 12), torch.randn(1, 10))


@pytest.fixture
def layout(parts):
    """As DESIGN has it: under ``module``, with the prefix ``net_g.``."""
    transformer, vae, task = parts
    inner = {f"net_g.transformer.{name}": value for name, value in transformer.state_dict().items()}
    inner |= {f"net_g.vae.{name}": value for name, value in vae.state_dict().items()}
    inner |= {
        "net_g.text_encoder.embeddings.weight": torch.zeros(3, 3),
        "net_g.cached_prompt_embeds": task.prompt_embeds,
        "net_g.cached_pooled_prompt_embeds": task.pooled_prompt_embeds,
        "net_g.cached_text_ids": torch.zeros(5, 3),
    }
    return {"module": inner, "epoch": 3}


def test_the_converted_folder_paints_the_very_picture_of_the_model(parts, layout, tmp_path):
    torch.save(layout, tmp_path / "GenSIRR.pt")
    convert(tmp_path / "GenSIRR.pt", tmp_path / "gensirr")
    transformer, vae, task = parts
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    backbone = Backbone(transformer, vae, scheduler, torch.device("cpu"))
    settings = GensirrSettings(None, None, 64, 0, 3.5, "", one_step=False, enlarge=True)
    photo = np.random.default_rng(0).random((24, 32, 3), dtype=np.float32)
    sampling = Sampling(2, seed=3, guidance=settings.guidance)
    wanted = GensirrSeparator(backbone, task, settings, sampling).separate(photo)
    converted = GensirrOptions(
        weights=tmp_path / "gensirr", steps=2, seed=3, precision="float32", device="cpu", side=64
    )
    layers = load_separator("gensirr", converted).separate(photo)
    np.testing.assert_allclose(layers.transmission, wanted.transmission, atol=1e-5)
    stored = json.loads((tmp_path / "gensirr" / "gensirr.json").read_text())
    assert (stored["side"], stored["enlarge"]) == (512, True)
    assert not list((tmp_path / "gensirr").rglob("*.pt"))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".clearpane")]


def test_a_file_of_torch_s_old_format_is_read_alike(layout, tmp_path):
    torch.save(layout, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    read = read_checkpoint(tmp_path / "old.pt")
    assert {f"net_g.{name}" for name in read} == set(layout["module"])
    for name, value in read.items():
        assert torch.equal(value, layout["module"][f"net_g.{name}"]), name


def test_sizes_are_read_off_the_tensors(parts):
    transformer, vae, _ = parts
    for config, model in ((transformer_config, transformer), (vae_config, vae)):
        for name, value in config(model.state_dict()).items():
            own = model.config[name]
            own, value = (list(x) if isinstance(x, tuple | list) else x for x in (own, value))
            assert own == value, name


def test_flux_s_own_proportions():
    names = {
        "x_embedder.weight": (3072, 64),
        "transformer_blocks.0.attn.norm_q.weight": (128,),
        "single_transformer_blocks.0.a": (1,),
        "context_embedder.weight": (3072, 4096),
        "time_text_embed.text_embedder.linear_1.weight": (3072, 768),
    }
    config = transformer_config({name: torch.empty(shape, device="meta") for name, shape in names.items()})
    assert config["axes_dims_rope"] == (16, 56, 56)
    assert config["num_attention_heads"] == 24


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.pop("module"), "it has no module"),
        (lambda x: x["module"].update({"other.weight": torch.zeros(1)}), "it has a part other.weight"),
        (lambda x: x["module"].update({"net_g.adapter.a": torch.zeros(1)}), "it has a part adapter.a"),
        (lambda x: x["module"].pop("net_g.cached_prompt_embeds"), "it has no cached_prompt_embeds"),
        (lambda x: x["module"].pop("net_g.vae.decoder.conv_in.weight"), "do not make up a FLUX.1 model"),
        (
            lambda x: x["module"].update({"net_g.transformer.proj_out.weight": torch.zeros(2, 2)}),
            "do not make up a FLUX.1 model",
        ),
        (
            lambda x: x["module"].update({"net_g.cached_prompt_embeds": torch.zeros(3)}),
            "do not make up a FLUX.1 model",
        ),
        (lambda x: x.update(evil=Evil()), "damaged, or not a file of tensors alone"),
    ],
)
def test_another_layout_is_refused_and_nothing_is_run_or_left(layout, tmp_path, change, said, capsys):
    change(layout)
    torch.save(layout, tmp_path / "GenSIRR.pt")
    with pytest.raises(ClearpaneError, match=said) as told:
        convert(tmp_path / "GenSIRR.pt", tmp_path / "gensirr")
    assert "\n" not in str(told.value)
    assert capsys.readouterr().out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["GenSIRR.pt"]


def test_a_folder_that_is_not_empty_is_left_as_it_is(layout, tmp_path):
    torch.save(layout, tmp_path / "GenSIRR.pt")
    with pytest.raises(ClearpaneError, match="exists and is not empty"):
        convert(tmp_path / "GenSIRR.pt", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["GenSIRR.pt"]


def test_a_missing_and_a_truncated_file_are_said(layout, tmp_path):
    with pytest.raises(ClearpaneError, match="there is no such file"):
        convert(tmp_path / "GenSIRR.pt", tmp_path / "gensirr")
    torch.save(layout, tmp_path / "GenSIRR.pt")
    whole = (tmp_path / "GenSIRR.pt").read_bytes()
    (tmp_path / "GenSIRR.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClearpaneError, match="damaged"):
        convert(tmp_path / "GenSIRR.pt", tmp_path / "gensirr")


@pytest.mark.parametrize("content", [b"", b"hello world, this is no checkpoint", b"\x80\x02"])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "GenSIRR.pt"
    path.write_bytes(content)
    with pytest.raises(ClearpaneError, match=r"(of tensors alone|is empty); get a fresh copy") as error:
        convert(path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>404</html>", "is a web page, not a checkpoint"),
        (b"\n<!DOCTYPE html><p>", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(60), "damaged, or not a file of tensors alone"),
        (b"cposix\nsystem\n(S'true'\ntR.", "damaged, or not a file of tensors alone"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "html.pt"
    path.write_bytes(content)
    with pytest.raises(ClearpaneError, match=says) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not any(word in str(error.value) for word in ("weights_only", "pickle", "trust", "torch.load"))
