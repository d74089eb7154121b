"""Where training computes in bfloat16."""

from collections.abc import Mapping
from typing import Any

import torch

# What processors call arithmetic in bfloat16 (x86: Zen 4, Cooper Lake and Sapphire Rapids on).
_NATIVE = ("avx512_bf16", "amx_bf16", "bf16")


def has_bfloat16(device_type: str) -> bool:
    """Whether a kind of device computes in bfloat16 by itself; of processors many do not.

    One that does not takes up to a hundred times as long for a convolution in bfloat16 as in float32.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return True
    # PyTorch releases that do not say what a processor can do are answered with float32: right, if slower.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in _NATIVE)


def mixed_precision(device_type: str, wanted: bool = True, cache_enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16 for weights held in float32, where the device computes in it; else none.

    Args:
        wanted: whether to at all.
        cache_enabled: keep the weights' copies in bfloat16 until the end of the block.
    """
    enabled = wanted and has_bfloat16(device_type)
    return torch.autocast(device_type, torch.bfloat16, enabled=enabled, cache_enabled=cache_enabled)
