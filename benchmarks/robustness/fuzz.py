"""Damaged files of every kind that the library reads: each must be read, or refused in one clear line.

    python -m benchmarks.robustness.fuzz --inputs 10000 --seed 0
    python -m benchmarks.robustness.fuzz --replay build/fuzz/findings/tiff-000123-a.tif

Small intact files are made, damaged (bits, runs of bytes, length fields, chunks, splices; JSON also in its
structure) and read in a process of their own by the functions that the commands call. A crash, a hang (10 s
of the processor's time), any other exception than ClearpaneError, a message of several lines, more memory
than 1 GiB or a file left behind is a finding, which is kept with its input. Writes
docs/figures/robustness_fuzz.md and .json. Linux only; needs all extras.
"""

import json
import shutil
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.robustness.kinds import KINDS, MAX_PIXELS
from benchmarks.robustness.worker import MEMORY, RESULTS, SECONDS, Outcome, Worker
from clearpane.evaluation.tables import write_text


@dataclass(frozen=True)
class Options:
    """Read damaged files."""

    inputs: int = 10_000
    """Number of files, spread evenly over the kinds."""
    seed: int = 0
    """Random seed."""
    only: tuple[str, ...] = tuple(KINDS)
    """Kinds to fuzz."""
    workers: int = 2
    """Processes that read."""
    replay: Path | None = None
    """Read this kept finding once more, and nothing else."""
    folder: Path = ROOT / "build" / "fuzz"
    """Folder of the intact files and the findings."""
    output: Path | None = ROOT / "docs" / "figures"
    """Folder of robustness_fuzz.md and robustness_fuzz.json."""


@dataclass
class Row:
    """Figures of one kind.

    Attributes:
        outcomes: Numbers of files by result.
        slowest: Longest time of the processor, seconds.
        memory: Largest need of memory, bytes.
        noisy: Number of files about which native libraries wrote to the terminal.
        findings: What was found, with the names of the kept files.
    """

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    slowest: float = 0.0
    memory: int = 0
    noisy: int = 0
    findings: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.outcomes[outcome.result] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        self.memory = max(self.memory, outcome.memory)
        self.noisy += outcome.noise > 0


def fuzz(kinds: Sequence[str], inputs: int, seed: int, folder: Path, workers: int = 1) -> dict[str, Row]:
    """Read so many damaged files of each kind; findings are kept in ``findings`` in the folder."""
    shutil.rmtree(folder / "findings", ignore_errors=True)
    (folder / "findings").mkdir(parents=True)

    def share(number: int) -> dict[str, Row]:
        with Worker(folder / f"worker{number}") as worker:
            return {kind: _fuzz_kind(kind, inputs, seed, folder, worker) for kind in kinds[number::workers]}

    with ThreadPoolExecutor(workers) as pool:
        shares = list(pool.map(share, range(workers)))
    rows = {kind: row for rows in shares for kind, row in rows.items()}
    return {kind: rows[kind] for kind in kinds}


def intact(kind: str, folder: Path) -> list[Path]:
    """Make a kind's intact files in a folder, and return those that are to be damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    KINDS[kind].make(folder)
    return sorted(path for pattern in KINDS[kind].targets for path in folder.glob(pattern))


def _fuzz_kind(kind: str, inputs: int, seed: int, folder: Path, worker: Worker) -> Row:
    place = folder / "intact" / kind.replace(" ", "_")
    targets = intact(kind, place)
    contents = [path.read_bytes() for path in targets]
    worker.warm(kind, targets)
    row = Row()
    for index in range(inputs):
        random = np.random.default_rng([seed, zlib.crc32(kind.encode()), index])
        one, other = random.integers(len(targets), size=2)
        damaged = KINDS[kind].damage(contents[one], contents[other], random)
        targets[one].write_bytes(damaged)
        outcome = worker.read(kind, targets[one])
        row.add(outcome)
        if outcome.result == "finding":
            target = str(targets[one].relative_to(place)).replace("/", "__")
            name = f"{place.name}-{index:06d}-{target}"
            (folder / "findings" / name).write_bytes(damaged)
            row.findings[name] = outcome.what
            print(f"{name}: {outcome.what}", flush=True)
            if outcome.what.startswith(("crash", "hang")):
                worker.warm(kind, [path for path in targets if path != targets[one]][:1])
        targets[one].write_bytes(contents[one])
    print(f"{kind}: {asdict(row)}", flush=True)
    return row


def replay(path: Path, folder: Path) -> Outcome:
    """Read a kept finding again."""
    kind, _, target = path.name.split("-", 2)
    place = folder / "replay" / kind
    intact(kind.replace("_", " "), place)
    there = place / target.replace("__", "/")
    with Worker(folder / "replay") as worker:
        worker.warm(kind.replace("_", " "), [there])
        there.write_bytes(path.read_bytes())
        return worker.read(kind.replace("_", " "), there)


def report(document: Mapping[str, Any]) -> str:
    """Return the table and what it means."""
    head = ["kind", "inputs", "read", "refused", "findings", "slowest, s", "memory, MB", "noise"]
    rows = [
        [
            kind,
            str(sum(row["outcomes"].values())),
            *(str(row["outcomes"][name]) for name in RESULTS),
            f"{row['slowest']:.2f}",
            f"{row['memory'] / 1e6:.0f}",
            str(row["noisy"]),
        ]
        for kind, row in document["kinds"].items()
    ]
    total = sum(int(row[1]) for row in rows)
    return (
        "# Fuzzing\n\n"
        f"`python -m benchmarks.robustness.fuzz --inputs {document['inputs']} --seed {document['seed']}`: "
        f"{total} damaged files, each read by the function that the commands call. Read: the damage left a "
        "file that is one. Refused: in one clear line. A finding is anything else: a crash, a hang "
        f"({SECONDS:g} s of the processor's time), another exception, a message of several lines, more than "
        f"{MEMORY / 1e6:.0f} MB (pictures: at most {MAX_PIXELS / 1e6:g} megapixels), a file left behind. "
        "Seconds are the processor's. Noise: files about which a native library wrote to the terminal.\n\n"
        + table(head, rows)
        + f"\n<sub>{document['seconds']:.0f} s; {Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Fuzz, write the figures and return the table; or the outcome of a replay."""
    if options.replay is not None:
        return str(replay(options.replay, options.folder))
    started = time.monotonic()
    rows = fuzz(
        options.only, -(-options.inputs // len(options.only)), options.seed, options.folder, options.workers
    )
    document = {
        "inputs": options.inputs,
        "seed": options.seed,
        "kinds": {kind: asdict(row) for kind, row in rows.items()},
        "seconds": time.monotonic() - started,
        "machine": describe_machine(),
    }
    text = report(document)
    if options.output is not None:
        numbers = json.dumps(document, indent=1) + "\n"
        write_text(options.output / "robustness_fuzz.json", numbers, overwrite=True)
        write_page(options.output / "robustness_fuzz.md", text, __spec__.name)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
