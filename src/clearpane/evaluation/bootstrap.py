"""Compute confidence intervals."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

RESAMPLES = 10_000
_CHUNK = 500


@dataclass(frozen=True)
class Interval:
    """Hold an estimate with its two-sided confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: np.ndarray, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Bootstrap the mean over pictures: percentile method (Efron and Tibshirani 1993), 10,000 resamples.

    To compare two methods on the same pictures, pass the differences picture by picture: a paired bootstrap.

    Args:
        values: One number for each picture [N], N >= 1.

    Raises:
        ValueError: ``values`` is empty or not one-dimensional.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected n >= 1 values, got shape {values.shape}")
    rng = np.random.default_rng(seed)
    shares = np.full(values.size, 1.0 / values.size)
    means = np.concatenate(
        [rng.multinomial(values.size, shares, size=_CHUNK) @ values for _ in range(RESAMPLES // _CHUNK)]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means / values.size, [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def wilson(successes: int, trials: int, *, z: float = 1.959964) -> Interval:
    """Compute Wilson's score interval of a success rate (Wilson 1927); ``z`` defaults to 95 %.

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n).

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials and trials > 0, got {successes} of {trials}")
    rate, squared = successes / trials, z * z / trials
    centre = (rate + squared / 2) / (1 + squared)
    half = z * sqrt(rate * (1 - rate) / trials + squared / (4 * trials)) / (1 + squared)
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))
