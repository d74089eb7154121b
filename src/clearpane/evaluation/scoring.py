"""Score pairs: every method beside doing nothing and beside oracle fits that know the ground truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol as Interface

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.evaluation import metrics
from clearpane.evaluation.bootstrap import Interval, bootstrap_mean
from clearpane.evaluation.protocols import Pair, Protocol, picture_files, read_pair, read_result
from clearpane.images.picture import to_8bit
from clearpane.separation.interface import Quality
from clearpane.separation.separator import Separator

Scores = dict[str, float]
PictureMetric = Callable[[np.ndarray, np.ndarray], float]
NO_METRICS: Mapping[str, PictureMetric] = MappingProxyType({})
NOTHING = "do nothing"
ORACLE_GAIN = "oracle gain"
ORACLE_LINE = "oracle gain+offset"
BASELINES = (NOTHING, ORACLE_GAIN, ORACLE_LINE)
REFLECTION_SUFFIX = ": reflection"


@dataclass(frozen=True)
class Metric:
    """Describe how a metric is printed."""

    title: str
    decimals: int
    higher_is_better: bool


METRICS = {
    "psnr": Metric("PSNR", 2, True),
    "psnr_g": Metric("PSNR-G", 2, True),
    "psnr_by_channel": Metric("PSNR/channel", 2, True),
    "ssim": Metric("SSIM", 3, True),
    "lmse": Metric("LMSE", 4, False),
    "ncc": Metric("NCC", 4, True),
    "lpips": Metric("LPIPS", 3, False),
    "st_lpips": Metric("ST-LPIPS", 4, False),
}


@dataclass(frozen=True)
class Prediction:
    """Hold a method's layers for a picture, uint8; the reflection is None if the method gives none."""

    transmission: np.ndarray
    reflection: np.ndarray | None = None


class Method(Interface):
    """Predict the layers of a pair; ``image`` is its input as uint8 at the protocol's size."""

    @property
    def name(self) -> str:
        """Return the method's name in tables."""
        ...

    def predict(self, pair: Pair, image: np.ndarray) -> Prediction:
        """Return the layers of a pair's 8-bit input."""
        ...


@dataclass(frozen=True)
class SeparatorMethod:
    """Run a separator on the 8-bit input."""

    name: str
    separator: Separator
    quality: Quality = "fast"

    def predict(self, pair: Pair, image: np.ndarray) -> Prediction:
        """Separate the input."""
        layers = self.separator.separate(image.astype(np.float32) / 255.0, quality=self.quality)
        return Prediction(to_8bit(layers.transmission), to_8bit(layers.reflection))


@dataclass(frozen=True)
class FolderMethod:
    """Read finished pictures of any program.

    They are named ``<name>_transmission.*`` or ``<name>.*`` (and ``<name>_reflection.*``), or the same with
    the input's stem. They lie in the folder's sub-folder named after the set, or in the folder itself.
    """

    name: str
    folder: Path
    protocol: Protocol

    def predict(self, pair: Pair, image: np.ndarray) -> Prediction:
        """Find the finished pictures of a pair."""
        stems = dict.fromkeys((pair.name, pair.input.stem))
        transmission = self._find(pair, [s for stem in stems for s in (f"{stem}_transmission", stem)])
        if transmission is None:
            raise ClearpaneError(
                f"{self.folder}: no result for {pair.input}; expected {pair.name}_transmission.*"
            )
        reflection = self._find(pair, [f"{stem}_reflection" for stem in stems])
        return Prediction(
            read_result(transmission, pair, image.shape, self.protocol),
            read_result(reflection, pair, image.shape, self.protocol) if reflection else None,
        )

    def _find(self, pair: Pair, stems: Sequence[str]) -> Path | None:
        found = {**picture_files(self.folder), **picture_files(self.folder / pair.dataset)}
        return next((found[stem] for stem in stems if stem in found), None)


@dataclass(frozen=True)
class Pictures:
    """Hold the pictures of one pair, uint8, all of one size."""

    input: np.ndarray
    transmission: np.ndarray
    reflection: np.ndarray | None
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True)
class PictureScores:
    """Hold the scores of one pair: a row for each method, then :data:`BASELINES`.

    If the set has the ground truth of the reflection, the rows ``<method>: reflection`` score the methods'
    reflections.
    """

    pair: Pair
    rows: Mapping[str, Scores]

    def gain(self, method: str) -> float:
        """Return the gain in PSNR over doing nothing, dB."""
        return self.rows[method]["psnr"] - self.rows[NOTHING]["psnr"]


def score(result: np.ndarray, truth: np.ndarray, learned: Mapping[str, PictureMetric] = NO_METRICS) -> Scores:
    """Compute all metrics of a result, by their keys in :data:`METRICS`.

    Args:
        learned: Metrics that need a network, by their keys; they are only computed if given.
    """
    scores = {
        "psnr": metrics.psnr(result, truth),
        "psnr_g": metrics.psnr_after_gain(result, truth),
        "psnr_by_channel": metrics.psnr_by_channel(result, truth),
        "ssim": metrics.ssim(result, truth),
        "lmse": metrics.lmse(result, truth),
        "ncc": metrics.ncc(result, truth),
    }
    return scores | {key: metric(result, truth) for key, metric in learned.items()}


def score_pairs(
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    protocol: Protocol,
    learned: Mapping[str, PictureMetric] = NO_METRICS,
) -> Iterator[tuple[PictureScores, Pictures]]:
    """Score the pairs one by one; only one pair's pictures are in memory at a time.

    ``learned`` is that of `score`.

    Raises:
        ClearpaneError: A file is missing, unreadable or of the wrong size.
    """
    for pair in pairs:
        image, truth, reflection = read_pair(pair, protocol)
        if min(image.shape[:2]) < 2 * metrics.LMSE_STEP:
            raise ClearpaneError(
                f"{pair.input}: too small to be scored; pictures need at least 20 x 20 pixels"
            )
        predictions = {method.name: method.predict(pair, image) for method in methods}
        rows = {name: score(p.transmission, truth, learned) for name, p in predictions.items()}
        rows[NOTHING] = score(image, truth, learned)
        rows[ORACLE_GAIN] = score(metrics.with_gain(image, truth), truth, learned)
        rows[ORACLE_LINE] = score(metrics.with_gain_and_offset(image, truth), truth, learned)
        if reflection is not None:
            for name, p in predictions.items():
                if p.reflection is not None:
                    rows[name + REFLECTION_SUFFIX] = score(p.reflection, reflection, learned)
        yield PictureScores(pair, rows), Pictures(image, truth, reflection, predictions)


@dataclass(frozen=True)
class RowSummary:
    """Summarise one method over a set of pictures.

    Attributes:
        name: Name of the row.
        pictures: Number of pictures with this row.
        mean: Mean of each metric over the pictures.
        spread: Standard deviation over the pictures (n - 1), 0 for a single one.
        over_nothing: Mean difference from doing nothing, with its paired 95 % bootstrap interval; None for
            doing nothing itself and for reflections.
        better: Number of pictures with a higher PSNR than doing nothing; None for the same rows.
    """

    name: str
    pictures: int
    mean: Scores
    spread: Scores
    over_nothing: Mapping[str, Interval] | None
    better: int | None


@dataclass(frozen=True)
class SetSummary:
    """Hold the table of a test set."""

    name: str
    pictures: int
    rows: Sequence[RowSummary]


def summarise(scores: Sequence[PictureScores]) -> list[SetSummary]:
    """Make a table for each set and, for several sets, ``all``: the average weighted by picture counts."""
    sets: dict[str, list[PictureScores]] = {}
    for s in scores:
        sets.setdefault(s.pair.dataset, []).append(s)
    tables = [_summarise_set(name, members) for name, members in sets.items()]
    return [*tables, _summarise_set("all", scores)] if len(sets) > 1 else tables


def _summarise_set(name: str, scores: Sequence[PictureScores]) -> SetSummary:
    names = dict.fromkeys(row for s in scores for row in s.rows)
    return SetSummary(name, len(scores), [_summarise_row(row, scores) for row in names])


def _summarise_row(row: str, scores: Sequence[PictureScores]) -> RowSummary:
    members = [s for s in scores if row in s.rows]
    values = {key: np.array([s.rows[row][key] for s in members]) for key in members[0].rows[row]}
    mean = {key: float(v.mean()) for key, v in values.items()}
    spread = {key: float(v.std(ddof=1)) if v.size > 1 else 0.0 for key, v in values.items()}
    if row == NOTHING or row.endswith(REFLECTION_SUFFIX):
        return RowSummary(row, len(members), mean, spread, None, None)
    nothing = {key: np.array([s.rows[NOTHING][key] for s in members]) for key in values}
    over = {key: bootstrap_mean(v - nothing[key]) for key, v in values.items()}
    better = int((values["psnr"] > nothing["psnr"]).sum())
    return RowSummary(row, len(members), mean, spread, over, better)
