"""What makes one candidate of the early branching better than another."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from clearpane.errors import ClearpaneError
from clearpane.separation.base import Separator
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.separation.gensirr.branching import Scorer
from clearpane.separation.gensirr.options import GensirrOptions

DEPTH_MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
"""What GenSIRR asks for depth, on the model hub."""

# Estimators of transformers that give 1 / depth but for a scale and an offset, and those that give metres.
_INVERSE = {"dpt", "depth_anything", "prompt_depth_anything", "depth_pro"}
_METRES = {"glpn", "zoedepth"}
# Side in pixels below which pictures are enlarged for them: some make nothing of less than 32.
_SMALLEST = 64


class DepthEstimator:
    """Any depth estimator of the transformers library.

    Args:
        name: its directory, or a name on the model hub.
        device: where it works.

    Raises:
        ClearpaneError: there is no such model, or it is none of depth.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        here = Path(name).is_dir()
        try:
            self._processor = AutoImageProcessor.from_pretrained(name, local_files_only=here)
            self._model = AutoModelForDepthEstimation.from_pretrained(
                name, local_files_only=here, use_safetensors=True
            )
        except Exception as error:  # of the hub, the network, safetensors, transformers: no common base class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ClearpaneError(f"{name}: cannot be had as a depth estimator ({reason})") from error
        self._model.to(device).eval()
        config = self._model.config
        if config.model_type not in _INVERSE | _METRES:
            raise ClearpaneError(
                f"{name}: whether {config.model_type} gives depth or its inverse is not known here; take one "
                f"of {', '.join(sorted(_INVERSE | _METRES))}"
            )
        metric = getattr(config, "depth_estimation_type", "relative") == "metric"
        # DPT's heads on DINOv2 were trained on NYU and KITTI, in metres.
        backbone = getattr(config, "backbone_config", None)
        metric |= config.model_type == "dpt" and getattr(backbone, "model_type", None) == "dinov2"
        self._inverse = config.model_type in _INVERSE and not metric

    @torch.no_grad()
    def mean_nearness(self, pictures: Tensor) -> Tensor:
        """How near the pictures' scenes are, each one's mean: k x 3 x H x W, sRGB in [0, 1] -> [k].

        Estimators of metres give the mean of ``-depth``, the others that of what they give, ``1 / depth`` but
        for a scale and an offset. Only pictures of the same photograph are to be compared.
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
    """Mean absolute difference of neighbouring pixels: k x 3 x H x W -> [k]. Two scenes have more."""
    across, down = (pictures.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (-1, -2))
    return (across + down).cpu()


def standardised(values: Tensor) -> Tensor:
    """``(x - mean) / deviation`` of the candidates' values; 0 where they are all the same."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)


def score_by_depth(estimator: DepthEstimator) -> Scorer:
    """Prefer the deepest candidate (GenSIRR): what a pane mirrors is mostly nearer than the background."""
    return lambda pictures: -estimator.mean_nearness(pictures)


def score_by_depth_and_edges(estimator: DepthEstimator) -> Scorer:
    """Prefer the deepest with the fewest edges: the sum of both, each standardised over the candidates."""
    return lambda pictures: (
        standardised(-estimator.mean_nearness(pictures)) + standardised(-edge_energy(pictures))
    )


def score_by_residual(separator: Separator) -> Scorer:
    """Prefer the candidate in which a separator finds the least reflection: the mean of ``-|T(x) - x|``."""

    def score(pictures: Tensor) -> Tensor:
        # Separators take pictures of 16 x 16 pixels and more.
        arrays = [np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy()) for x in pictures]
        return torch.tensor([-float(np.abs(separator.separate(x).transmission - x).mean()) for x in arrays])

    return score


def choose_scorer(options: GensirrOptions, device: torch.device) -> Scorer:
    """Make the scorer that the options name.

    Raises:
        ClearpaneError: it needs a depth estimator, which cannot be had.
    """
    if options.branching == "residual":
        return score_by_residual(CompactSeparator())
    estimator = DepthEstimator(options.depth_model or DEPTH_MODEL, device)
    if options.branching == "depth":
        return score_by_depth(estimator)
    return score_by_depth_and_edges(estimator)
