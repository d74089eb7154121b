"""Network of the embedded separator: a U-Net on space-to-depth pixels that predicts both layers.

The pixels are folded 2 x 2 into channels, so that all work happens at half resolution and below. The two
upper levels are plain residual convolutions (fastest with few channels), the lower ones NAFNet's gated blocks
(Chen et al., "Simple Baselines for Image Restoration", ECCV 2022). Their channel attention averages over the
whole picture, since exposure and haze are global. The encoder also receives ImageNet features, which
represent what the picture shows.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.separation.compact.features import CHANNELS, ImageNetFeatures


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network.

    Attributes:
        widths: Channels of each level, from half resolution down; each level halves the resolution.
        encoder_blocks: Blocks of each level of the encoder; the last entry is the lowest level.
        decoder_blocks: Blocks of each level of the decoder, without the lowest level.
        gated_from: First level (from 0) built of gated blocks; those above are residual convolutions.
        features: True to add ImageNet features to all levels but the first; this needs five levels.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    encoder_blocks: tuple[int, ...] = (0, 1, 2, 3, 2)
    decoder_blocks: tuple[int, ...] = (1, 1, 1, 2)
    gated_from: int = 2
    features: bool = True

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks) + 1:
            raise ValueError("encoder_blocks needs one entry a level, decoder_blocks one fewer")
        if self.features and len(self.widths) != len(CHANNELS) + 1:
            raise ValueError(f"features need {len(CHANNELS) + 1} levels, these are {len(self.widths)}")

    @property
    def multiple(self) -> int:
        """Number that the input's height and width must be multiples of."""
        result: int = 2 ** len(self.widths)
        return result


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each pixel: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W] over the channels at each pixel."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, 1e-5)
        return y.permute(0, 3, 1, 2)


def gate(x: Tensor) -> Tensor:
    """Return the product of the two halves of the channels."""
    a, b = x.chunk(2, dim=1)
    return a * b


class GatedBlock(nn.Module):
    """NAFNet's block: a spatial and a pointwise part, each a gated residual with a learnt scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.expand1 = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)
        self.project1 = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelNorm(channels)
        self.expand2 = nn.Conv2d(channels, 2 * channels, 1)
        self.project2 = nn.Conv2d(channels, channels, 1)
        self.scale1 = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))
        self.scale2 = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        y = gate(self.depthwise(self.expand1(self.norm1(x))))
        y = y * self.attention(y.mean(dim=(2, 3), keepdim=True))
        x = x + self.project1(y) * self.scale1
        y = self.project2(gate(self.expand2(self.norm2(x))))
        result: Tensor = x + y * self.scale2
        return result


def silenced(convolution: nn.Conv2d) -> nn.Conv2d:
    """Set a convolution to return zero, so that the sum it is part of starts as the identity."""
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a ReLU, added to the input; the identity at the start of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = silenced(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        result: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return result


class CompactNetwork(nn.Module):
    """Network that maps a photograph to (transmission, reflection).

    At the start of training the transmission is the input and the reflection is black.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        widths = config.widths

        def level(index: int, count: int) -> nn.Sequential:
            block = GatedBlock if index >= config.gated_from else ResidualBlock
            return nn.Sequential(*(block(widths[index]) for _ in range(count)))

        pairs = list(pairwise(widths))
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(level(i, n) for i, n in enumerate(config.encoder_blocks))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(level(i, n) for i, n in enumerate(config.decoder_blocks))
        self.head = silenced(nn.Conv2d(widths[0], 24, 3, padding=1))
        if config.features:
            self.features = ImageNetFeatures()
            self.inject = nn.ModuleList(
                silenced(nn.Conv2d(channels, width, 1))
                for channels, width in zip(CHANNELS, widths[1:], strict=True)
            )

    def forward(
        self,
        image: Tensor,  # [B, 3, H, W], sRGB in [0, 1]; H and W multiples of config.multiple
    ) -> tuple[Tensor, Tensor]:  # transmission, reflection: [B, 3, H, W], sRGB, not clipped
        """Separate photographs into both layers."""
        features = self.features(image) if self.config.features else []
        x = self.stem(F.pixel_unshuffle(image - 0.5, 2))
        skips = []
        for index, down in enumerate(self.down):
            x = self.encoder[index](x)
            skips.append(x)
            x = down(x)
            if features:
                x = x + self.inject[index](features[index])
        x = self.encoder[-1](x)
        for index in reversed(range(len(self.up))):
            x = F.pixel_shuffle(self.up[index](x), 2) + skips[index]
            x = self.decoder[index](x)
        change, reflection = F.pixel_shuffle(self.head(x), 2).float().chunk(2, dim=1)
        return image + change, reflection
