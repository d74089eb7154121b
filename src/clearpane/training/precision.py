"""The number format that training computes in: bfloat16 where that is measured to be faster, else float32."""

import time
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

# bfloat16 must win clearly: near a tie, float32 is exact and another process would decide the same.
_WORTH_IT = 1.15
# The fastest of so many counts: others are slowed down by other programs.
_ROUNDS = 8

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

    A processor's list of features does not tell: some that list ``avx512_bf16`` take 20 times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other where other programs run
    try:
        # The gradients are thrown away, but must be computed also where the caller computes none.
        with torch.enable_grad():
            rounds = [(convolution_seconds(False), convolution_seconds(True)) for _ in range(_ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    float32 = min(seconds for seconds, _ in rounds)
    return float32 / min(seconds for _, seconds in rounds)


def has_bfloat16(device_type: str) -> bool:
    """Tell whether training on a kind of device ("cpu", "cuda", "mps") computes in bfloat16."""
    if _chosen is not None:
        return _chosen
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu":
        return True
    return bfloat16_speed() >= _WORTH_IT


def keep_bfloat16(chosen: bool | None) -> None:
    """Compute in what a run's checkpoint says, whatever this process measures.

    A resumed run must compute in what it was begun with, or its weights would differ.

    Args:
        chosen: None to go by what this process measures.
    """
    global _chosen
    _chosen = chosen


def describe_precision(device_type: str) -> str:
    """Say in a few words what training on a kind of device computes in, and why."""
    name = "bfloat16" if has_bfloat16(device_type) else "float32"
    if _chosen is not None:
        return f"{name}, as this run was begun"
    if device_type != "cpu":
        return name
    return f"{name} (bfloat16 runs at {bfloat16_speed():.2g} times the speed of float32 here)"


def mixed_precision(device_type: str, wanted: bool = True, cache_enabled: bool = True) -> torch.autocast:
    """Return autocast to bfloat16 for float32 weights, enabled where the device is faster in it.

    Args:
        wanted: False to compute in float32 anyway.
        cache_enabled: Keep the bfloat16 copies of the weights until the end of the block.
    """
    enabled = wanted and has_bfloat16(device_type)
    return torch.autocast(device_type, torch.bfloat16, enabled=enabled, cache_enabled=cache_enabled)
