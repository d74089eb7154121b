import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from clearpane.separation.flux.lora import add_lora
from clearpane.separation.flux.memory import (
    BackboneSize,
    backbone_size,
    full_training_bytes,
    removal_bytes,
    training_bytes,
)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_usual_size_is_that_of_flux_1_kontext():
    size = BackboneSize()
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    assert (count(transformer), count(vae)) == (size.transformer, size.vae)
    config = transformer.config
    assert (config.num_layers, config.num_single_layers) == (size.double_blocks, size.single_blocks)
    assert size.width == transformer.inner_dim


def test_a_directory_s_size_is_that_of_what_it_holds(base, backbone):
    size = backbone_size(base)
    assert (size.transformer, size.vae) == (count(backbone.transformer), count(backbone.vae))
    assert (size.width, size.multiple) == (32, backbone.multiple)
    assert size.lora_parameters(3) == sum(
        p.numel() for p in add_lora(backbone.transformer, 3, "all").values()
    )


def test_the_account_of_flux_1_kontext_in_gigabytes():
    """bf16 weights alone are 24 GB: a card of that size needs 8bit or nf4."""
    size = BackboneSize()
    assert 24e9 < removal_bytes(size, "bfloat16", 512) < 26e9
    assert removal_bytes(size, "nf4", 512) < 10e9
    assert training_bytes(size, "nf4", 512, 16) < 24e9 < training_bytes(size, "bfloat16", 512, 16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "8bit", "nf4"])
def test_more_needs_more(precision):
    size = BackboneSize()
    plain = removal_bytes(size, precision, 512)
    assert removal_bytes(size, precision, 512, offload=True) < plain < removal_bytes(size, precision, 1024)
    assert plain < training_bytes(size, precision, 512, 16) < training_bytes(size, precision, 512, 64)


def test_one_picture_needs_less_than_a_panel_and_candidates_need_more():
    size = BackboneSize()
    plain = removal_bytes(size, "bfloat16", 512, pictures=1)
    assert plain < removal_bytes(size, "bfloat16", 512)
    assert plain < removal_bytes(size, "bfloat16", 512, pictures=1, candidates=8)
    # Two pictures of 32 x 32 tokens and 512 of text.
    assert size.tokens(512, 1) == 2 * 32 * 32 + 512


def test_the_whole_transformer_fits_eight_gpus_of_80_gb_and_not_one():
    """As GenSIRR's authors say: eight of 80 GB."""
    size = BackboneSize()
    alone = full_training_bytes(size, "bfloat16", 512, 1)
    assert alone > 20 * size.transformer > 80e9
    assert full_training_bytes(size, "bfloat16", 512, 1, moments=2) < alone
    assert size.transformer * 20 / 8 < full_training_bytes(size, "bfloat16", 512, 4, devices=8) < 80e9


def test_a_batch_needs_more_to_train():
    size = BackboneSize()
    one, four = (training_bytes(size, "nf4", 512, 16, 1, batch) for batch in (1, 4))
    assert one < four < 4 * one
    assert one < training_bytes(size, "nf4", 512, 16)
