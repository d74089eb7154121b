"""Judge by eye: write a blind, shuffled yes/no page, and compute success rates from its answers.

GenSIRR (arXiv 2512.06358) reports such success rates: the share of pictures in which people find the
reflection gone and the scene intact.
"""

import csv
import json
import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template

from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import Interval, wilson
from clearpane.evaluation.scoring import Pictures, PictureScores
from clearpane.evaluation.tables import write_text
from clearpane.evaluation.thumbnails import data_uri

INPUT = "input"
_LONG_SIDE = 900
_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Verdict:
    """Count how often people said yes to a method.

    Attributes:
        method: Name of the method.
        yes: Number of yes answers.
        answers: Number of answers.
        rate: Share of yes answers in [0, 1], with Wilson's 95 % interval.
    """

    method: str
    yes: int
    answers: int
    rate: Interval


@dataclass
class JudgePage:
    """Collect pictures to be judged: every method's result and, as a control, the input itself.

    The page holds only random identifiers in random order; the key, a file beside it, maps them to methods.
    """

    _questions: list[tuple[str, str, str]] = field(default_factory=list)
    _key: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, scores: PictureScores, pictures: Pictures) -> None:
        """Add one scored pair."""
        photograph = data_uri(pictures.input, _LONG_SIDE)
        shown = {name: data_uri(p.transmission, _LONG_SIDE) for name, p in pictures.predictions.items()}
        for method, uri in {INPUT: photograph, **shown}.items():
            identifier = secrets.token_hex(6)
            self._questions.append((identifier, photograph, uri))
            self._key[identifier] = {
                "set": scores.pair.dataset,
                "picture": scores.pair.name,
                "method": method,
            }

    def write(self, page: Path, *, overwrite: bool = False) -> None:
        """Write the page and its key (see :func:`key_path`).

        Raises:
            ClearpaneError: A file exists and may not be overwritten, or cannot be written.
        """
        template = Template(files("clearpane.evaluation").joinpath("assets/judge.html").read_text("utf-8"))
        questions = random.SystemRandom().sample(self._questions, len(self._questions))
        # The photograph is the same for all methods, so it is stored once.
        photographs = list(dict.fromkeys(photograph for _, photograph, _ in questions))
        number = {photograph: i for i, photograph in enumerate(photographs)}
        data = {
            "photographs": photographs,
            "questions": [[identifier, number[photograph], uri] for identifier, photograph, uri in questions],
        }
        text = template.substitute(
            name=re.sub(r"[^\w.-]+", "-", page.stem), data=json.dumps(data), count=len(questions)
        )
        key = json.dumps(self._key, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_text(key_path(page), key, overwrite=overwrite)
        write_text(page, text, overwrite=overwrite)


def key_path(page: Path) -> Path:
    """Return the path of a page's key: ``judge.key.json`` for ``judge.html``."""
    return page.with_suffix(".key.json")


def read_verdicts(answers: Sequence[Path], key: Path) -> list[Verdict]:
    """Compute the success rate of each method, best first, from the answers of one or several people.

    Args:
        answers: CSV files that the page saved, with the columns ``id`` and ``answer`` (yes or no).
        key: Key of the page.

    Raises:
        ClearpaneError: A file cannot be read, answers belong to another page, or there are none.
    """
    methods = _read_key(key)
    counts = {method: [0, 0] for method in dict.fromkeys(methods.values())}
    for path in answers:
        for identifier, yes in _read_answers(path).items():
            if identifier not in methods:
                raise ClearpaneError(
                    f"{path}: {identifier} is not in {key}; these answers belong to another page"
                )
            counts[methods[identifier]][0] += yes
            counts[methods[identifier]][1] += 1
    verdicts = [Verdict(m, yes, n, wilson(yes, n)) for m, (yes, n) in counts.items() if n]
    if not verdicts:
        raise ClearpaneError(
            f"{', '.join(map(str, answers))}: no answers yet; open the page and judge some pictures"
        )
    return sorted(verdicts, key=lambda v: (-v.rate.mean, v.method))


def _read_key(path: Path) -> dict[str, str]:
    try:
        return {
            identifier: entry["method"] for identifier, entry in json.loads(path.read_text("utf-8")).items()
        }
    except OSError as error:
        raise ClearpaneError(
            f"{path}: cannot read the key of the page ({error.strerror}); keep it beside it"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClearpaneError(f"{path}: not the key of a judging page") from error


def _read_answers(path: Path) -> dict[str, bool]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ClearpaneError(f"{path}: cannot read the answers ({error})") from error
    answers: dict[str, bool] = {}
    for line, row in enumerate(rows, 2):
        identifier, answer = row.get("id"), row.get("answer")
        if not identifier or answer not in _ANSWERS:
            raise ClearpaneError(
                f"{path}, line {line}: expected the columns id and answer, the answer yes or no"
            )
        answers[identifier] = _ANSWERS[answer]
    return answers
