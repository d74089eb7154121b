"""Do on a CPU what training in 4 bits on an NVIDIA GPU does: quantised layers, and CUDA's autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.nn import functional as F

from clearpane.separation.flux.quantisation import quantise_on_cpu


@contextmanager
def layer_norm_in_float32() -> Iterator[None]:
    """Normalise in float32 and return that, as autocast does on CUDA; on a CPU it keeps bfloat16."""
    original = F.layer_norm

    def layer_norm(*values: Any, **named: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return original(*map(_float32, values), **{key: _float32(x) for key, x in named.items()})

    with patch.object(F, "layer_norm", layer_norm):
        yield


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def quantise(transformer: FluxTransformer2DModel) -> None:
    """Freeze all linear layers in 4 bits (nf4), as `load_backbone` gets them on a GPU."""
    quantise_on_cpu(transformer)
    transformer.requires_grad_(False)
