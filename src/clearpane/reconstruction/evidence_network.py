"""What the evidence around a point says of it: a small U-Net over the evidence grid.

The heads see one point at a time, and the planes hold what the transformer thinks of the whole. Whether a
voxel of the hull is empty after all is best seen from the colours around it: where the views agree there is a
surface, as in networks for multi-view stereo (Y. Yao et al., MVSNet, 2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.reconstruction.cameras import HALF_SIZE
from clearpane.reconstruction.evidence import EVIDENCE_CHANNELS

VOLUME_CHANNELS = 16
"""Of what it makes."""
_WIDTHS = (16, 32, 64)
_GROUPS = 4


class EvidenceNetwork(nn.Module):
    """Three resolutions down and up again, two convolutions at each on the way down, one on the way up.

    Args:
        side: voxels along a side of its grid, a multiple of 4; the evidence is brought to it.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        fine, middle, coarse = _WIDTHS
        self.fine = _convolutions(EVIDENCE_CHANNELS, fine, 1)
        self.middle = _convolutions(fine, middle, 2)
        self.coarse = _convolutions(middle, coarse, 2)
        self.to_middle = _convolution(coarse + middle, middle)
        self.to_fine = _convolution(middle + fine, fine)
        self.out = nn.Conv3d(fine, VOLUME_CHANNELS, 1)

    def forward(self, evidence: Tensor) -> Tensor:
        """[B, 8, G, G, G], as `evidence_features` gives it -> [B, 16, S, S, S]."""
        if evidence.shape[-1] > self.side:
            evidence = F.adaptive_avg_pool3d(evidence, self.side)
        elif evidence.shape[-1] < self.side:
            evidence = F.interpolate(evidence, (self.side,) * 3, mode="trilinear", align_corners=False)
        scaled = torch.cat([evidence[:, :1] / HALF_SIZE, evidence[:, 1:]], dim=1)
        # Not in bfloat16: on processors the gradient of three-dimensional convolutions is NaN there at times.
        with torch.autocast(evidence.device.type, enabled=False):
            fine = self.fine(scaled)
            middle = self.middle(fine)
            coarse = self.coarse(middle)
            middle = self.to_middle(torch.cat([_doubled(coarse), middle], dim=1))
            fine = self.to_fine(torch.cat([_doubled(middle), fine], dim=1))
            result: Tensor = self.out(fine)
        return result


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1), nn.GroupNorm(_GROUPS, outputs), nn.ReLU(inplace=True)
    )


def _convolutions(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, outputs, stride), _convolution(outputs, outputs))


def _doubled(volume: Tensor) -> Tensor:
    return F.interpolate(volume, scale_factor=2.0, mode="nearest")
