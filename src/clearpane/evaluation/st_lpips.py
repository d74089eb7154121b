"""Compute ST-LPIPS, a perceptual distance that tolerates small shifts (Ghildyal and Liu, ECCV 2022).

It is not LPIPS: AlexNet without strides in its convolutions, low-pass filters before each subsampling, and
its own weights (arXiv 2207.13686). Figures of the two must not be compared.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.evaluation.lpips import as_pictures, unit_length

if TYPE_CHECKING:
    import torch

PACKAGE = "stlpips_pytorch"
_WEIGHTS = Path("weights") / "vST0.0" / "alex_shift_tolerant.pth"
# A convolution is (its name in the file, padding); "blur" halves the resolution, "tap" marks a compared one.
_STEPS = (
    ("net.slice1.0", 2),
    *("blur", "relu", "tap", "pool", "blur"),
    ("net.slice2.5", 2),
    *("relu", "tap", "pool", "blur"),
    ("net.slice3.9", 1),
    *("relu", "tap"),
    ("net.slice4.11", 1),
    *("relu", "tap"),
    ("net.slice5.13", 1),
    *("relu", "tap"),
)
# Convolutions of AlexNet: name in the file, output channels, side of the kernel.
_LAYERS = (
    ("net.slice1.0", 64, 11),
    ("net.slice2.5", 192, 5),
    ("net.slice3.9", 384, 3),
    ("net.slice4.11", 256, 3),
    ("net.slice5.13", 256, 3),
)
_SMALLEST = 64


def find_weights() -> Path:
    """Return the file of the network of the package stlpips-pytorch, of which nothing is imported or run.

    Raises:
        ClearpaneError: The package is not installed, or lacks the file.
    """
    found = find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / _WEIGHTS).is_file():
            return path
    raise ClearpaneError(
        "ST-LPIPS needs the network in the package stlpips-pytorch: pip install stlpips-pytorch"
    )


def _shapes() -> dict[str, list[int]]:
    """Return the shape of each tensor of the network and its heads."""
    shapes, channels = {}, 3
    for head, (name, outputs, side) in enumerate(_LAYERS):
        shapes[f"{name}.weight"] = [outputs, channels, side, side]
        shapes[f"{name}.bias"] = [outputs]
        shapes[f"lin{head}.model.1.weight"] = [1, outputs, 1, 1]
        channels = outputs
    return shapes


class StLpips:
    """Compute the shift-tolerant perceptual distance, version ST0.0 of AlexNet: 0 for equal pictures.

    d = sum over layers l of the mean over pixels of w_l . (f_l(x) / |f_l(x)| - f_l(t) / |f_l(t)|)^2

    Args:
        weights: State dictionary of the network and its linear heads, as the package stlpips-pytorch holds
            it; None for that package's own.

    Raises:
        MissingExtraError: PyTorch is not installed.
        ClearpaneError: The weights are missing, damaged or of another network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("ST-LPIPS", "train") from error
        path = weights or find_weights()
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler raises almost anything on a damaged file
            raise ClearpaneError(
                f"{path}: damaged, not the weights of ST-LPIPS; install them again"
            ) from error
        wanted = _shapes()
        missing = [name for name in wanted if not isinstance(tensors, dict) or name not in tensors]
        if missing:
            raise ClearpaneError(f"{path}: no tensor {missing[0]}; these are not the weights of ST-LPIPS")
        for name, shape in wanted.items():
            found = list(getattr(tensors[name], "shape", ()))
            if found != shape:
                raise ClearpaneError(
                    f"{path}: {name} is {found}, not {shape}; these are not the weights of ST-LPIPS"
                )
        self._tensors = {name: tensors[name].float() for name in wanted}
        self._heads = [self._tensors[f"lin{i}.model.1.weight"] for i in range(len(_LAYERS))]
        self._shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        self._scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        self._filter = binomial[:, None] * binomial

    def __call__(self, result: np.ndarray, truth: np.ndarray) -> float:
        """Return the distance of two pictures [H, W, 3], uint8 or sRGB in [0, 1].

        Raises:
            ClearpaneError: The pictures are smaller than 64 x 64 pixels.
        """
        import torch

        height, width = truth.shape[:2]
        if min(height, width) < _SMALLEST:
            raise ClearpaneError(f"ST-LPIPS needs at least 64 x 64 pixels, got {width} x {height}")
        with torch.inference_mode():
            both = as_pictures(result, truth)
            total = 0.0
            for x, t, head in zip(*(self._features(x) for x in both), self._heads, strict=True):
                difference = (unit_length(x) - unit_length(t)) ** 2
                total += float(torch.nn.functional.conv2d(difference, head).mean())
        return total

    def _features(self, picture: "torch.Tensor") -> "list[torch.Tensor]":
        from torch.nn import functional as F

        x = (2.0 * picture - 1.0 - self._shift) / self._scale
        taps = []
        for step in _STEPS:
            if isinstance(step, tuple):
                name, padding = step
                x = F.conv2d(
                    x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], padding=padding
                )
            elif step == "blur":
                channels = x.shape[1]
                kernel = self._filter.expand(channels, 1, 3, 3)
                x = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=channels)
            elif step == "pool":
                x = F.max_pool2d(x, 3, 1)
            elif step == "relu":
                x = F.relu(x)
            else:
                taps.append(x)
        return taps
