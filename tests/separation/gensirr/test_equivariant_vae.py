import pytest
import torch
from diffusers import AutoencoderKL
from peft import PeftModel

from clearpane.separation.flux.loading import load_vae
from clearpane.separation.gensirr.equivariant_vae import (
    add_vae_lora,
    equivariance_error,
    mean_latents,
    mix_pictures,
    save_vae,
)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 3, 16, 16, generator=generator)


@pytest.mark.parametrize("space", ["srgb", "linear"])
def test_alpha_0_and_1_are_the_two_pictures(pictures, space):
    background, reflection = pictures
    mixed = mix_pictures(background, reflection, torch.tensor([0.0, 1.0]), space)
    torch.testing.assert_close(mixed[0], background[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed[1], reflection[1], atol=1e-6, rtol=0)


def test_light_adds_up_in_linear_light():
    dark, bright, half = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), torch.tensor([0.5])
    assert mix_pictures(dark, bright, half, "srgb").mean().item() == pytest.approx(0.5)
    assert mix_pictures(dark, bright, half, "linear").mean().item() == pytest.approx(0.7354, abs=1e-4)


def test_a_linear_encoder_is_equivariant_and_the_wrong_partner_is_not(pictures):
    background, reflection = pictures
    alpha = torch.tensor([0.3, 0.8])
    mixed = mix_pictures(background, reflection, alpha, "srgb")

    def encode(x):
        return torch.nn.functional.avg_pool2d(x, 2)

    latents = [encode(x) for x in (mixed, background, reflection)]
    assert equivariance_error(*latents, alpha).max() < 1e-12
    assert equivariance_error(*latents[:2], latents[2].flip(0), alpha).min() > 1e-3


def test_an_untrained_adapter_changes_nothing_and_reaches_every_layer(base, pictures):
    vae = load_vae(base)
    before = mean_latents(vae, pictures[0])
    layers = sum(isinstance(part, torch.nn.Conv2d | torch.nn.Linear) for part in vae.modules())
    model = add_vae_lora(vae, 2)
    torch.testing.assert_close(mean_latents(vae, pictures[0]), before, atol=1e-6, rtol=0)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * layers
    assert all("lora_" in name for name in trained)


def test_stock_peft_and_stock_diffusers_open_what_is_saved_and_agree(base, pictures, tmp_path):
    vae = load_vae(base)
    model = add_vae_lora(vae, 2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    wanted = mean_latents(vae, pictures[0]).detach()
    assert (wanted - mean_latents(load_vae(base), pictures[0])).abs().max() > 1e-2
    save_vae(model, tmp_path / "adapter", tmp_path / "vae")
    merged = AutoencoderKL.from_pretrained(tmp_path / "vae")
    adapted = PeftModel.from_pretrained(load_vae(base), str(tmp_path / "adapter"))
    for opened in (merged, adapted.base_model.model):
        torch.testing.assert_close(mean_latents(opened, pictures[0]), wanted, atol=1e-4, rtol=1e-4)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
