"""SIGKILL at random moments: does the next run give what an uninterrupted one gives?

    python -m benchmarks.robustness.kill [--kills 100] [--only remove synthesize ...] [--minutes 20]
    python -m benchmarks.robustness.kill --only "train lirm" --kills 30 --seed 2 --add

Each command runs twice without interruption; the second run is timed. Then it is killed at a moment drawn
evenly from that time, and started again, until it ends by itself or has been killed ten times in a row and is
let go. A process that has all modules loaded, and has done nothing else, forks for each run, so that the
moments fall into the work. Networks and grids are small (kill_sizes.py).
After each kill every file that has its final name is opened by a reader that is not Clearpane's. At each end
the files are compared with the uninterrupted run's, and nothing hidden may be left.

It prints a table, and writes it to docs/figures/robustness_kill.md, the numbers to robustness_kill.json.
"""

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.robustness.kill_cases import CASES, Case
from benchmarks.robustness.readers import broken_files
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text

_IN_A_ROW = 10
# Each run imports this file again, which then finds what it needs.
_OWN_MODULES = (
    "benchmarks.common.pages",
    "benchmarks.robustness.kill_cases",
    "benchmarks.robustness.readers",
    "clearpane.app.cli",
    "clearpane.evaluation.tables",
    "typeguard",
    "tyro",
)


@dataclass(frozen=True)
class Options:
    """Kill commands at random moments."""

    kills: int = 100
    """Number of kills of each command."""
    minutes: float = 20.0
    """Time for all of them together; each command gets an even share, and stops early when it is over."""
    only: tuple[str, ...] = tuple(case.name for case in CASES)
    """Commands to kill."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""
    seed: int = 0
    """Random seed of the moments."""
    add: bool = False
    """Add to the numbers of earlier runs; give a seed that they did not have."""


@dataclass
class Result:
    """Result for one command.

    Attributes:
        seconds: Of the uninterrupted run, modules loaded.
        kills: Times it was killed.
        ends: Runs that came to their end afterwards.
        other_end: Ends with an exit code other than 0.
        different: Files that differ from the uninterrupted run's, by name and number of ends.
        half_written: Files with a final name that a reader refused after a kill, by name.
        left: Hidden files at an end, by name.
    """

    seconds: float = 0.0
    kills: int = 0
    ends: int = 0
    other_end: int = 0
    different: Counter[str] = field(default_factory=Counter)
    half_written: dict[str, str] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)

    def add(self, earlier: dict[str, Any]) -> None:
        """Add the kills of an earlier run, from its facts."""
        self.kills += earlier["kills"]
        self.ends += earlier["ends"]
        self.other_end += earlier["other_end"]
        self.different.update(earlier["different"])
        self.half_written |= earlier["half_written"]
        self.left.update(earlier["left"])

    def facts(self) -> dict[str, Any]:
        """Return the attributes for JSON; dataclasses.asdict would count a Counter's items anew."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}


def work(case: Case, arguments: list[str], log: str) -> None:
    """Run a command in a process of its own, with what it prints in a file."""
    from clearpane.app.cli import main

    missing = set(case.modules) - sys.modules.keys()
    assert not missing, f"not loaded before the fork: {missing}"
    if case.shrink is not None:
        case.shrink()
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.exit(main(arguments))


class Runner:
    """Starts a command in forks of a process that has its modules loaded."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.context = get_context("forkserver")
        self.case, self.arguments = case, case.prepare(folder)
        self.log = folder / "log.txt"

    def run(self, output: Path, seconds: float | None = None) -> int | None:
        """Run to the end and return the exit code, or kill it after some seconds and return None."""
        output.mkdir(exist_ok=True)
        arguments = [word.replace("OUTPUT", str(output)) for word in self.arguments]
        process = self.context.Process(target=work, args=(self.case, arguments, str(self.log)))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        return process.exitcode


def measure(case: Case, folder: Path, options: Options, seconds: float) -> Result:
    """Kill one command again and again, for as many seconds or kills as it is given."""
    runner = Runner(case, folder)
    result = Result()
    for name in ("first", "whole"):  # the first fills caches, and takes longer
        started = time.monotonic()
        if runner.run(folder / name) != 0:
            raise ClearpaneError(f"{case.name} fails without a kill: {runner.log.read_text()[-2000:]}")
        result.seconds = time.monotonic() - started
    expected = digests(folder / "whole", case)
    print(f"{case.name}: {result.seconds:.1f} s without a kill", flush=True)
    moments = random.Random(options.seed)
    end = time.monotonic() + seconds
    while result.kills < options.kills and time.monotonic() < end:
        output = folder / "killed"
        shutil.rmtree(output, ignore_errors=True)
        code = None
        for _ in range(_IN_A_ROW):
            code = runner.run(output, moments.uniform(0, result.seconds))
            if code is not None:
                break
            result.kills += 1
            result.half_written |= broken_files(output)
        if code is None:
            code = runner.run(output)
        result.ends += 1
        result.other_end += code != 0
        found = digests(output, case)
        names = found.keys() | expected.keys()
        result.different.update(name for name in names if found.get(name) != expected.get(name))
        result.left.update(path.name for path in output.rglob(".*"))
        print(f"{case.name}: {result.kills} kills, {result.ends} ends", flush=True)
        if code != 0 or result.different or result.left:
            print(f"{case.name}: {result.facts()}\n{runner.log.read_text()[-1500:]}", flush=True)
    return result


def digests(folder: Path, case: Case) -> dict[str, str]:
    """The hashes of the files that are promised to be the same."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in case.promised
    }


def kill_table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    head = ["command", "seconds", "kills", "ends", "other result", "half-written", "left behind", "the same"]
    cases = {case.name: case for case in CASES}
    rows = []
    for name, result in document["commands"].items():
        case = cases[name]
        rows.append(
            [
                f"`{name}`",
                f"{result['seconds']:.1f}",
                str(result["kills"]),
                f"{result['ends'] - result['other_end']} of {result['ends']}",
                str(sum(result["different"].values())),
                str(len(result["half_written"])),
                str(sum(result["left"].values())),
                " ".join(case.promised) + (f" ({case.otherwise})" if case.otherwise else ""),
            ]
        )
    return (
        "SIGKILL at moments drawn evenly from the time that an uninterrupted run takes (`seconds`, with all "
        "modules loaded); then the same command again, until it ends. The networks and grids of training and "
        "reconstruction are tiny, so that a run takes seconds. `ends`: with exit code 0. "
        "`other result`: files that are missing or differ from the uninterrupted run's, byte for byte, among "
        "those named in the last column. `half-written`: files with a final name that an independent reader "
        "refused right after a kill. `left behind`: hidden files at an end.\n\n"
        + table(head, rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Measure, print and write; the exit code is 1 if anything was found."""
    numbers = options.output / "robustness_kill.json"
    document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {"commands": {}}
    document["machine"] = describe_machine()
    chosen = [case for case in CASES if case.name in options.only]
    get_context("forkserver").set_forkserver_preload(
        [*_OWN_MODULES, *(module for case in chosen for module in case.modules)]
    )
    end = time.monotonic() + 60 * options.minutes
    sound = True
    for number, case in enumerate(chosen):
        with TemporaryDirectory() as folder:
            share = (end - time.monotonic()) / (len(chosen) - number)
            result = measure(case, Path(folder), options, share)
        if options.add and case.name in document["commands"]:
            result.add(document["commands"][case.name])
        sound &= not (result.other_end or result.different or result.half_written or result.left)
        document["commands"][case.name] = result.facts()
        write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
        page = f"# Killed runs\n\n{kill_table(document)}"
        write_page(options.output / "robustness_kill.md", page, __spec__.name)
        print(kill_table({**document, "commands": {case.name: result.facts()}}), flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
