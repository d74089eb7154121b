import json
import shutil

import httpx
import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKL, FluxKontextPipeline, FluxTransformer2DModel
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from clearpane.errors import ClearpaneError
from clearpane.separation.flux import loading
from clearpane.separation.flux.folders import (
    TEXT_PARTS,
    base_fingerprint,
    check_directory,
    count_parameters,
    find_base,
)
from clearpane.separation.flux.loading import Loading, check_removal_memory, encode_text, load_backbone
from clearpane.separation.flux.memory import BackboneSize, backbone_size, removal_bytes


@pytest.fixture
def copy(base, tmp_path):
    return shutil.copytree(base, tmp_path / "copy")


def test_weights_are_those_of_the_directory(base, stock):
    backbone = load_backbone(base, Loading("float32", "cpu"))
    for own, theirs in ((backbone.transformer, stock.transformer), (backbone.vae, stock.vae)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(own.state_dict()[name], value)
    assert not any(p.requires_grad for p in backbone.transformer.parameters())


def test_bfloat16_is_computed_in_bfloat16(base):
    backbone = load_backbone(base, Loading("bfloat16", "cpu"))
    assert backbone.encode(torch.rand(1, 3, 16, 16)).dtype == torch.bfloat16


def test_text_is_encoded_as_stock_diffusers_does(base, stock):
    task = encode_text(base, "please remove the reflection.")
    length = stock.tokenizer_2.model_max_length
    prompt, pooled, _ = stock.encode_prompt("please remove the reflection.", max_sequence_length=length)
    assert task.prompt_embeds.shape == (1, length, 16)
    torch.testing.assert_close(task.prompt_embeds.float(), prompt, atol=0.05, rtol=0.05)  # bfloat16
    torch.testing.assert_close(task.pooled_prompt_embeds.float(), pooled, atol=0.05, rtol=0.05)


def test_a_sentence_that_is_too_long_is_refused(base):
    with pytest.raises(ClearpaneError, match=r"tokens and .* takes 64; shorten it"):
        encode_text(base, "zebra " * 40)


def test_parameters_are_counted_without_loading(base, stock):
    for part in ("transformer", "vae", "text_encoder"):
        assert count_parameters(base / part) == sum(p.numel() for p in getattr(stock, part).parameters())


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("model_index.json", "not a model's directory"),
        ("transformer/config.json", "not complete"),
        ("transformer/diffusion_pytorch_model.safetensors", r"transformer/\*\.safetensors: .* not complete"),
        ("scheduler/scheduler_config.json", "not complete"),
    ],
)
def test_a_missing_file_is_named(copy, gone, said):
    (copy / gone).unlink()
    with pytest.raises(ClearpaneError, match=said) as error:
        find_base(str(copy))
    assert gone.split("/")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_text_encoders_are_only_needed_for_text(copy):
    shutil.rmtree(copy / "text_encoder_2")
    check_directory(copy)
    load_backbone(copy, Loading("float32", "cpu"))
    with pytest.raises(ClearpaneError, match=r"text_encoder_2/config\.json: missing"):
        encode_text(copy, "a sentence")


def test_a_hub_s_name_fetches_what_is_needed_and_no_more(base, monkeypatch):
    asked = []

    def fetch(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert find_base("owner/model", ("transformer", "vae")) == base
    assert asked == [("owner/model", ["model_index.json", "transformer/*", "vae/*"])]


def test_a_hub_that_gives_nothing_is_one_line(monkeypatch):
    def refuse(name, allow_patterns):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        ClearpaneError, match=r"owner/model: .*cannot be downloaded from the model hub \(no network\)"
    ):
        find_base("owner/model")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (GatedRepoError, "accept it on the model's page of the hub, then log in here with hf auth login"),
        (RepositoryNotFoundError, "no such model, or a private one; check the name, or log in"),
    ],
)
def test_a_hub_that_refuses_is_explained(monkeypatch, kind, said):
    def refuse(name, allow_patterns):
        raise kind("401 Client Error. (Request ID: 1)", response=httpx.Response(401, request=request))

    request = httpx.Request("GET", "https://hub.example/owner/model")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ClearpaneError, match=f"^owner/model: .*{said}"):
        find_base("owner/model")


def test_a_folder_stored_without_text_encoders_cannot_be_trained_further(copy):
    shutil.rmtree(copy / "text_encoder")
    path = copy / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_encoder": [None, None]}))
    check_directory(copy)
    with pytest.raises(ClearpaneError, match=r"text_encoder, .*cannot be trained further, give the original"):
        find_base(str(copy), TEXT_PARTS)


def test_all_shards_of_an_index_are_needed(copy):
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (copy / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ClearpaneError, match=r"one\.safetensors: missing"):
        check_directory(copy)


def test_another_model_s_directory_is_refused(copy):
    path = copy / "model_index.json"
    path.write_text(path.read_text().replace("FluxKontextPipeline", "StableDiffusionPipeline"))
    with pytest.raises(ClearpaneError, match="is a StableDiffusionPipeline, not a FluxKontextPipeline"):
        find_base(str(copy))


def test_truncated_weights_are_one_line(copy):
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ClearpaneError, match="cannot be loaded") as error:
        load_backbone(copy, Loading("float32", "cpu"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *("model_index.json", "transformer/config.json", "vae/config.json"),
        *("transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1'])
def test_a_damaged_file_is_one_line_before_anything_is_loaded(copy, name, content, monkeypatch):
    monkeypatch.setattr(AutoencoderKL, "from_pretrained", pytest.fail)
    monkeypatch.setattr(FluxTransformer2DModel, "from_pretrained", pytest.fail)
    (copy / name).write_bytes(content)
    with pytest.raises(ClearpaneError, match="damaged") as error:
        check_removal_memory(backbone_size(find_base(str(copy))), Loading("float32", "cpu"), 64)
    assert "\n" not in str(error.value)


def test_what_is_offloaded_needs_main_memory_too(monkeypatch):
    size = BackboneSize()
    both = [removal_bytes(size, "float32", 64, offload) for offload in (True, False)]
    monkeypatch.setattr(loading, "free_bytes", lambda device: sum(both) // 2)
    with pytest.raises(ClearpaneError, match="GB are free"):
        check_removal_memory(size, Loading("float32", "cpu", offload=True), 64)
    monkeypatch.setattr(loading, "free_bytes", lambda device: both[1])
    check_removal_memory(size, Loading("float32", "cpu", offload=True), 64)


def test_text_encoders_that_do_not_fit_are_refused_before_they_are_loaded(base, monkeypatch):
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(FluxKontextPipeline, "from_pretrained", pytest.fail)
    with pytest.raises(ClearpaneError, match="kB of main memory"):
        encode_text(base, "a sentence")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ClearpaneError, match="no such directory"):
        find_base(str(tmp_path / "none"))


@pytest.mark.parametrize("precision", ["nf4", "8bit"])
def test_quantisation_without_a_gpu_is_one_line(base, precision):
    with pytest.raises(ClearpaneError, match=f"`precision={precision}` needs an NVIDIA GPU"):
        load_backbone(base, Loading(precision, "cpu"))
    with pytest.raises(ClearpaneError, match=f"`offload` goes with .* not with {precision}"):
        load_backbone(base, Loading(precision, "cpu", offload=True))


def test_a_device_that_is_not_there_is_one_line(base):
    with pytest.raises(ClearpaneError, match="cannot be loaded") as error:
        load_backbone(base, Loading("float32", "cuda:99"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_fingerprints_tell_base_models_apart(base, copy, part):
    assert base_fingerprint(copy) == base_fingerprint(base)
    path = copy / part / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert base_fingerprint(copy) != base_fingerprint(base)
