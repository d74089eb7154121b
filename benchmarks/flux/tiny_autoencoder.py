"""Open a pretrained tiny autoencoder of FLUX.2's latents: RGB in [0, 1] to 32 channels at 1/8, and back.

The weights are those of TAESD's family (madebyollin, MIT): safetensors whose keys number the layers in order.
"""

from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

_WIDTH, _LATENTS = 64, 32


class Block(nn.Module):
    """Add three convolutions to the input; some blocks first add what they see of the whole picture."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        wide = 4 * _WIDTH
        self.pool = (
            nn.Sequential(
                nn.Conv2d(_WIDTH, wide, 1, bias=False),
                nn.GroupNorm(4, wide),
                nn.ReLU(),
                nn.Conv2d(wide, _WIDTH, 1, bias=False),
            )
            if whole
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


class _SoftClip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def encoder() -> nn.Sequential:
    """Make the encoder, untrained: [B, 3, H, W] in [0, 1] -> [B, 32, H / 8, W / 8]."""
    layers: list[nn.Module] = [nn.Conv2d(3, _WIDTH, 3, padding=1), Block(whole=False)]
    for level in range(3):
        layers.append(nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, bias=False))
        layers += [Block(whole=level == 2) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(_WIDTH, _LATENTS, 3, padding=1))


def decoder() -> nn.Sequential:
    """Make the decoder, untrained, the inverse of `encoder`."""
    layers: list[nn.Module] = [_SoftClip(), nn.Conv2d(_LATENTS, _WIDTH, 3, padding=1), nn.ReLU()]
    for level in range(3):
        layers += [Block(whole=level == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Block(whole=False), nn.Conv2d(_WIDTH, 3, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """Encode and decode as diffusers' VAEs do, so that their losses and scores apply.

    Pictures are [B, 3, H, W] in [-1, 1]; the sides are multiples of 8. Latents are not random.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()
        # What `Backbone` reads; three levels halve the resolution.
        self.config = SimpleNamespace(
            block_out_channels=(_WIDTH,) * 4, latent_channels=_LATENTS, shift_factor=0.0, scaling_factor=1.0
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """Return the latents, as the mode of a distribution."""
        latents = self.encoder((pictures + 1) / 2)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """Return the pictures."""
        return SimpleNamespace(sample=2 * self.decoder(latents) - 1)


def load_tiny_autoencoder(folder: Path) -> TinyAutoencoder:
    """Load ``taef2_encoder.safetensors`` and ``taef2_decoder.safetensors`` in float32."""
    vae = TinyAutoencoder()
    for name, part in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        weights = load_file(folder / f"taef2_{name}.safetensors")
        part.load_state_dict({key: value.float() for key, value in weights.items()})
    return vae.eval()
