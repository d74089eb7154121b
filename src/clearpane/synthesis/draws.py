"""Random numbers drawn from a PyTorch generator."""

import torch
from torch import Generator


def uniform(low: float, high: float, generator: Generator) -> float:
    """A number drawn from U(low, high)."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def normal(mean: float, deviation: float, generator: Generator) -> float:
    """A number drawn from N(mean, deviation^2)."""
    return mean + deviation * torch.randn((), generator=generator).item()


def truncated_normal(
    mean: float, deviation: float, limits: tuple[float, float], generator: Generator
) -> float:
    """A number drawn from N(mean, deviation^2) cut off outside of ``limits``."""
    standard = (torch.tensor(limits, dtype=torch.float64) - mean) / deviation
    low, high = torch.special.ndtr(standard).tolist()
    quantile = torch.tensor(uniform(low, high, generator), dtype=torch.float64)
    drawn = mean + deviation * torch.special.ndtri(quantile).item()
    return min(max(drawn, limits[0]), limits[1])
