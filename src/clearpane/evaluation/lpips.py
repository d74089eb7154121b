"""Compute LPIPS (Zhang et al. 2018) with weights that the user provides."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError

if TYPE_CHECKING:
    import torch

# A convolution is (index in torchvision's ``features``, stride, padding); "tap" marks a compared layer.
_ALEX = (
    (0, 4, 2),
    "tap",
    "pool",
    (3, 1, 2),
    "tap",
    "pool",
    (6, 1, 1),
    "tap",
    (8, 1, 1),
    "tap",
    (10, 1, 1),
    "tap",
)
_VGG_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_POOL = {"alex": (3, 2), "vgg": (2, 2)}


class Lpips:
    """Compute the learned perceptual distance, version 0.1, AlexNet or VGG-16: 0 for equal pictures.

    d = sum over layers l of the mean over pixels of w_l . (f_l(x) / |f_l(x)| - f_l(t) / |f_l(t)|)^2

    Args:
        weights: Safetensors file with the network's convolutions and the linear heads ``lin0.model.1.weight``
            to ``lin4.model.1.weight``. The convolutions are named as in torchvision (``features.0.weight``)
            or as in the lpips package (``net.slice1.0.weight``), whose state dictionary can be saved
            unchanged. The shapes determine the network.

    Raises:
        MissingExtraError: PyTorch is not installed.
        ClearpaneError: The file is not a safetensors file or lacks a tensor.
    """

    def __init__(self, weights: Path) -> None:
        try:
            import torch
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise MissingExtraError("LPIPS", "train") from error
        try:
            tensors = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise ClearpaneError(
                f"{weights}: not a readable safetensors file ({error}); convert the weights"
            ) from error
        self._tensors = {_torchvision_name(k): v.float() for k, v in tensors.items()}
        self._path = weights
        shape = tuple(self._tensor("features.0.weight").shape)
        if shape not in {(64, 3, 11, 11), (64, 3, 3, 3)}:
            raise ClearpaneError(f"{weights}: neither AlexNet nor VGG-16 (first convolution {shape})")
        self.network = "alex" if shape[2] == 11 else "vgg"
        self._shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        self._scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        self._steps = _ALEX if self.network == "alex" else _vgg_steps()
        for step in self._steps:
            if isinstance(step, tuple):
                self._tensor(f"features.{step[0]}.weight")
                self._tensor(f"features.{step[0]}.bias")
        self._heads = [self._tensor(f"lin{i}.model.1.weight") for i in range(5)]

    def __call__(self, result: np.ndarray, truth: np.ndarray) -> float:
        """Return the distance of two pictures [H, W, 3], uint8 or sRGB in [0, 1].

        Raises:
            ClearpaneError: The pictures are smaller than 64 x 64 pixels.
        """
        import torch

        with torch.inference_mode():
            return float(self.distances(*as_pictures(result, truth)))

    def distances(self, result: "torch.Tensor", truth: "torch.Tensor") -> "torch.Tensor":
        """Return the distances [B] of pictures [B, 3, H, W], sRGB in [0, 1]; gradients flow through them.

        Raises:
            ClearpaneError: The pictures are smaller than 64 x 64 pixels.
        """
        import torch

        height, width = truth.shape[-2:]
        if min(height, width) < 64:
            raise ClearpaneError(f"LPIPS needs at least 64 x 64 pixels, got {width} x {height}")
        total = torch.zeros(len(truth), device=truth.device)
        for x, t, head in zip(self._features(result), self._features(truth), self._heads, strict=True):
            difference = (unit_length(x) - unit_length(t)) ** 2
            weighted = torch.nn.functional.conv2d(difference, head.to(difference))
            total = total + weighted.mean(dim=(1, 2, 3))
        return total

    def _features(self, pictures: "torch.Tensor") -> "list[torch.Tensor]":
        from torch.nn import functional as F

        x = (2.0 * pictures - 1.0 - self._shift.to(pictures)) / self._scale.to(pictures)
        taps = []
        for step in self._steps:
            if step == "tap":
                taps.append(x)
            elif step == "pool":
                x = F.max_pool2d(x, *_POOL[self.network])
            elif isinstance(step, tuple):
                index, stride, padding = step
                weight, bias = (self._tensor(f"features.{index}.{kind}").to(x) for kind in ("weight", "bias"))
                x = F.relu(F.conv2d(x, weight, bias, stride, padding))
        return taps

    def _tensor(self, name: str) -> "torch.Tensor":
        if name not in self._tensors:
            raise ClearpaneError(
                f"{self._path}: no tensor {name}; LPIPS needs the network and its linear heads"
            )
        return self._tensors[name]


def as_pictures(*images: np.ndarray) -> "list[torch.Tensor]":
    """Convert pictures [H, W, 3], uint8 or in [0, 1], to [1, 3, H, W] float32 in [0, 1]."""
    import torch

    floats = [x.astype(np.float32) / (255.0 if x.dtype == np.uint8 else 1.0) for x in images]
    return [torch.from_numpy(x).permute(2, 0, 1)[None] for x in floats]


def _vgg_steps() -> "tuple[str | tuple[int, int, int], ...]":
    steps: list[str | tuple[int, int, int]] = []
    for stage in _VGG_STAGES:
        steps += ["pool"] if steps else []
        steps += [(index, 1, 1) for index in stage]
        steps.append("tap")
    return tuple(steps)


def _torchvision_name(name: str) -> str:
    """Rename ``net.slice2.3.weight`` to ``features.3.weight``, ``lins.0.model...`` to ``lin0.model...``."""
    parts = name.split(".")
    if parts[0] == "net" and len(parts) == 4:
        return f"features.{parts[2]}.{parts[3]}"
    if parts[0] == "lins":
        return f"lin{parts[1]}." + ".".join(parts[2:])
    return name


def unit_length(features: "torch.Tensor") -> "torch.Tensor":
    """Scale the channels of each pixel to length 1: [B, C, H, W]."""
    return features / ((features**2).sum(dim=1, keepdim=True).sqrt() + 1e-10)
