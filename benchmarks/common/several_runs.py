"""Format figures of several runs: mean, spread over runs, intervals over pictures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.common.markdown import interval
from clearpane.evaluation.bootstrap import bootstrap_mean

Run = dict[str, Any]


def spread(runs: Mapping[Any, Run], value: Callable[[Run], float], decimals: int = 2) -> str:
    """Format the mean of a figure over the runs and, for several, its standard deviation."""
    values = [value(run) for run in runs.values()]
    text = f"{np.mean(values):.{decimals}f}"
    return text + (f" ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else "")


def over_pictures(values: Sequence[np.ndarray]) -> str:
    """Format the mean over runs with its interval over pictures and, for several runs, their deviation."""
    text = interval(asdict(bootstrap_mean(np.mean(values, axis=0))))
    return text + (f" (± {statistics.stdev(x.mean() for x in values):.2f})" if len(values) > 1 else "")
