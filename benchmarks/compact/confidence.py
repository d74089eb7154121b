"""Compare the confidence map with the true error; run as a script, fit the map's model.

    python -m benchmarks.compact.confidence PAIRS [--weights NETWORK.onnx]

The logistic model of `clearpane.separation.confidence` is fitted to a folder of pairs that the network was
not trained on. The script prints the parameters to use there, and the figures of leaving out one block of
pairs at a time, since neighbours often show one scene.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import interval, table
from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.protocols import PROTOCOLS, Pair, find_pairs, read_pair
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator
from clearpane.separation.confidence import CUES, TOLERANCE, cues
from clearpane.separation.layers import Layers

# Pixels drawn from each picture: all pictures have the same weight whatever their size.
PIXELS = 10_000
BLOCKS = 5
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Spearman's rank correlation; 0 if one input is constant."""
    a, b = ranks(a), ranks(b)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _drawn(pixels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(pixels, min(PIXELS, pixels), replace=False)


def describe(believed: Sequence[np.ndarray], errors: Sequence[np.ndarray]) -> dict[str, Any]:
    """Describe how confidence and true error agree, picture by picture and over all drawn pixels.

    Args:
        believed: Confidences of each picture's pixels.
        errors: Mean absolute errors of the same pixels, sRGB.
    """
    each = np.array([rank_correlation(1 - c, e) for c, e in zip(believed, errors, strict=True)])
    confidence, error = np.concatenate(believed), np.concatenate(errors)
    right = error <= TOLERANCE
    bins = []
    for low, high in pairwise(BINS):
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            bins.append(
                {
                    "low": low,
                    "high": high,
                    "share": float(inside.mean()),
                    "confidence": float(confidence[inside].mean()),
                    "right": float(right[inside].mean()),
                }
            )
    return {
        "pictures": len(each),
        "within": asdict(bootstrap_mean(each)),
        "pooled": rank_correlation(1 - confidence, error),
        "right": float(right.mean()),
        "calibration_error": sum(b["share"] * abs(b["confidence"] - b["right"]) for b in bins),
        "bins": bins,
    }


def measure_confidence(folder: Path, separator: CompactSeparator, limit: int | None) -> dict[str, Any]:
    """Compare the map with the true error on the pairs of ``folder``, at most ``limit`` of them."""
    believed, errors, changes = [], [], []
    for seed, pair in enumerate(find_pairs(folder)[:limit]):
        photo, truth = (
            picture.astype(np.float32) / 255 for picture in read_pair(pair, PROTOCOLS["original"])[:2]
        )
        layers = separator.separate(photo, confidence=True)
        assert layers.confidence is not None
        error = np.abs(layers.transmission - truth).mean(axis=2).ravel()
        drawn = _drawn(error.size, seed)
        believed.append(layers.confidence.ravel()[drawn])
        errors.append(error[drawn])
        changes.append(np.abs(layers.transmission - photo).mean(axis=2).ravel()[drawn])
    return {
        "set": f"{folder.parent.name}/{folder.name}",
        **describe(believed, errors),
        "change_alone": rank_correlation(np.concatenate(changes), np.concatenate(errors)),
    }


def confidence_table(section: dict[str, Any]) -> str:
    rows = [
        [
            f"{b['low']:g} to {b['high']:g}",
            f"{100 * b['share']:.0f} %",
            f"{100 * b['confidence']:.0f} %",
            f"{100 * b['right']:.0f} %",
        ]
        for b in section["bins"]
    ]
    alone = section.get("change_alone")
    baseline = "" if alone is None else f" (|T - I| alone: {alone:.2f})"
    return (
        "Rank correlation (Spearman) of 1 - confidence with the true error of the transmission on "
        f"{section['pictures']} photographs (`{section['set']}`), {PIXELS:,} pixels of each: "
        f"{section['pooled']:.2f} over all pixels{baseline}; within a photograph "
        f"{interval(section['within'])} (mean, 95 % bootstrap over the photographs). A pixel is right within "
        f"{TOLERANCE:g} of the range; {100 * section['right']:.0f} % are; confidence and share of right ones "
        f"differ by {100 * section['calibration_error']:.0f} points in the mean (ECE).\n\n"
        + table(["confidence", "pixels", "mean confidence", "right"], rows)
    )


def fit_logistic(features: np.ndarray, labels: np.ndarray, steps: int = 30) -> np.ndarray:
    """Fit a logistic regression by Newton's method, from features [N, K] and N labels of 0 or 1.

    Returns:
        The intercept and the k weights.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    design = np.concatenate([np.ones((len(features), 1)), (features - mean) / deviation], axis=1)
    # Too weak to matter unless the labels can be separated without error.
    penalty = 1e-6 * len(features) * np.diag([0.0] + [1.0] * features.shape[1])
    weights = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-design @ weights))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty
        weights += np.linalg.solve(hessian, design.T @ (labels - p) - penalty @ weights)
    slopes = weights[1:] / deviation
    return np.array([weights[0] - slopes @ mean, *slopes])


def _observe(pair: Pair, separator: CompactSeparator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cues and errors of drawn pixels, as `CompactSeparator` computes them."""
    photo, truth = (
        picture.astype(np.float32) / 255 for picture in read_pair(pair, PROTOCOLS["original"])[:2]
    )
    layers, mirrored = (separator.separate(np.ascontiguousarray(x)) for x in (photo, photo[:, ::-1]))
    back = Layers(mirrored.transmission[:, ::-1], mirrored.reflection[:, ::-1])
    error = np.abs(layers.transmission - truth).mean(axis=2).ravel()
    drawn = _drawn(error.size, seed)
    return cues(photo, layers, back).reshape(-1, len(CUES))[drawn], error[drawn]


@dataclass(frozen=True)
class Options:
    """Fit the model of the confidence map."""

    pairs: Positional[Path]
    """Folder of real pairs (NNN_input.jpg, NNN_transmission.jpg) that the network was not trained on."""
    weights: Path = WEIGHTS
    """ONNX file of the network."""


def main(options: Options) -> int:
    """Fit, and print the numbers."""
    try:
        pairs = find_pairs(options.pairs)
        if len(pairs) < BLOCKS:
            raise ClearpaneError(f"{options.pairs}: {len(pairs)} pairs; give {BLOCKS} or more")
        separator = CompactSeparator(options.weights)
        observed = [_observe(pair, separator, k) for k, pair in enumerate(pairs)]
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    features, errors = (np.stack([o[k] for o in observed]) for k in (0, 1))

    def fitted(kept: np.ndarray) -> np.ndarray:
        return fit_logistic(np.concatenate(features[kept]), (np.concatenate(errors[kept]) <= TOLERANCE) * 1.0)

    everything = np.arange(len(observed))
    believed = np.empty_like(errors)
    for block in np.array_split(everything, BLOCKS):
        weights = fitted(np.setdiff1d(everything, block))
        believed[block] = 1 / (1 + np.exp(-(weights[0] + features[block] @ weights[1:])))
    print(confidence_table({"set": "a block left out at a time", **describe(believed, errors)}))
    weights = fitted(everything)
    print(f"INTERCEPT = {weights[0]:.2f}")
    print(f"WEIGHTS = ({', '.join(f'{w:.2f}' for w in weights[1:])})  # {', '.join(CUES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
