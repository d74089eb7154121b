"""Random numbers drawn from a PyTorch generator."""

import math

import torch
from torch import Generator


def uniform(low: float, high: float, generator: Generator) -> float:
    """Draw a number from U(low, high)."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def normal(mean: float, deviation: float, generator: Generator) -> float:
    """Draw a number from N(mean, deviation^2)."""
    return mean + deviation * torch.randn((), generator=generator).item()


def truncated_normal(
    mean: float, deviation: float, limits: tuple[float, float], generator: Generator
) -> float:
    """Draw a number from N(mean, deviation^2) truncated to ``limits``."""
    standard = (torch.tensor(limits, dtype=torch.float64) - mean) / deviation
    low, high = torch.special.ndtr(standard).tolist()
    quantile = torch.tensor(uniform(low, high, generator), dtype=torch.float64)
    drawn: float = mean + deviation * torch.special.ndtri(quantile).item()
    return min(max(drawn, limits[0]), limits[1])


def log_uniform(low: float, high: float, generator: Generator) -> float:
    """Draw a number log-uniformly between ``low`` and ``high``, both above 0."""
    return math.exp(uniform(math.log(low), math.log(high), generator))


def log_normal(median: float, deviation: float, generator: Generator) -> float:
    """Draw a log-normal number with this median and standard deviation of the logarithm."""
    return median * math.exp(normal(0, deviation, generator))


def chance(probability: float, generator: Generator) -> bool:
    """Draw True with this probability."""
    return uniform(0, 1, generator) < probability
