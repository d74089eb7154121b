"""Two results of the same photographs: measured, side by side, and judged by eye."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clearpane.evaluation.judge import JudgePage
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs
from clearpane.evaluation.scoring import METRICS, FolderMethod, score_pairs, summarise

SHOWN = ("psnr", "psnr_g", "ssim", "lmse", "ncc")
_LONG_SIDE = 1600


@dataclass(frozen=True)
class Compared:
    """Two results of the same photographs.

    Attributes:
        means: Rows of the summary: a name, then `SHOWN` as text, then how often better than doing nothing.
        scores: The same rows by photograph, without the last column.
        pictures: The two results by photograph, as files.
        judge: Page for judging by eye; its key lies beside it.
    """

    means: list[list[str]]
    scores: dict[str, list[list[str]]]
    pictures: dict[str, tuple[Path, Path]]
    judge: Path


def compare_results(
    pairs: Path,
    results: tuple[Path, Path],
    names: tuple[str, str],
    folder: Path,
    on_progress: Callable[[int, int], None],
) -> Compared:
    """Measure two folders of results against the truth.

    Args:
        pairs: Folder of NAME_input.* and NAME_transmission.*, or a published layout.
        results: Folders of finished pictures.
        names: Names of the two results.
        folder: Empty folder for pictures and the judging page.
        on_progress: Function of the number of finished photographs and their total; it raises to stop.

    Raises:
        ClearpaneError: a file is missing, cannot be read or is of the wrong size.
    """
    protocol = PROTOCOLS["original"]
    found = find_pairs(pairs)
    methods = [FolderMethod(name, place, protocol) for name, place in zip(names, results, strict=True)]
    page = JudgePage()
    scored, pictures, scores = [], {}, {}
    on_progress(0, len(found))
    for number, (one, shown) in enumerate(score_pairs(found, methods, protocol), 1):
        scored.append(one)
        page.add(one, shown)
        title = f"{one.pair.dataset}/{one.pair.name}" if one.pair.dataset else one.pair.name
        scores[title] = [[row, *_as_text(values)] for row, values in one.rows.items()]
        files = []
        for side, name in zip("ab", names, strict=True):
            path = folder / f"{number:04d}-{side}.jpg"
            image = Image.fromarray(shown.predictions[name].transmission)
            image.thumbnail((_LONG_SIDE, _LONG_SIDE))
            image.save(path, quality=92)
            files.append(path)
        pictures[title] = (files[0], files[1])
        on_progress(number, len(found))
    means = [
        [row.name, *_as_text(row.mean), "" if row.better is None else f"{row.better} / {row.pictures}"]
        for row in summarise(scored)[-1].rows
    ]
    judge = folder / "judge.html"
    page.write(judge)
    return Compared(means, scores, pictures, judge)


def _as_text(values: dict[str, float]) -> list[str]:
    return [f"{values[key]:.{METRICS[key].decimals}f}" for key in SHOWN]
