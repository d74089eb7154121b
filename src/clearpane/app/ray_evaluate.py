"""``clearpane evaluate --ray``: each pair is one task of a Ray cluster."""

import io
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from clearpane.app.evaluate_methods import load_methods, load_metrics
from clearpane.app.evaluate_options import Evaluate
from clearpane.app.progress import describe_unexpected
from clearpane.cluster.addresses import local_folder, shown
from clearpane.cluster.ray_work import cluster, map_on_cluster
from clearpane.errors import ClearpaneError
from clearpane.evaluation.protocols import PROTOCOLS, Pair
from clearpane.evaluation.scoring import (
    Method,
    PictureMetric,
    Pictures,
    PictureScores,
    Prediction,
    score_pairs,
)


@dataclass(frozen=True)
class ScoringJob:
    """Hold what all workers share.

    Attributes:
        options: Options of the command.
        folder: Folder of the pairs, local path or address.
        with_pictures: True if the pictures are wanted too, for a page.
    """

    options: Evaluate
    folder: Path
    with_pictures: bool


def score_on_ray(
    pairs: Sequence[Pair], job: ScoringJob, address: str
) -> Generator[tuple[PictureScores, Pictures | None], None, None]:
    """Score pairs on a cluster; yield them in their order, with the pictures if the job wants them.

    Args:
        pairs: Pairs in `local_folder` of the job's folder.
        job: What all workers share.
        address: Address of the cluster.

    Raises:
        ClearpaneError: The cluster cannot be used, or a pair cannot be scored.
    """
    base = local_folder(job.folder)
    items = [_item(number, pair, base) for number, pair in enumerate(pairs)]
    early: dict[int, tuple[PictureScores, Pictures | None]] = {}
    following = 0
    with cluster(address):
        for row in map_on_cluster(score_one, items, job):
            if row["error"]:
                raise ClearpaneError(row["error"])
            number = int(row["number"])
            pair = _moved(pairs[number], base, job.folder)
            pictures = _unpack(row["pictures"]) if job.with_pictures else None
            early[number] = PictureScores(pair, json.loads(row["rows"])), pictures
            while following in early:
                yield early.pop(following)
                following += 1
    if following < len(pairs):
        raise ClearpaneError(
            f"{shown(_moved(pairs[following], base, job.folder).input)}: its worker was ended each time, "
            "perhaps for lack of memory"
        )


def score_one(row: Mapping[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Score one pair on a worker.

    Args:
        row: Number of the pair, and the pair with paths below the job's folder, as JSON under "item".
        job: What all pairs share.

    Returns:
        The pair's number, its rows as JSON, its pictures as an archive of arrays, and the reason why there
        are none.
    """
    item = json.loads(row["item"])
    number = item.pop("number")
    answer = {"number": number, "rows": "", "pictures": b"", "error": ""}
    base = local_folder(job.folder)
    try:
        pair = _pair(item, base)
        methods, learned = _loaded(job.options)
        ((scored, pictures),) = score_pairs([pair], methods, PROTOCOLS[job.options.protocol], learned)
    except ClearpaneError as error:
        return {**answer, "error": str(error).replace(str(base), shown(job.folder))}
    except Exception as error:
        return {**answer, "error": f"{item['input']}: {describe_unexpected(error)}"}
    packed = _pack(pictures) if job.with_pictures else b""
    return {**answer, "rows": json.dumps(scored.rows), "pictures": packed}


@lru_cache(maxsize=1)
def _loaded(options: Evaluate) -> tuple[Sequence[Method], Mapping[str, PictureMetric]]:
    """Load methods and metrics once in each worker process."""
    return load_methods(options), load_metrics(options)


def _item(number: int, pair: Pair, base: Path) -> str:
    files = {name: path and path.relative_to(base).as_posix() for name, path in _files(pair).items()}
    return json.dumps({"number": number, "name": pair.name, "dataset": pair.dataset, **files})


def _pair(item: Mapping[str, Any], base: Path) -> Pair:
    reflection = item["reflection"] and base / item["reflection"]
    files = base / item["input"], base / item["transmission"], reflection
    return Pair(item["name"], item["dataset"], *files)


def _moved(pair: Pair, base: Path, folder: Path) -> Pair:
    """Return a pair with its paths as the user named their folder."""
    return replace(
        pair, **{name: path and folder / path.relative_to(base) for name, path in _files(pair).items()}
    )


def _files(pair: Pair) -> dict[str, Any]:
    return {"input": pair.input, "transmission": pair.transmission, "reflection": pair.reflection}


def _pack(pictures: Pictures) -> bytes:
    """Put pictures into an archive: those of the pair, then each method's, by name."""
    arrays = {"input": pictures.input, "transmission": pictures.transmission}
    if pictures.reflection is not None:
        arrays["reflection"] = pictures.reflection
    for number, prediction in enumerate(pictures.predictions.values()):
        arrays[f"{number}-transmission"] = prediction.transmission
        if prediction.reflection is not None:
            arrays[f"{number}-reflection"] = prediction.reflection
    stream = io.BytesIO()
    np.savez(stream, names=np.array(list(pictures.predictions)), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _unpack(data: bytes) -> Pictures:
    """Read the archive of `_pack`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        found = dict(archive)
    predictions = {
        str(name): Prediction(found[f"{number}-transmission"], found.get(f"{number}-reflection"))
        for number, name in enumerate(found["names"])
    }
    return Pictures(found["input"], found["transmission"], found.get("reflection"), predictions)
