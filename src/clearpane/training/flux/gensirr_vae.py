"""Train GenSIRR's re-VAE (arXiv 2512.06358, stage I): make a VAE equivariant to reflection."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Generator, Tensor, nn
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.lpips import Lpips
from clearpane.hub.card import CardFacts
from clearpane.separation.flux.folders import find_base, folder_fingerprint
from clearpane.separation.flux.loading import load_vae
from clearpane.separation.gensirr.equivariant_vae import (
    MixSpace,
    add_vae_lora,
    equivariance_error,
    mean_latents,
    mix_pictures,
    save_vae,
)
from clearpane.training.flux.fine_tuning import check_recipe, fine_tune
from clearpane.training.model_card import write_run_card
from clearpane.training.pictures import load_natural, random_crop
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import parameter_holder

ADAPTER_FOLDER, VAE_FOLDER = "adapter", "vae"
# Settings of a recipe that may change when a run resumes.
_FREE = {"data", "base", "lpips", "output", "cpu", "checkpoint_every"}

_CARD = CardFacts(
    "re-VAE: a VAE for reflection removal",
    "The VAE of GenSIRR (arXiv 2512.06358): mixed pictures have the mixture of their latents. `vae/` "
    "is an AutoencoderKL of diffusers, `adapter/` its LoRA in peft's format.",
    "clearpane train gensirr DATA --base BASE --vae THIS_DIRECTORY/vae --output gensirr",
    tags=("reflection-removal", "vae"),
)

DESCRIPTION = """\
Trains the VAE of GenSIRR: a LoRA with which a mixture of two pictures has the
mixture of their latents. OUTPUT/adapter is the LoRA in peft's format,
OUTPUT/vae the whole VAE for clearpane train gensirr and for diffusers. Run
the same command again to resume an interrupted run.

Example:
  clearpane train gensirr-vae photos --base KONTEXT --output revae
"""


@dataclass(frozen=True)
class TrainGensirrVae:
    """Make a VAE equivariant to reflection (needs the extras [train] and [flux])."""

    data: Positional[Path]
    """Folder of photographs without glass (webp, jpg, png); every sixteenth is held out."""
    base: str
    """Base model: a directory in diffusers' format, or a name on the model hub."""
    output: Path
    """Folder of the run: adapter, vae, checkpoint and log."""
    rank: int = 8
    """Rank of the LoRA, on convolutions and linear layers."""
    steps: int = 30000
    """Number of optimiser steps."""
    batch: int = 16
    """Mixtures in a step, on each device; the paper uses 128 in all."""
    side: int = 256
    """Side of the crops, pixels; rounded to a size that the VAE supports."""
    learning_rate: float = 1e-4
    """Learning rate of AdamW, constant after a warm-up of 100 steps."""
    equivariance: float = 1.0
    """Weight of the equivariance loss; 0 trains the reconstruction alone."""
    lpips: Path | None = None
    """Weights of LPIPS (safetensors) for the reconstruction loss; default: squared error alone."""
    mixing: MixSpace = "srgb"
    """Colour space of the mixtures: srgb as in the paper, or linear, as light adds up."""
    average: float = 0.999
    """Decay of the averaged weights (EMA), which are the ones saved."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the computation, if the device supports it; weights and averages are always float32."""
    cpu: bool = False
    """Train on the CPU even if there is a GPU."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Random seed."""

    @property
    def set_bfloat16(self) -> bool | None:
        """The number format that it sets, see `mixed_precision`: the faster one, or float32."""
        return False if self.precision == "float32" else None


def check(recipe: TrainGensirrVae) -> None:
    """Raise ClearpaneError if the settings of a recipe are invalid."""
    check_recipe(recipe, recipe.learning_rate)
    if recipe.equivariance < 0:
        raise ClearpaneError(f"`equivariance={recipe.equivariance:g}`: give 0 or more")


def draw_pictures(
    pictures: list[Tensor], count: int, side: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw crops of two different photographs, [count, 3, side, side] each, and alpha ~ U(0, 1)."""
    crops = []
    for _ in range(count):
        two = torch.randperm(len(pictures), generator=generator)[:2].tolist()
        crops.append([random_crop((pictures[i],), side, generator)[0] for i in two])
    background, reflection = (torch.stack(x) for x in zip(*crops, strict=True))
    return background, reflection, torch.rand(count, generator=generator)


class EquivariantLoss(nn.Module):
    """Compute ``|D(E(I)) - I|^2 + LPIPS + w |E(I) - ((1 - a) E(B) + a E(R))|^2`` (GenSIRR, stage I).

    The loss is a module, so that Accelerate can distribute it over several devices.
    """

    def __init__(self, recipe: TrainGensirrVae, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        self._recipe = recipe
        self._lpips = Lpips(recipe.lpips) if recipe.lpips else None

    def forward(self, background: Tensor, reflection: Tensor, alpha: Tensor) -> Tensor:
        """Compute the loss; the arguments are those of `mix_pictures`."""
        recipe, vae = self._recipe, self.vae
        mixed = mix_pictures(background, reflection, alpha, recipe.mixing)
        with mixed_precision(mixed.device.type, recipe.set_bfloat16):
            pictures = [mixed, background, reflection] if recipe.equivariance else [mixed]
            ours, *parts = mean_latents(vae, torch.cat(pictures)).float().split(len(mixed))
            shown = (vae.decode(ours).sample.float() + 1) / 2
        loss = (shown - mixed).square().mean()
        if self._lpips:
            loss = loss + self._lpips.distances(shown, mixed).mean()
        if recipe.equivariance:
            first, second = parts
            loss = loss + recipe.equivariance * equivariance_error(ours, first, second, alpha).mean()
        result: Tensor = loss
        return result


def run(recipe: TrainGensirrVae) -> int:
    """Train, or resume from the run's checkpoint, and write the VAE. Return the exit code.

    Raises:
        ClearpaneError: The recipe is invalid, or a file cannot be read or written.
    """
    check(recipe)
    pictures = load_natural(recipe.data)
    if len(pictures) < 2:
        raise ClearpaneError(f"{recipe.data}: holds too few photographs ({len(pictures)}); mixing needs two")
    accelerator = Accelerator(cpu=recipe.cpu)
    base = find_base(recipe.base, ("vae",))
    vae = load_vae(base).to(accelerator.device)
    multiple = 2 ** (len(vae.config.block_out_channels) - 1)
    side = max(1, round(recipe.side / multiple)) * multiple
    if (smallest := min(min(x.shape[-2:]) for x in pictures)) < side:
        raise ClearpaneError(f"{recipe.data}: holds a picture of {smallest} pixels; lower `side` ({side})")
    recipe.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(recipe.seed)
    model = add_vae_lora(vae, recipe.rank)
    held = parameter_holder({n: p for n, p in model.named_parameters() if p.requires_grad})
    optimizer = torch.optim.AdamW(held.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
    loss, optimizer = accelerator.prepare(EquivariantLoss(recipe, vae), optimizer)
    lpips = hashlib.sha256(recipe.lpips.read_bytes()).hexdigest()[:16] if recipe.lpips else None
    facts = {"lpips": lpips, "fingerprint": folder_fingerprint(base / "vae")}

    def loss_of(draw: int, generator: Generator) -> Tensor:
        drawn = draw_pictures(pictures, recipe.batch, side, generator)
        result: Tensor = loss(*(x.to(accelerator.device) for x in drawn))
        return result

    weights = fine_tune(recipe, _FREE, facts, held, optimizer, recipe.learning_rate, loss_of, accelerator)
    if weights is None:
        return 130
    if accelerator.is_main_process:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
        save_vae(model, recipe.output / ADAPTER_FOLDER, recipe.output / VAE_FOLDER)
        write_run_card(recipe, replace(_CARD, base=recipe.base), {"photographs": len(pictures)}, _FREE)
        print(f"wrote {recipe.output / VAE_FOLDER}")
    return 0
