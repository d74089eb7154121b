"""Measure what limits the separator: its data, or the brightness of its results.

    python -m benchmarks.compact.headroom DATA

Compares real pairs that it was trained on with pairs that it has never seen: a network that is too small
fails on both. Then gives photographs and results the best line of each channel (gain and offset), and tries
a global head: a linear regression from ImageNet features, pooled over the photograph, to that line. Writes
docs/figures/headroom.md and .json. Needs the extra [train].
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.common.several_runs import over_pictures
from clearpane.evaluation.metrics import psnr, with_gain, with_gain_and_offset
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.export import import_onnx
from clearpane.separation.compact.network import CompactNetwork
from clearpane.separation.compact.runtime import WEIGHTS
from clearpane.training.compact.recipe import new_network
from clearpane.training.compact.sources import align, by_scene
from clearpane.training.pictures import Pair, load_pairs

SETS = ("real_pairs", "real_pairs_rooms")
_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
_FOLDS = 5


@dataclass(frozen=True)
class Options:
    """Measure what limits the separator."""

    data: Positional[Path]
    """Folder with real_pairs and real_pairs_rooms."""
    weights: Path = WEIGHTS
    """Weights of the separator."""
    threads: int = 1
    """CPU threads."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of headroom.md and .json."""


@dataclass(frozen=True, eq=False)
class Head:
    """Linear regression from a photograph's pooled features to the line of each channel.

    Attributes:
        mean, scale: Standardise the features, [D].
        weights: [D + 1, 6], the last row the constant.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Predict [N, 6] from [N, D]."""
        standard = (features - self.mean) / self.scale
        result: np.ndarray = standard @ self.weights[:-1] + self.weights[-1]
        return result


def fit_head(features: np.ndarray, wanted: np.ndarray, penalty: float) -> Head:
    """Fit a ridge regression, [N, D] to [N, 6]; the constant is not penalised."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard, middle = (features - mean) / scale, wanted.mean(axis=0)
    gram = standard.T @ standard + penalty * np.eye(standard.shape[1])
    slopes = np.linalg.solve(gram, standard.T @ (wanted - middle))
    return Head(mean, scale, np.vstack([slopes, middle]))


def choose_head(features: np.ndarray, wanted: np.ndarray, scenes: np.ndarray) -> tuple[Head, float]:
    """Fit the head with the penalty that predicts scenes left out best; return that penalty too."""
    errors = []
    for penalty in _PENALTIES:
        left_out = [scenes % _FOLDS == fold for fold in range(_FOLDS)]
        folds = [(fit_head(features[~part], wanted[~part], penalty), part) for part in left_out]
        errors.append(np.mean([np.square(head(features[p]) - wanted[p]).mean() for head, p in folds]))
    penalty = _PENALTIES[int(np.argmin(errors))]
    return fit_head(features, wanted, penalty), penalty


def line_of(photo: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the least-squares line of each channel, [6].

    These are the change of the mean, and the change of the slope times the photograph's deviation: an error
    in any of the six numbers is then an error of the picture of the same size.
    """
    x, t = (p.reshape(-1, 3).astype(np.float64) for p in (photo, truth))
    centred, deviation = x - x.mean(axis=0), x.std(axis=0) + 1e-6
    slope = (centred * t).mean(axis=0) / deviation**2
    return np.concatenate([t.mean(axis=0) - x.mean(axis=0), (slope - 1) * deviation])


def apply_line(photo: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Apply what `line_of` returns to [H, W, 3] in [0, 1]."""
    mean, deviation = photo.mean(axis=(0, 1)), photo.std(axis=(0, 1)) + 1e-6
    result: np.ndarray = np.clip(photo + line[:3] + line[3:] / deviation * (photo - mean), 0, 1)
    return result


@torch.no_grad()
def pooled_features(network: CompactNetwork, photo: Tensor) -> np.ndarray:
    """Return the means and deviations of the features and of the pixels over [3, H, W] uint8."""
    image = _padded(photo, network.config.multiple)[0]
    levels = [*network.features(image), image]
    pooled = [statistic for x in levels for statistic in (x.mean(dim=(2, 3)), x.std(dim=(2, 3)))]
    return torch.cat(pooled, dim=1)[0].double().numpy()


@torch.no_grad()
def separate(network: CompactNetwork, photo: Tensor) -> np.ndarray:
    """Return T of a whole photograph [3, H, W] uint8, as [H, W, 3] in [0, 1]."""
    image, (height, width) = _padded(photo, network.config.multiple)
    made = network(image)[0][0, :, :height, :width].clamp(0, 1)
    return made.permute(1, 2, 0).numpy()


def _padded(photo: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    height, width = photo.shape[-2:]
    image = photo.float()[None] / 255
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate"), (height, width)


def array(picture: Tensor) -> np.ndarray:
    """Convert [3, H, W] uint8 to [H, W, 3] in [0, 1]."""
    return picture.permute(1, 2, 0).numpy() / 255


def score_pair(network: CompactNetwork, head: Head, pair: Pair) -> dict[str, float]:
    """Compute PSNR in dB, at 8 bits, of a pair's photograph and results with and without corrections."""
    photo, truth = array(pair.input), array(pair.truth)
    result = separate(network, pair.input)
    corrected = apply_line(photo, head(pooled_features(network, pair.input)[None])[0])
    given = torch.from_numpy(to_8bit(corrected)).permute(2, 0, 1)
    pictures = {
        "nothing": photo,
        "nothing, best line": with_gain_and_offset(photo, truth),
        "head": corrected,
        "result": result,
        "result, best gain": with_gain(result, truth),
        "result, best line": with_gain_and_offset(result, truth),
        "result after the head": separate(network, given),
    }
    return {name: psnr(to_8bit(x), to_8bit(truth)) for name, x in pictures.items()}


def one_of_each(scenes: Sequence[Sequence[Pair]]) -> list[Pair]:
    """Return the middle pair of each scene."""
    return [pairs[len(pairs) // 2] for pairs in scenes]


def training_scenes(folder: Path) -> list[list[Pair]]:
    """Return the aligned pairs of a folder by scene, as training sees them."""
    return [[x.pair for x in scene] for scene in by_scene([align(pair) for pair in load_pairs(folder)])]


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    rows, corrections = [], []
    for name, scores in document["sets"].items():
        values = {key: np.array(x) for key, x in scores.items()}
        gain = over_pictures([values["result"] - values["nothing"]])
        rows.append(
            [
                name,
                str(len(values["result"])),
                *(f"{values[k].mean():.2f}" for k in ("nothing", "result")),
                gain,
            ]
        )
        keys = ("nothing", "nothing, best line", "head", "result", "result, best gain", "result, best line")
        after = over_pictures([values["result after the head"] - values["result"]])
        corrections.append([name, *(f"{values[key].mean():.2f}" for key in keys), after])
    return (
        "# What limits the separator\n\n"
        "PSNR in dB of whole pictures, 8 bits, with paired 95 % bootstrap intervals over the pictures. "
        f"Weights {document['weights']}. Pairs trained on are aligned, as training sees them; of each room "
        "there is one pair. The eight last rooms, kept for choosing the shipped weights, are among them.\n\n"
        "## Seen and unseen pairs\n\n"
        "A network that is too small fails on both kinds of pairs; one whose data are too few fails on the "
        "unseen ones only.\n\n"
        + table(["", "pairs", "do nothing", "result", "gain"], rows)
        + "\n## The brightness of the whole picture\n\n"
        "The best line of each channel knows the ground truth. The global head predicts it from the means "
        "and deviations of the ImageNet features over the photograph: ridge regression on the "
        f"{document['pairs']} training pairs, its penalty ({document['penalty']:g}) chosen on scenes left "
        "out. The last column gives the separator the photograph that the head has corrected.\n\n"
        + table(
            [
                "",
                "do nothing",
                "its best line",
                "the head alone",
                "result",
                "its best gain",
                "its best line",
                "after the head, against the result",
            ],
            corrections,
        )
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Fit the head and score all sets; return the tables."""
    torch.set_num_threads(options.threads)
    network = new_network()
    import_onnx(network, options.weights)
    network.eval()
    trained = {name: training_scenes(options.data / name / "train") for name in SETS}
    numbered = [(i, p) for i, pairs in enumerate(x for s in trained.values() for x in s) for p in pairs]
    features = np.stack([pooled_features(network, pair.input) for _, pair in numbered])
    lines = np.stack([line_of(array(pair.input), array(pair.truth)) for _, pair in numbered])
    head, penalty = choose_head(features, lines, np.array([scene for scene, _ in numbered]))
    sets = {f"{name}, trained on": one_of_each(scenes) for name, scenes in trained.items()}
    sets |= {f"{name}/val": load_pairs(options.data / name / "val") for name in SETS}
    scored: dict[str, dict[str, list[float]]] = {}
    for name, pairs in sets.items():
        by_pair = [score_pair(network, head, pair) for pair in pairs]
        scored[name] = {key: [row[key] for row in by_pair] for key in by_pair[0]}
        print(f"{name}: {len(pairs)} pairs scored", flush=True)
    document = {
        "weights": hashlib.sha256(options.weights.read_bytes()).hexdigest()[:12],
        "pairs": len(numbered),
        "penalty": penalty,
        "sets": scored,
        "machine": describe_machine(),
    }
    write_text(options.output / "headroom.json", json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "headroom.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
