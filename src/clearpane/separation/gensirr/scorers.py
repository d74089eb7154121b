"""Scores for the candidates of the early branching."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from clearpane.errors import ClearpaneError
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.separation.gensirr.branching import Scorer
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.separator import Separator

DEPTH_MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
"""Depth estimator of GenSIRR, by its name on the model hub."""

# Model types that predict 1 / depth up to a scale and an offset, and those that predict metres.
_INVERSE = {"dpt", "depth_anything", "prompt_depth_anything", "depth_pro"}
_METRES = {"glpn", "zoedepth"}
# Smallest side in pixels; smaller pictures are enlarged, since some estimators fail below 32.
_SMALLEST = 64


class DepthEstimator:
    """Depth estimator of the transformers library.

    Args:
        name: Directory, or a name on the model hub.
        device: Device to run on.

    Raises:
        ClearpaneError: There is no such model, or it does not predict depth.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        here = Path(name).is_dir()
        try:
            self._processor = AutoImageProcessor.from_pretrained(name, local_files_only=here)
            self._model = AutoModelForDepthEstimation.from_pretrained(
                name, local_files_only=here, use_safetensors=True
            )
        except Exception as error:  # of the hub, the network or a library: no common base class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ClearpaneError(f"{name}: cannot be loaded as a depth estimator ({reason})") from error
        self._model.to(device).eval()
        config = self._model.config
        if config.model_type not in _INVERSE | _METRES:
            raise ClearpaneError(
                f"{name}: it is unknown whether {config.model_type} predicts depth or its inverse; use one "
                f"of {', '.join(sorted(_INVERSE | _METRES))}"
            )
        metric = getattr(config, "depth_estimation_type", "relative") == "metric"
        # DPT with DINOv2 was trained on NYU and KITTI, in metres.
        backbone = getattr(config, "backbone_config", None)
        metric |= config.model_type == "dpt" and getattr(backbone, "model_type", None) == "dinov2"
        self._inverse = config.model_type in _INVERSE and not metric

    @torch.no_grad()
    def mean_nearness(self, pictures: Tensor) -> Tensor:
        """Return the mean nearness of each picture's scene: [k, 3, H, W], sRGB in [0, 1] -> [k].

        Estimators in metres give the mean of ``-depth``; the others the mean of their prediction, ``1 /
        depth`` up to a scale and an offset. Compare only pictures of the same photograph.
        """
        scale = _SMALLEST / min(pictures.shape[-2:])
        if scale > 1:
            pictures = F.interpolate(pictures.float(), scale_factor=scale, mode="bilinear").clamp(0, 1)
        arrays = [x.permute(1, 2, 0).cpu().numpy() for x in (255 * pictures).round().to(torch.uint8)]
        given = self._processor(images=arrays, return_tensors="pt").to(self._model.device)
        depth = self._model(**given).predicted_depth.float().mean(dim=(1, 2)).cpu()
        result: Tensor = depth if self._inverse else -depth
        return result


def edge_energy(pictures: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels: [k, 3, H, W] -> [k]."""
    across, down = (pictures.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (-1, -2))
    return (across + down).cpu()


def standardised(values: Tensor) -> Tensor:
    """Return ``(x - mean) / deviation`` over the candidates; 0 if all are equal."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)


def score_by_depth(estimator: DepthEstimator) -> Scorer:
    """Prefer the deepest candidate (GenSIRR): mirrored scenes are mostly nearer than the background."""
    return lambda pictures: -estimator.mean_nearness(pictures)


def score_by_depth_and_edges(estimator: DepthEstimator) -> Scorer:
    """Prefer the deepest with the fewest edges: the sum of both, standardised over the candidates."""
    return lambda pictures: (
        standardised(-estimator.mean_nearness(pictures)) + standardised(-edge_energy(pictures))
    )


def score_by_residual(separator: Separator) -> Scorer:
    """Prefer the candidate in which a separator finds the least reflection: the mean of ``-|T(x) - x|``."""

    def score(pictures: Tensor) -> Tensor:
        # Separators need pictures of at least 16 x 16 pixels.
        arrays = [np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy()) for x in pictures]
        return torch.tensor([-float(np.abs(separator.separate(x).transmission - x).mean()) for x in arrays])

    return score


def choose_scorer(options: GensirrOptions, device: torch.device) -> Scorer:
    """Make the scorer named by the options.

    Raises:
        ClearpaneError: The depth estimator cannot be loaded.
    """
    if options.branching == "residual":
        return score_by_residual(CompactSeparator())
    estimator = DepthEstimator(options.depth_model or DEPTH_MODEL, device)
    if options.branching == "depth":
        return score_by_depth(estimator)
    return score_by_depth_and_edges(estimator)
