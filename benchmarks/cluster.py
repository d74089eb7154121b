"""Measure `remove` and `synthesize` on Ray clusters of 1 and 2 workers, and compare the files.

python -m benchmarks.cluster --pictures 16 --samples 40

In the run with 2 workers one of them is killed half-way.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import tyro
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_load, describe_machine
from benchmarks.common.pages import write_page
from clearpane.evaluation.tables import write_text

# The cluster listens on this machine alone. Ray would otherwise ask for a token where one was made before.
_RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
_OPEN = {**os.environ, **_RAY}
_SIDES = 2000, 1500


@dataclass(frozen=True)
class Options:
    """Amount of work, and where the figures go."""

    pictures: int = 16
    samples: int = 40
    output: Path = ROOT / "docs" / "figures"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run a cluster on this machine, and end it without touching others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    start = ["start", "--head", "--block", f"--num-cpus={workers}", "--include-dashboard=false"]
    place = ["--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}"]
    head = subprocess.Popen([*ray, *start, *place], env=_OPEN, stdout=subprocess.DEVNULL)
    try:
        ready = [*ray, "status", f"--address={address}"]
        while subprocess.run(ready, env=_OPEN, capture_output=True).returncode:
            if head.poll() is not None:
                raise SystemExit("Ray did not start; is the machine busy?")
            time.sleep(1)
        yield address, psutil.Process(head.pid)
    finally:
        head.terminate()
        head.wait()


def kill_a_worker(since: float) -> bool:
    """Kill a worker that is at work and was started since a time; return False if there is none."""
    for process in psutil.process_iter(["name", "create_time"]):
        if "ray::Map" in (process.info["name"] or "") and process.info["create_time"] > since:
            os.kill(process.pid, signal.SIGKILL)
            return True
    return False


def run(
    command: list[str], output: Path, head: psutil.Process | None, kill_at: int | None
) -> tuple[float, float]:
    """Run a command; return its seconds, and the processor time of it or of the cluster's workers.

    Args:
        command: Words after ``clearpane``.
        output: Folder of the results.
        head: First process of the cluster, if there is one.
        kill_at: Number of results after which a worker is killed.
    """
    started, since = time.perf_counter(), time.time() - 600
    process = subprocess.Popen(
        [sys.executable, "-m", "clearpane", *command, "--output", str(output)],
        env=_OPEN,
        stdout=subprocess.DEVNULL,
    )
    used: dict[int, float] = {}
    while process.poll() is None:
        time.sleep(0.1)
        for each in head.children(recursive=True) if head else [psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.Error):
                if head is None or each.name().startswith("ray::"):
                    used[each.pid] = sum(each.cpu_times()[:2])
        made = [path for path in output.rglob("*") if path.suffix in (".jpg", ".tar")]
        if kill_at is not None and len(made) >= kill_at and kill_a_worker(since):
            kill_at = None
    if process.returncode or kill_at is not None:
        missed = "" if kill_at is None else ", no worker was killed"
        raise SystemExit(f"{command[0]}: exit code {process.returncode}{missed}")
    return time.perf_counter() - started, sum(used.values())


def measure(options: Options, folder: Path) -> list[dict[str, Any]]:
    """Do the same work on one machine and on 1 and 2 workers."""
    photos = folder / "photos"
    photos.mkdir()
    examples = sorted((ROOT / "examples").glob("*_input.jpg"))
    for number in range(options.pictures):
        with Image.open(examples[number % len(examples)]) as example:
            example.resize(_SIDES).save(photos / f"{number:03d}.jpg", quality=95)
    source = ["--backgrounds", str(photos), "--size", "128", "--samples-per-shard", "4"]
    cases = {
        "remove": (["remove", str(photos)], options.pictures, options.pictures // 2),
        "synthesize": (
            ["synthesize", "--count", str(options.samples), "--workers", "1", *source],
            options.samples,
            options.samples // 8,
        ),
    }
    rows: list[dict[str, Any]] = []
    for workers in (0, 1, 2):
        with cluster(workers) if workers else contextlib.nullcontext(("", None)) as (address, head):
            for name, (command, amount, half) in cases.items():
                out, words = folder / f"{name}-{workers}", ["--ray", address] if address else []
                seconds, core_seconds = run([*command, *words], out, head, half if workers == 2 else None)
                same = contents(out) == contents(folder / f"{name}-0")
                row = {"command": name, "workers": workers, "amount": amount, "seconds": seconds}
                rows.append({**row, "core_seconds": core_seconds, "same": same})
                print(rows[-1], flush=True)
    return rows


def main(options: Options) -> int:
    """Measure, print and write; fail if a file differs."""
    with TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    document = {"machine": describe_machine(), "load": describe_load(), "rows": rows}
    cells = [
        [
            f"`{row['command']}`",
            str(row["workers"] or "no cluster"),
            f"{row['seconds']:.1f}",
            f"{row['amount'] / row['seconds']:.2f}",
            f"{row['core_seconds'] / row['amount']:.2f}",
            "yes" if row["same"] else "NO",
        ]
        for row in sorted(rows, key=lambda row: row["command"])
    ]
    head = ["command", "workers", "seconds", "items a second", "core-seconds an item", "same files"]
    text = f"""# Workers of a Ray cluster

`remove` of {options.pictures} photographs of {_SIDES[0]} x {_SIDES[1]} pixels, `synthesize` of
{options.samples} samples of 128 x 128 pixels. Whole commands: the figures hold starting Python and the
workers, and loading the model. Core-seconds are those of the command or, on a cluster, of its workers. With 2
workers, one is killed half-way; its work is done again.

{table(head, cells)}
<sub>{Machine(**document["machine"])}; {document["load"]}.</sub>
"""
    print(text)
    write_text(options.output / "cluster.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "cluster.md", text, __spec__.name)
    return 0 if all(row["same"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
