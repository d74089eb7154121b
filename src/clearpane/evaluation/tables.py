"""Write scores as files for other programs."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from clearpane.cluster.addresses import shown
from clearpane.errors import ClearpaneError
from clearpane.evaluation.scoring import BASELINES, METRICS, REFLECTION_SUFFIX, PictureScores, SetSummary
from clearpane.files import atomic_path
from clearpane.hub.card import Figures
from clearpane.json_files import read_object


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file completely or not at all (UTF-8).

    Raises:
        ClearpaneError: The file exists and may not be overwritten, or cannot be written.
    """
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def csv_text(protocol: str, scores: Sequence[PictureScores]) -> str:
    """Write a line for each picture and row: protocol, set, picture, row, then every computed metric."""
    keys = [key for key in METRICS if any(key in row for s in scores for row in s.rows.values())]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["protocol", "set", "picture", "row", *keys])
    for s in scores:
        for name, row in s.rows.items():
            values = (f"{row[k]:.6f}" if k in row else "" for k in keys)
            writer.writerow([protocol, s.pair.dataset, s.pair.name, name, *values])
    return out.getvalue()


def json_text(protocol: str, summaries: Sequence[SetSummary], scores: Sequence[PictureScores]) -> str:
    """Return the tables of all sets with spreads and intervals, and every picture's scores."""
    document = {
        "protocol": protocol,
        "metrics": {
            key: {"title": m.title, "higher_is_better": m.higher_is_better} for key, m in METRICS.items()
        },
        "sets": [asdict(summary) for summary in summaries],
        "pictures": [
            {
                "set": s.pair.dataset,
                "picture": s.pair.name,
                "input": shown(s.pair.input),
                "transmission": shown(s.pair.transmission),
                "rows": s.rows,
            }
            for s in scores
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_figures(path: Path) -> list[Figures]:
    """Read the tables of a file written by `json_text`, for a model card: the rows of transmissions.

    Raises:
        ClearpaneError: The file cannot be read, was written by another program, or holds several methods.
    """
    try:
        document = read_object(path)
        titles = {key: str(metric["title"]) for key, metric in document["metrics"].items()}
        sets = [
            Figures(
                str(found["name"]),
                str(document["protocol"]),
                int(found["pictures"]),
                titles,
                rows := {
                    str(row["name"]): {key: float(row["mean"][key]) for key in titles if key in row["mean"]}
                    for row in found["rows"]
                    if not row["name"].endswith(REFLECTION_SUFFIX)
                },
                " and ".join(name for name in rows if name not in BASELINES),
            )
            for found in document["sets"]
        ]
    except FileNotFoundError as error:
        raise ClearpaneError(
            f"{path}: there is no such file; clearpane evaluate writes it (`json`)"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ClearpaneError(f"{path}: not the JSON that clearpane evaluate writes") from error
    for figures in sets:
        if figures.model not in figures.rows:
            raise ClearpaneError(f"{path}: has figures of {figures.model or 'no method'}, not of one model")
    return sets
