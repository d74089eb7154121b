"""GenSIRR's reflection-equivariant VAE (re-VAE, arXiv 2512.06358): mixing pictures mixes their latents.

A photograph through glass is about ``I = (1 - a) B + a R``. A VAE is equivariant to reflection if its latents
mix as the pictures do, ``E(I) = (1 - a) E(B) + a E(R)``; the reflection can then be subtracted in latent
space. A LoRA on all of the VAE's layers, including convolutions, is trained for this.
"""

from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from clearpane.files import atomic_folder
from clearpane.optics.color import linear_to_srgb, srgb_to_linear

MixSpace = Literal["srgb", "linear"]
"""Space in which pictures are mixed: sRGB values, as in GenSIRR, or linear light."""


def mix_pictures(background: Tensor, reflection: Tensor, alpha: Tensor, space: MixSpace) -> Tensor:
    """Mix pictures, ``(1 - a) B + a R``, in sRGB or in linear light.

    Args:
        background, reflection: [B, 3, H, W], sRGB in [0, 1].
        alpha: [B], in [0, 1].
        space: Space to mix in.

    Returns:
        [B, 3, H, W], sRGB in [0, 1].
    """
    alpha = alpha[:, None, None, None]
    if space == "srgb":
        return torch.lerp(background, reflection, alpha)
    return linear_to_srgb(torch.lerp(srgb_to_linear(background), srgb_to_linear(reflection), alpha))


def mean_latents(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Return the mean of the posterior, not scaled: [B, 3, H, W] in [0, 1] -> [B, C, h, w]."""
    result: Tensor = vae.encode(2 * pictures - 1).latent_dist.mode()
    return result


def equivariance_error(mixed: Tensor, background: Tensor, reflection: Tensor, alpha: Tensor) -> Tensor:
    """Return ``|E(I) - ((1 - a) E(B) + a E(R))|^2``, the mean over latents (GenSIRR, stage I): [B].

    R must be the picture that was mixed in.

    Args:
        mixed, background, reflection: [B, C, h, w], latents of I, B and R.
        alpha: [B].
    """
    wanted = torch.lerp(background, reflection, alpha[:, None, None, None])
    return (mixed - wanted).square().mean(dim=(1, 2, 3))


def add_vae_lora(vae: AutoencoderKL, rank: int) -> PeftModel:
    """Freeze a VAE and add an adapter to all its convolutions and linear layers, in place.

    Args:
        rank: Rank of the adapter, which starts as the identity; alpha equals the rank.
    """
    layers = [name for name, part in vae.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return get_peft_model(vae, LoraConfig(r=rank, lora_alpha=rank, target_modules=layers))


def save_vae(model: PeftModel, adapter: Path, merged: Path) -> None:
    """Write the adapter as peft does, and the merged VAE as a directory that stock diffusers opens.

    Each folder is written atomically; the model is left merged, without the adapter.

    Raises:
        ClearpaneError: A folder cannot be written.
    """
    with atomic_folder(adapter, overwrite=True) as folder:
        model.save_pretrained(str(folder))
    vae = model.merge_and_unload()
    with atomic_folder(merged, overwrite=True) as folder:
        vae.save_pretrained(folder)
