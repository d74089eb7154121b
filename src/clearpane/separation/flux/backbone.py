"""FLUX.1 Kontext: encode pictures, decode latents, predict the transformer's velocity.

Flow matching (Lipman et al. 2023, eq. 22) interpolates between a picture's latents x and noise e: ``x_s = (1
- s) x + s e``, 0 <= s <= 1; the transformer predicts the velocity ``e - x``. Kontext (arXiv 2506.15742)
appends the latents of the picture to edit as further tokens, which differ in the first of their three
position numbers.
"""

import math
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor

from clearpane.separation.flux.task_embedding import TaskEmbedding

DEFAULT_GUIDANCE = 2.5
"""Value that FLUX.1 Kontext's authors recommend for its distilled guidance."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """Parts of a FluxKontextPipeline that process pictures; those for text are left out.

    Latents are [B, C, h, w], shifted and scaled to about unit variance. Pictures are larger by the VAE's
    factor. A token is a block of 2 x 2 latents.

    Attributes:
        transformer, vae, scheduler: Instances of the diffusers classes that FLUX.1 Kontext is stored as.
        device: Device of pictures and latents; offloaded parts move there while they work.
    """

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    scheduler: FlowMatchEulerDiscreteScheduler
    device: torch.device

    @property
    def multiple(self) -> int:
        """Side of a token in pixels; heights and widths of pictures must be multiples of it."""
        result: int = 2 * 2 ** (len(self.vae.config.block_out_channels) - 1)
        return result

    def shift(self, tokens: int) -> float:
        """Return the shift of sampling towards noise, ``exp(mu)``; mu is linear in ``tokens`` (FLUX.1)."""
        config = self.scheduler.config
        if not config.use_dynamic_shifting:
            return float(config.shift)
        slope = (config.max_shift - config.base_shift) / (
            config.max_image_seq_len - config.base_image_seq_len
        )
        return math.exp(config.base_shift + slope * (tokens - config.base_image_seq_len))

    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures as latents, the mean of the VAE's posterior.

        Args:
            pictures: [B, 3, H, W], sRGB in [0, 1], H and W multiples of ``multiple``.
        """
        posterior = self.vae.encode((2 * pictures - 1).to(self.device, self.vae.dtype)).latent_dist
        config = self.vae.config
        result: Tensor = (posterior.mode() - config.shift_factor) * config.scaling_factor
        return result

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to pictures [B, 3, H, W], sRGB, not clipped to [0, 1]."""
        config = self.vae.config
        unscaled = latents.to(self.vae.dtype) / config.scaling_factor + config.shift_factor
        result: Tensor = (self.vae.decode(unscaled).sample + 1) / 2
        return result

    def velocity(
        self, noisy: Tensor, reference: Tensor, sigma: Tensor, task: TaskEmbedding, guidance: float
    ) -> Tensor:
        """Predict the velocity ``e - x``, as latents.

        Args:
            noisy: [B, C, h, w], latents x_s.
            reference: [B, C, h', w'], latents of the picture to edit.
            sigma: [B], s in [0, 1].
            task: Task embedding.
            guidance: Scale of FLUX's distilled guidance; ignored by models without it.
        """
        count = len(noisy)
        task = task.expand(count)
        own = pack(noisy)
        tokens = torch.cat([own, pack(reference)], dim=1)
        positions = torch.cat([_positions(noisy, 0), _positions(reference, 1)])
        scale = torch.full((count,), guidance, device=noisy.device, dtype=torch.float32)
        predicted = self.transformer(
            hidden_states=tokens,
            timestep=sigma.to(noisy.dtype),
            guidance=scale if self.transformer.config.guidance_embeds else None,
            pooled_projections=task.pooled_prompt_embeds,
            encoder_hidden_states=task.prompt_embeds,
            txt_ids=positions.new_zeros(task.prompt_embeds.shape[1], 3),
            img_ids=positions,
            return_dict=False,
        )[0]
        return unpack(predicted[:, : own.shape[1]], *noisy.shape[-2:])


def pack(latents: Tensor) -> Tensor:
    """Pack blocks of 2 x 2 latents into tokens: [B, C, h, w] -> [B, h w / 4, 4 C], channels outermost."""
    batch, channels, height, width = latents.shape
    blocks = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, height * width // 4, 4 * channels)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo `pack`: return latents of ``height`` x ``width``."""
    batch, _, channels = tokens.shape
    blocks = tokens.reshape(batch, height // 2, width // 2, channels // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, height, width)


def _positions(latents: Tensor, first: int) -> Tensor:
    """Return the positions of tokens, [tokens, 3] float32: ``first``, row, column. bfloat16 ends at 256."""
    height, width = latents.shape[-2] // 2, latents.shape[-1] // 2
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack([torch.full_like(rows, first), rows, columns], dim=-1)
    return positions.reshape(-1, 3).to(latents.device, torch.float32)
