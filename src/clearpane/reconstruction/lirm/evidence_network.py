"""What the evidence around a point says of it: a small U-Net over the evidence grid.

The heads see one point at a time, and the planes hold what the transformer thinks of the whole. Whether a
voxel of the hull is empty after all is best seen from what the views say around it: where they agree there is
a surface.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.evidence import EVIDENCE_CHANNELS, VOLUME_CHANNELS

_WIDTHS = (16, 48, 64)
_GROUPS = 4


class EvidenceNetwork(nn.Module):
    """Three resolutions down and up again; wide where it is coarse and layers cost little.

    Args:
        side: voxels along a side of its grid, a multiple of 4; the evidence is brought to it.
        features: channels of what the views' features say (`view_features.agreement`).
    """

    def __init__(self, side: int, features: int) -> None:
        super().__init__()
        self.side = side
        fine, middle, coarse = _WIDTHS
        self.enter = nn.Conv3d(EVIDENCE_CHANNELS + features, fine, 1)
        self.fine = _convolution(fine, fine)
        self.middle = nn.Sequential(_convolution(fine, middle, 2), _convolution(middle, middle))
        self.coarse = nn.Sequential(
            _convolution(middle, coarse, 2), *(_Residual(_convolution(coarse, coarse)) for _ in range(2))
        )
        self.coarse_to_middle = nn.Conv3d(coarse, middle, 1)
        self.middle_again = _convolution(middle, middle)
        self.middle_to_fine = nn.Conv3d(middle, fine, 1)
        self.fine_again = _convolution(fine, fine)
        self.out = nn.Conv3d(fine, VOLUME_CHANNELS, 1)

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """[B, 11, G, G, G], as `evidence_features` gives it, and [B, F, S, S, S] -> [B, 16, S, S, S]."""
        if evidence.shape[-1] > self.side:
            evidence = F.adaptive_avg_pool3d(evidence, self.side)
        elif evidence.shape[-1] < self.side:
            evidence = F.interpolate(evidence, (self.side,) * 3, mode="trilinear", align_corners=False)
        scaled = torch.cat([evidence[:, :1] / HALF_SIZE, evidence[:, 1:], features], dim=1)
        # Not in bfloat16: on processors the gradient of three-dimensional convolutions is NaN there at times.
        with torch.autocast(evidence.device.type, enabled=False):
            fine = self.fine(self.enter(scaled))
            middle = self.middle(fine)
            coarse = self.coarse(middle)
            middle = self.middle_again(middle + _doubled(self.coarse_to_middle(coarse)))
            fine = self.fine_again(fine + _doubled(self.middle_to_fine(middle)))
            result: Tensor = self.out(fine)
        return result


class _Residual(nn.Module):
    """What a layer says is added to what it is told."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = values + self.layer(values)
        return result


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1), nn.GroupNorm(_GROUPS, outputs), nn.ReLU(inplace=True)
    )


def _doubled(volume: Tensor) -> Tensor:
    return F.interpolate(volume, scale_factor=2.0, mode="nearest")
