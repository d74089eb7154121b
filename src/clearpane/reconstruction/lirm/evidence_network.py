"""Interpret the evidence around each point with a small U-Net over the evidence grid.

The heads see one point at a time, and the planes hold what the transformer predicts for the whole object. The
surroundings of a voxel show best whether a voxel of the hull is empty after all: where the views agree, there
is a surface.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.evidence import EVIDENCE_CHANNELS, VOLUME_CHANNELS

_WIDTHS = (16, 48, 64)
_GROUPS = 4


class EvidenceNetwork(nn.Module):
    """Apply a U-Net with three resolutions, wide where the grid is coarse and layers are cheap.

    Args:
        side: Voxels along a side of the grid, a multiple of 4; the evidence is resampled to it.
        features: Channels of the views' agreement (`view_features.agreement`).
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
        """Map [B, 11, G, G, G], from `evidence_features`, and [B, F, S, S, S] to [B, 16, S, S, S]."""
        if evidence.shape[-1] > self.side:
            evidence = F.adaptive_avg_pool3d(evidence, self.side)
        elif evidence.shape[-1] < self.side:
            evidence = F.interpolate(evidence, (self.side,) * 3, mode="trilinear", align_corners=False)
        scaled = torch.cat([evidence[:, :1] / HALF_SIZE, evidence[:, 1:], features], dim=1)
        # Not in bfloat16: on CPUs the gradient of 3D convolutions is sometimes NaN in it.
        with torch.autocast(evidence.device.type, enabled=False):
            fine = self.fine(self.enter(scaled))
            middle = self.middle(fine)
            coarse = self.coarse(middle)
            middle = self.middle_again(middle + _doubled(self.coarse_to_middle(coarse)))
            fine = self.fine_again(fine + _doubled(self.middle_to_fine(middle)))
            result: Tensor = self.out(fine)
        return result


class _Residual(nn.Module):
    """Add a layer's output to its input."""

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
