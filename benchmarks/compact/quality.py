"""Measure quality on photographs with a ground truth, and harm on pictures without a reflection."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.harm import harm, summarise_harm
from benchmarks.common.markdown import interval, table
from benchmarks.compact.peer import FastReflectionRemoval
from clearpane.errors import MissingExtraError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs, read_8bit, read_pair
from clearpane.evaluation.scoring import (
    NOTHING,
    ORACLE_GAIN,
    ORACLE_LINE,
    Method,
    SeparatorMethod,
    score_pairs,
    summarise,
)
from clearpane.evaluation.st_lpips import StLpips
from clearpane.separation.compact.runtime import CompactSeparator

FAST, BEST = "Clearpane compact, fast", "Clearpane compact, best"
PROTOCOL = PROTOCOLS["original"]
Section = dict[str, Any]


def our_methods(separator: CompactSeparator) -> list[SeparatorMethod]:
    return [SeparatorMethod(FAST, separator, "fast"), SeparatorMethod(BEST, separator, "best")]


def measure_quality(
    folder: Path, separator: CompactSeparator, peers: Sequence[FastReflectionRemoval], limit: int | None
) -> Section:
    """Score every method on the pairs of ``folder``, at most ``limit`` of them."""
    pairs = find_pairs(folder)[:limit]
    images = [read_pair(pair, PROTOCOL)[0] for pair in pairs]
    for peer in peers:  # all pictures in one process
        peer.remove(images)
    methods: list[Method] = [*peers, *our_methods(separator)]
    learned = {"st_lpips": StLpips()}
    scores = [s for s, _ in score_pairs(pairs, methods, PROTOCOL, learned)]
    rows = {row.name: asdict(row) for row in summarise(scores)[-1].rows}
    order = [NOTHING, ORACLE_GAIN, ORACLE_LINE, *(method.name for method in methods)]
    return {
        "set": f"{folder.parent.name}/{folder.name}",
        "pictures": len(pairs),
        "rows": [rows[name] for name in order],
        "scores": {s.pair.name: s.rows for s in scores},
    }


def quality_table(section: Section) -> str:
    lines = []
    for row in section["rows"]:
        mean, spread, over = row["mean"], row["spread"], row["over_nothing"]
        digits = (("psnr", 2), ("psnr_g", 2), ("ssim", 3), ("st_lpips", 4))
        cells = [f"{mean[k]:.{d}f} ± {spread[k]:.{d}f}" for k, d in digits]
        gains = [interval(over[key]) for key in ("psnr", "psnr_g")] if over else ["", ""]
        better = "" if row["better"] is None else f"{row['better']} of {row['pictures']}"
        lines.append([row["name"], *cells, *gains, better])
    head = [
        "",
        "PSNR",
        "PSNR-G",
        "SSIM",
        "ST-LPIPS",
        "gain in PSNR",
        "gain in PSNR-G",
        "better than doing nothing",
    ]
    return (
        f"{section['pictures']} photographs (`{section['set']}`), 8 bits, nothing resized: mean ± standard "
        "deviation over the pictures; the gain over doing nothing with its paired 95 % bootstrap interval, "
        "dB. PSNR-G is PSNR after the best gain per channel; a lower ST-LPIPS is better. The oracles know "
        "the truth.\n\n" + table(head, lines)
    )


def held_out_pictures(data: Path, *, rooms: bool) -> list[Path]:
    """List the natural pictures, or the rooms, that no training sees.

    Raises:
        MissingExtraError: PyTorch, which the lists of held-out pictures need, is not installed.
    """
    try:
        from clearpane.training.compact.sources import room_paths
        from clearpane.training.pictures import natural_paths
    except ModuleNotFoundError as error:
        raise MissingExtraError("the benchmark of harm", "train") from error
    if rooms:
        return room_paths(data / "natural_more", held_out=True)
    return natural_paths(data / "natural", held_out=True)


def measure_harm(
    paths: Sequence[Path], separator: CompactSeparator, peers: Sequence[FastReflectionRemoval]
) -> Section:
    """Measure the effect of every method on pictures without glass."""
    images = [read_8bit(path) for path in paths]
    rows = [_harm_row(NOTHING, images, images)]
    rows += [_harm_row(peer.name, images, peer.remove(images)) for peer in peers]
    for method in our_methods(separator):
        outputs = [_separate(method, image) for image in images]
        rows.append(_harm_row(method.name, images, outputs))
    return {"pictures": len(images), "rows": rows}


def _separate(method: SeparatorMethod, image: np.ndarray) -> np.ndarray:
    return method.separator.separate(_unit(image), quality=method.quality).transmission


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image


def _harm_row(name: str, images: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> Section:
    harms = [harm(_unit(out), _unit(image)) for out, image in zip(outputs, images, strict=True)]
    over_pictures = bootstrap_mean(np.array([h.psnr for h in harms]))
    return {"name": name, **asdict(summarise_harm(harms)), "interval": asdict(over_pictures)}


def harm_table(section: Section) -> str:
    lines = []
    for row in section["rows"]:
        rate = row["false_removal_rate"]
        changed = row["psnr"] < 100
        lines.append(
            [
                row["name"],
                interval(row["interval"], sign=False) if changed else "unchanged",
                f"{row['worst_psnr']:.2f}" if changed else "unchanged",
                "no bright pixel" if rate is None else f"{100 * rate:.2f} %",
            ]
        )
    head = ["", "output against input, PSNR", "worst picture", "false removal"]
    return (
        f"{section['pictures']} pictures without glass, held out of training: mean with its 95 % "
        "bootstrap interval, dB, higher is less harm. False removal: bright pixels (luma above 0.9) that "
        "lost more than 0.05 of luma.\n\n" + table(head, lines)
    )
