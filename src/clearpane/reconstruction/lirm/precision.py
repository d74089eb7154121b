"""Raise values to single precision where half precision is not enough."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half precision to float32; keep float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
