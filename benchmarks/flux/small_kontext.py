"""Make a small FluxKontextPipeline from scratch, from the same classes as FLUX.1 Kontext.

It allows claims about the 12 B parameters of FLUX.1 Kontext to be tested on two cores. Stock diffusers opens
its directory.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

CLIP_LENGTH, T5_LENGTH = 77, 64


@dataclass(frozen=True)
class SmallKontext:
    """Sizes of a small pipeline; the defaults are kontext-small's, 9 M parameters.

    Attributes:
        vae_channels: Channels of the VAE, one number per level; each level after the first halves the
            resolution. latent_channels: Channels of the VAE's latents. FLUX has 16, at an eighth of the
            resolution. width: Width of the transformer, divisible by ``heads``. heads: Number of its
            attention heads. double_blocks: Number of blocks with separate weights for the text and the
            picture. single_blocks: Number of blocks that both share. text_width: Width of both text encoders.
    """

    vae_channels: tuple[int, ...] = (32, 64, 128)
    latent_channels: int = 16
    width: int = 192
    heads: int = 4
    double_blocks: int = 2
    single_blocks: int = 6
    text_width: int = 64


def new_vae(config: SmallKontext) -> AutoencoderKL:
    """Make an untrained VAE, one block per level. Like FLUX's it has no convolutions around its latents."""
    levels = len(config.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.vae_channels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=8,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=True,
    )


def new_transformer(config: SmallKontext) -> FluxTransformer2DModel:
    """Make an untrained transformer, Kontext's but for its size. It predicts 0: its last layer is 0."""
    head = config.width // config.heads
    rows = 2 * (head // 5)  # FLUX.1: 128 = 16 + 56 + 56; both coordinates get about two fifths each, even
    transformer = FluxTransformer2DModel(
        in_channels=4 * config.latent_channels,
        num_layers=config.double_blocks,
        num_single_layers=config.single_blocks,
        attention_head_dim=head,
        num_attention_heads=config.heads,
        joint_attention_dim=config.text_width,
        pooled_projection_dim=config.text_width,
        guidance_embeds=True,
        axes_dims_rope=(head - 2 * rows, rows, rows),
    )
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def new_tokenizers(sentences: Sequence[str]) -> tuple[CLIPTokenizer, T5TokenizerFast]:
    """Make tokenizers that know the words of some sentences, and spell out all others."""
    clip = CLIPTokenizer().train_new_from_iterator(
        sentences, 1024, length=len(sentences), show_progress=False
    )
    clip.model_max_length = CLIP_LENGTH
    words = sorted({word for sentence in sentences for word in re.findall(r"\w+|[^\w\s]", sentence)})
    letters = [chr(code) for code in range(33, 127)]
    pieces = [(f"▁{word}", -2.0) for word in words if word.isalnum()]
    pieces += [(letter, -8.0) for letter in letters] + [("▁", -8.0)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return clip, T5TokenizerFast(vocab=special + pieces, extra_ids=0, model_max_length=T5_LENGTH)


def new_pipeline(config: SmallKontext, sentences: Sequence[str]) -> FluxKontextPipeline:
    """Make an untrained pipeline whose tokenizers know the words of ``sentences``.

    Random numbers come from PyTorch's global generator: call ``torch.manual_seed`` first.
    """
    tokenizer, tokenizer_2 = new_tokenizers(sentences)
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=4 * config.text_width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    t5 = T5Config(
        vocab_size=len(tokenizer_2),
        d_model=config.text_width,
        d_kv=config.text_width // 2,
        d_ff=4 * config.text_width,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    return FluxKontextPipeline(
        # As in FLUX.1 Kontext: the more tokens, the more steps at high noise.
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=new_vae(config),
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer_2,
        transformer=new_transformer(config),
    )
