"""Choose the number format of training: bfloat16 if it is measured to be faster, else float32."""

import math
import time
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

# Factor by which bfloat16 must win: near a tie, float32 is exact, and other processes decide the same.
_WORTH_IT = 1.15
# Number of rounds, of which the fastest counts: other programs slow down some.
_ROUNDS = 8
# Factor that settles the question after two rounds: the slower format may be very slow.
_CLEAR = 4.0

_chosen: bool | None = None


def convolution_seconds(bfloat16: bool) -> float:
    """Time one small convolution, forward and backward, on the processor."""
    convolution = nn.Conv2d(64, 64, 3, padding=1)
    picture = torch.ones(2, 64, 48, 48)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        result = convolution(picture)
    F.mse_loss(result.float(), picture).backward()
    return time.perf_counter() - start


@cache
def bfloat16_speed() -> float:
    """Return the speed of bfloat16 as a multiple of float32's on this processor, measured once a process.

    The CPU's list of features is not conclusive: some that list ``avx512_bf16`` take 20 times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads would wait for each other beside other programs
    try:
        # The gradients are discarded, but must be computed even if the caller disables them.
        with torch.enable_grad():
            float32 = bfloat16 = math.inf
            for number in range(_ROUNDS):
                float32 = min(float32, convolution_seconds(False))
                bfloat16 = min(bfloat16, convolution_seconds(True))
                if number and not 1 / _CLEAR < float32 / bfloat16 < _CLEAR:
                    break
    finally:
        torch.set_num_threads(threads)
    return float32 / bfloat16


def has_bfloat16(device_type: str) -> bool:
    """Return True if training on a type of device ("cpu", "cuda", "mps") computes in bfloat16."""
    if _chosen is not None:
        return _chosen
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu":
        return True
    return bfloat16_speed() >= _WORTH_IT


def keep_bfloat16(chosen: bool | None) -> None:
    """Keep the precision of a run's checkpoint, whatever this process measures.

    A resumed run must compute in the precision that it started in, or its weights would differ.

    Args:
        chosen: True for bfloat16; None to decide by measurement in this process.
    """
    global _chosen
    _chosen = chosen


def describe_precision(device_type: str, set_bfloat16: bool | None = None) -> str:
    """Say in a few words what training on a kind of device computes in, and why.

    Args:
        set_bfloat16: Number format that the recipe sets, see `mixed_precision`.
    """
    if set_bfloat16 is not None:
        return f"{'bfloat16' if set_bfloat16 else 'float32'}, which the recipe sets"
    name = "bfloat16" if has_bfloat16(device_type) else "float32"
    if _chosen is not None:
        return f"{name}, as in the earlier part of this run"
    if device_type != "cpu":
        return name
    return f"{name} (bfloat16 runs at {bfloat16_speed():.2g} times the speed of float32 here)"


def mixed_precision(
    device_type: str, set_bfloat16: bool | None = None, cache_enabled: bool = True
) -> torch.autocast:
    """Return autocast to bfloat16, enabled where the device is faster in it or the recipe sets it.

    Args:
        set_bfloat16: True to compute in bfloat16, False in float32; None for the faster one.
        cache_enabled: True to keep the bfloat16 copies of the weights until the end of the block.
    """
    enabled = has_bfloat16(device_type) if set_bfloat16 is None else set_bfloat16
    return torch.autocast(device_type, torch.bfloat16, enabled=enabled, cache_enabled=cache_enabled)
