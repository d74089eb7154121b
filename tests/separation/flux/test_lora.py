import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from benchmarks.common.peak_memory import PeakMemory
from benchmarks.flux.cuda_autocast import layer_norm_in_float32, quantise
from benchmarks.flux.flux_cost import new_transformer, predict
from clearpane.errors import ClearpaneError
from clearpane.separation.flux.loading import Loading, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, TARGETS, add_lora, load_lora, train_in_float32
from clearpane.separation.flux.sampling import Sampling, sample


def look(backbone, task) -> torch.Tensor:
    photo = torch.rand((1, 3, 32, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return backbone.decode(sample(backbone, backbone.encode(photo), task, Sampling(3, 2))).clamp(0, 1)


def test_an_untrained_adapter_changes_nothing(backbone, task):
    before = look(backbone, task)
    add_lora(backbone.transformer, 3, "all")
    assert torch.equal(look(backbone, task), before)


@pytest.mark.parametrize("targets", list(TARGETS))
def test_only_the_adapter_s_own_parameters_learn(backbone, targets):
    parameters = add_lora(backbone.transformer, 3, targets)
    layers = {name.split(".lora_")[0] for name in parameters}
    blocks = [n for n, m in backbone.transformer.named_modules() if isinstance(m, torch.nn.Linear)]
    wanted = {n for n in blocks if "transformer_blocks." in n and "norm" not in n and ".lora_" not in n}
    wanted = {n.removesuffix(".base_layer") for n in wanted}
    if targets == "attention":
        wanted = {n for n in wanted if ".attn." in n}
    assert layers == wanted
    assert all(".lora_" in name for name in parameters)


def test_an_adapter_in_float32_learns_as_it_does_when_its_inputs_are_enlarged(base, task):
    """Under autocast; peft would enlarge them, and keep that."""
    gradients = []
    for enlarged in (False, True):
        backbone = load_backbone(base, Loading("bfloat16", "cpu"))
        torch.manual_seed(0)
        parameters = add_lora(backbone.transformer, 2, "all")
        train_in_float32(backbone.transformer)
        for layer in backbone.transformer.modules():
            if isinstance(layer, BaseTunerLayer):
                assert not layer.cast_input_dtype_enabled
                layer.cast_input_dtype_enabled = enlarged
        assert {p.dtype for p in parameters.values()} == {torch.float32}
        latents = torch.rand((1, 4, 8, 8), generator=torch.Generator().manual_seed(1)).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            now = torch.ones(1)
            backbone.velocity(latents, latents, now, task.to("cpu", torch.bfloat16), 2.5).sum().backward()
        gradients.append([p.grad for p in parameters.values()])
    for own, plain in zip(*gradients, strict=True):
        assert torch.equal(own, plain)
    assert any(own.abs().max() > 0 for own in gradients[0])


def test_an_adapter_comes_back(adapted, backbone, base, task):
    other = load_backbone(base, Loading("float32", "cpu"))
    plain = look(other, task)
    load_lora(other.transformer, adapted / LORA_FILE, 2)
    torch.testing.assert_close(look(other, task), look(backbone, task), atol=1e-5, rtol=0)
    assert (plain - look(backbone, task)).abs().max() > 0.01


def test_stock_diffusers_paints_the_same_picture_with_it(adapted, backbone, stock, task):
    stock.load_lora_weights(adapted)
    photo = torch.rand((1, 3, 32, 48), generator=torch.Generator().manual_seed(1))
    theirs = stock(
        image=photo,
        prompt_embeds=task.prompt_embeds,
        pooled_prompt_embeds=task.pooled_prompt_embeds,
        height=32,
        width=48,
        max_area=32 * 48,
        _auto_resize=False,
        num_inference_steps=3,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(2),
        output_type="pt",
    ).images
    torch.testing.assert_close(look(backbone, task), theirs, atol=1e-5, rtol=0)


def to_q(tensors: dict) -> str:
    return next(n for n in tensors if n.endswith("to_q.lora_A.weight"))


def changed(tensors: dict, **replaced: torch.Tensor | None) -> dict:
    """The tensors with one layer's ``A`` or ``B`` replaced, or left out."""
    name = to_q(tensors)
    new = {name.replace("lora_A", f"lora_{matrix}"): value for matrix, value in replaced.items()}
    return {n: v for n, v in {**tensors, **new}.items() if v is not None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: changed(t, A=torch.zeros(2, 99)), "another base model, whose .* has 99 inputs"),
        (lambda t: changed(t, B=torch.zeros(99, 2)), "another base model, whose .* 99 outputs"),
        (lambda t: changed(t, A=torch.zeros(4, 32)), "has rank 4 and 2; rank 2 is expected"),
        (lambda t: changed(t, A=torch.zeros(4, 32), B=torch.zeros(32, 4)), "rank 2 is expected"),
        (lambda t: changed(t, B=None), "not complete .* only lora_A"),
        (lambda t: changed(t, A=None, B=None), "not complete, or changes other layers"),
        (lambda t: {n.replace("blocks.0", "blocks.18"): v for n, v in t.items()}, r"layer .*blocks\.18"),
        (lambda t: {"weight": torch.zeros(2)}, "holds no adapter"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(adapted, base, change, said):
    path = adapted / LORA_FILE
    save_file(change(load_file(path)), path)
    transformer = load_backbone(base, Loading("float32", "cpu")).transformer
    with pytest.raises(ClearpaneError, match=said) as error:
        load_lora(transformer, path, 2)
    assert "\n" not in str(error.value)
    assert not hasattr(transformer, "peft_config")


def test_an_adapter_of_another_rank_is_refused(adapted, base):
    transformer = load_backbone(base, Loading("float32", "cpu")).transformer
    with pytest.raises(ClearpaneError, match="has rank 2 and 2; rank 16 is expected"):
        load_lora(transformer, adapted / LORA_FILE, 16)


def test_a_file_that_is_missing_or_cut_off_is_one_line(adapted, base):
    path = adapted / LORA_FILE
    transformer = load_backbone(base, Loading("float32", "cpu")).transformer
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ClearpaneError, match="damaged"):
        load_lora(transformer, path, 2)
    path.unlink()
    with pytest.raises(ClearpaneError, match="no such adapter"):
        load_lora(transformer, path, 2)


def test_layers_of_four_bits_are_trained_in_bfloat16_between_the_blocks():
    """As on CUDA, where layers are normalised in float32; without the cast everything would follow them."""

    def train(transformer) -> tuple[set[torch.dtype], int]:
        transformer.enable_gradient_checkpointing()
        kinds: set[torch.dtype] = set()
        for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
            block.register_forward_hook(lambda block, given, made: kinds.update(x.dtype for x in made))
        with (
            PeakMemory(transformer) as memory,
            layer_norm_in_float32(),
            torch.autocast("cpu", torch.bfloat16),
        ):
            predict(transformer, 64).float().square().mean().backward()
        return kinds, memory.peak

    def quantised():
        torch.manual_seed(0)
        transformer = new_transformer(1, 1, 1, 16)
        quantise(transformer)
        return transformer, add_lora(transformer, 2, "all")

    transformer, parameters = quantised()
    train_in_float32(transformer)
    kinds, peak = train(transformer)
    assert kinds == {torch.bfloat16}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in parameters.values())
    assert sum(p.grad.abs().sum() for p in parameters.values()) > 0
    plain, _ = quantised()
    kinds, larger = train(plain)
    assert kinds == {torch.float32}
    assert larger > 1.3 * peak
