"""Measure `remove` and `synthesize` on Ray clusters of 1 and 2 workers, and compare the files.

python -m benchmarks.cluster --pictures 16 --samples 40

In the run with 2 workers one of them is killed half-way.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from clearpane.evaluation.tables import write_text


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


def run(command: list[str], address: str | None, half: int, output: Path, pattern: str, kill: bool) -> float:
    """Run a command; kill a worker at work once half of the files are there; return the seconds."""
    words = [] if address is None else ["--ray", address]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "clearpane", *command, *words], stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        time.sleep(0.05)
        if kill and len(list(output.glob(pattern))) >= half:
            at_work = [p for p in psutil.process_iter(["name"]) if "ray::Map" in (p.info["name"] or "")]
            if at_work:
                os.kill(at_work[0].pid, signal.SIGKILL)
                kill = False
    if process.returncode or kill:
        raise SystemExit(f"{command[0]}: exit code {process.returncode}{', no worker was killed' * kill}")
    return time.perf_counter() - started


def measure(options: Options, folder: Path) -> list[dict[str, object]]:
    """Do the same work on one machine and on 1 and 2 workers."""
    photos = folder / "photos"
    photos.mkdir()
    examples = sorted((ROOT / "examples").glob("*_input.jpg"))
    for number in range(options.pictures):
        (photos / f"{number:03d}.jpg").write_bytes(examples[number % len(examples)].read_bytes())
    source = ["--backgrounds", str(photos), "--size", "128", "--samples-per-shard", "4"]
    cases = {
        "remove": (["remove", str(photos)], options.pictures, "*.jpg"),
        "synthesize": (["synthesize", "--count", str(options.samples), *source], options.samples, "*.tar"),
    }
    rows: list[dict[str, object]] = []
    for name, (command, amount, pattern) in cases.items():
        alone = folder / f"{name}-alone"
        one = ["--workers", "1"] if name == "synthesize" else []
        seconds = run([*command, "--output", str(alone), *one], None, 0, alone, pattern, kill=False)
        rows.append(
            {"command": name, "workers": "no cluster", "seconds": seconds, "amount": amount, "same": True}
        )
        for workers in (1, 2):
            out = folder / f"{name}-{workers}"
            start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--num-cpus={workers}"]
            subprocess.run([*start, "--include-dashboard=false"], check=True, stdout=subprocess.DEVNULL)
            try:
                half = len(list(alone.glob(pattern))) // 2
                seconds = run([*command, "--output", str(out)], "auto", half, out, pattern, kill=workers == 2)
            finally:
                subprocess.run(
                    [sys.executable, "-m", "ray.scripts.scripts", "stop"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            same = contents(out) == contents(alone)
            rows.append(
                {"command": name, "workers": workers, "seconds": seconds, "amount": amount, "same": same}
            )
    return rows


def main(options: Options) -> int:
    """Measure, print and write; fail if a file differs."""
    with TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    document = {"machine": describe_machine(), "rows": rows}
    cells = [
        [
            f"`{row['command']}`", str(row["workers"]), f"{row['seconds']:.1f}",
            f"{row['amount'] / row['seconds']:.2f}", "yes" if row["same"] else "NO",
        ]
        for row in rows
    ]  # fmt: skip
    text = (
        "# Workers of a Ray cluster\n\nWhole commands on one machine, with connecting to the cluster. With 2 "
        "workers, one is killed half-way.\n\n"
        + table(["command", "workers", "seconds", "pictures or samples a second", "same files"], cells)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )
    print(text)
    write_text(options.output / "cluster.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "cluster.md", text, __spec__.name)
    return 0 if all(row["same"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
