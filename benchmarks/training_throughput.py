"""Measure how many crops a second the separator's training takes with 1 and 2 processes.

python -m benchmarks.training_throughput --steps 20

Both are started by `accelerate launch` with configs/accelerate/cpus.yaml, one thread a process, in turn.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_load, describe_machine
from benchmarks.common.pages import write_page
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import WEIGHTS

_CROP = 128
_CROPS = 4
_WARM_UP = 3


@dataclass(frozen=True)
class Options:
    """Length of the runs, and where the figures go."""

    steps: int = 20
    repeats: int = 3
    output: Path = ROOT / "docs" / "figures"


def prepare(folder: Path) -> None:
    """Lay out the examples as the recipe reads them."""
    natural, pairs = folder / "natural", folder / "real_pairs" / "train"
    for place in (natural, pairs):
        place.mkdir(parents=True)
    for number, path in enumerate(sorted((ROOT / "examples").glob("*_input.jpg"))):
        truth = path.with_name(path.name.replace("_input", "_transmission"))
        (natural / f"{number}.jpg").write_bytes(truth.read_bytes())
        (pairs / f"{number:03d}_input.jpg").write_bytes(path.read_bytes())
        (pairs / f"{number:03d}_transmission.jpg").write_bytes(truth.read_bytes())


@contextlib.contextmanager
def training(data: Path, output: Path, processes: int) -> Iterator[subprocess.Popen[str]]:
    """Train with some processes, and end them all afterwards."""
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "configs/accelerate/cpus.yaml")]
    command = ["--num_processes", str(processes), "-m", "clearpane", "train", "compact"]
    options = {
        "data": data,
        "output": output,
        "init": WEIGHTS,
        "crops": _CROP,
        "pixels-per-step": _CROPS * _CROP**2,
        "real-share": 0.5,
        "threads": 1,
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [sys.executable, *launch, *command, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # of its session alone
        process.wait()


def seconds_a_step(data: Path, output: Path, processes: int, steps: int) -> float:
    """Return the median seconds of some steps after the first few."""
    log, times = output / "log.jsonl", []
    with training(data, output, processes) as process:
        while len(times) <= _WARM_UP + steps:
            if process.poll() is not None:
                raise SystemExit(f"{processes} processes: the training ended with {process.returncode}")
            lines = log.read_bytes().count(b"\n") if log.exists() else 0
            times += [time.perf_counter()] * (lines - len(times))
            time.sleep(0.005)
    return median(after - before for before, after in pairwise(times[_WARM_UP:]))


def main(options: Options) -> None:
    """Measure, print and write."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for repeat in range(options.repeats):
            for processes, found in seconds.items():
                output = folder / f"{repeat}-{processes}"
                found.append(seconds_a_step(folder, output, processes, options.steps))
                print(f"{processes} processes: {found[-1]:.3f} s a step", flush=True)
    rates = {processes: processes * _CROPS / median(found) for processes, found in seconds.items()}
    document = {"machine": describe_machine(), "load": describe_load(), "seconds": seconds, "rates": rates}
    cells = [
        [str(processes), str(processes * _CROPS), f"{median(found):.3f}", f"{rates[processes]:.2f}"]
        for processes, found in seconds.items()
    ]
    text = f"""# Training with 1 and 2 processes

`clearpane train compact` under `accelerate launch`, one thread a process, {_CROPS} crops of {_CROP} pixels a
process and step. Medians of {options.steps} steps after the first few, and of {options.repeats} runs of
each in turn.

{table(["processes", "crops a step", "seconds a step", "crops a second"], cells)}
Two processes take **{rates[2] / rates[1]:.2f}** times as many crops a second as one.

<sub>{Machine(**document["machine"])}; {document["load"]}.</sub>
"""
    print(text)
    figures = json.dumps(document, indent=1) + "\n"
    write_text(options.output / "training_throughput.json", figures, overwrite=True)
    write_page(options.output / "training_throughput.md", text, __spec__.name)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
