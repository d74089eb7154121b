"""Memory and time of `clearpane remove` on large pictures, in little memory, and on many bad files.

    python -m benchmarks.robustness.limits [--before SRC]

SRC is the folder src of an earlier version, to compare with. Seconds are those of the whole command, median
of three runs, and of all cores together (processor seconds, which other programs on the machine change less),
both also as multiples of a 2048 x 2048 real FFT in numpy timed just before. It prints its tables, and writes
them to docs/figures/robustness_limits.md, the numbers to robustness_limits.json.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tyro
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine, measure
from benchmarks.common.pages import write_page
from clearpane.evaluation.tables import write_text

EXAMPLE = ROOT / "examples" / "shop_input.jpg"
SIZES = {"12 MP": (4000, 3000), "100 MP": (11547, 8660)}
_BAD = 100
Section = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Measure the limits."""

    before: Path | None = None
    """Folder src of an earlier version, to compare with."""
    repeats: int = 3
    """Runs that a median is taken over; of 100 MP one is enough."""
    pictures: int = 1000
    """Pictures in the folder of which a tenth is bad."""
    caps: tuple[int, ...] = (400, 800, 1200, 2000)
    """Limits of address space to try, MB."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""


def fft_seconds() -> tuple[float, float]:
    """Wall and processor seconds of the yardstick, medians of five."""
    values = np.random.default_rng(0).random((2048, 2048))
    taken = []
    for _ in range(6):
        wall, processor = time.perf_counter(), time.process_time()
        np.fft.rfft2(values)
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = np.median(taken[1:], axis=0)
    return float(wall), float(processor)


def measure_size(size: str, folder: Path, source: Path, repeats: int) -> Section:
    """Run the whole command on a JPEG of one size, with the package in ``source``."""
    photo = folder / "photo.jpg"
    Image.open(EXAMPLE).resize(SIZES[size], Image.Resampling.BICUBIC).save(photo, quality=90)
    command: list[str | Path] = [sys.executable, "-m", "clearpane", "remove", photo, "--overwrite"]
    command += ["--output", folder / "out"]
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{source}{os.pathsep}{before}"
    try:
        wall, processor = fft_seconds()
        runs = [measure(command) for _ in range(repeats)]
    finally:
        os.environ["PYTHONPATH"] = before
    seconds, used = (
        float(np.median([getattr(run, name) for run in runs])) for name in ("seconds", "cpu_seconds")
    )
    return {
        "seconds": seconds,
        "cpu_seconds": used,
        "ffts": seconds / wall,
        "cpu_ffts": used / processor,
        "peak_bytes": max(run.peak_bytes for run in runs),
        "runs": repeats,
    }


def measure_bad(folder: Path, count: int) -> Section:
    """Run on a folder in which a tenth of the pictures is cut short, empty, or no picture."""
    place = folder / "many"
    place.mkdir()
    rng = np.random.default_rng(0)
    bad = set(range(0, count, count // _BAD))
    for number in range(count):
        path = place / f"{number:04d}{('.jpg', '.png')[number // 10 % 2]}"
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(path)
        if number in bad:
            data = path.read_bytes()
            path.write_bytes((data[: len(data) // 2], b"", b"no picture")[number // 10 % 3])
    started = time.monotonic()
    done = _remove(place, folder / "out-many")
    return {
        "pictures": count,
        "bad": len(bad),
        "seconds": time.monotonic() - started,
        "exit_code": done.returncode,
        "written": len(list((folder / "out-many").iterdir())),
        "error_lines": sum(line.startswith("error: ") for line in done.stderr.splitlines()),
        "other_lines": sum(not line.startswith("error: ") for line in done.stderr.splitlines()),
        "last_line": done.stderr.splitlines()[-1],
    }


def measure_cap(folder: Path, megabytes: int) -> Section:
    """Run on a picture of 12 MP and a small one with a limit of address space."""
    place = folder / "two"
    place.mkdir(exist_ok=True)
    for name, size in (("large", SIZES["12 MP"]), ("small", (96, 64))):
        Image.open(EXAMPLE).resize(size).save(place / f"{name}.jpg")
    done = _remove(place, folder / f"out-{megabytes}", megabytes * 1_000_000)
    lines = done.stderr.splitlines()
    return {
        "megabytes": megabytes,
        "exit_code": done.returncode,
        "errors": [line.replace(f"{place}/", "")[:160] for line in lines if line.startswith("error: ")],
        "other_lines": [line[:160] for line in lines[:-1] if not line.startswith("error: ")],
        "last_line": lines[-1] if lines else "",
    }


def _remove(place: Path, output: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def cap() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "clearpane", "remove", str(place), "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=cap)


def limits_tables(document: Section) -> str:
    """The results as Markdown."""
    rows = [
        [
            f"{size}, {version}",
            f"{run['seconds']:.2f}",
            f"{run['ffts']:.1f}",
            f"{run['cpu_seconds']:.2f}",
            f"{run['cpu_ffts']:.1f}",
            f"{run['peak_bytes'] / 1e9:.2f}",
        ]
        for size, versions in document["sizes"].items()
        for version, run in versions.items()
    ]
    head = ["picture", "s", "FFTs", "processor s", "processor FFTs", "peak GB"]
    text = "`clearpane remove` on a JPEG file, the whole command.\n\n" + table(head, rows)
    if "bad" in document:
        bad = document["bad"]
        text += (
            f"\nA folder of {bad['pictures']} pictures, {bad['bad']} of them cut short, empty or no picture: "
            f"{bad['written']} results, {bad['error_lines']} lines of error, exit code {bad['exit_code']}, "
            f"{bad['seconds']:.0f} s (`{bad['last_line']}`).\n"
        )
    if "caps" in document:
        caps = [
            [
                str(cap["megabytes"]),
                str(cap["exit_code"]),
                "; ".join(cap["errors"]) or "none",
                cap["last_line"],
            ]
            for cap in document["caps"]
        ]
        text += "\nA picture of 12 MP and a small one with a limit of address space (`ulimit -v`):\n\n"
        text += table(["MB", "exit code", "errors", "last line"], caps)
    return f"{text}\n<sub>{Machine(**document['machine'])}.</sub>\n"


def main(options: Options) -> int:
    """Measure, print and write; a part is written as soon as it is done."""
    numbers = options.output / "robustness_limits.json"
    document: Section = {"machine": describe_machine(), "sizes": {}}

    def keep() -> None:
        write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
        page = f"# Large pictures, little memory, bad files\n\n{limits_tables(document)}"
        write_page(options.output / "robustness_limits.md", page, __spec__.name)

    versions = {"now": ROOT / "src"} | ({"before": options.before} if options.before else {})
    with TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            repeats = options.repeats if size == "12 MP" else 1
            document["sizes"][size] = {}
            for version, source in versions.items():
                document["sizes"][size][version] = measure_size(size, folder, source, repeats)
                keep()
        document["caps"] = []
        for megabytes in options.caps:
            document["caps"].append(measure_cap(folder, megabytes))
            keep()
        document["bad"] = measure_bad(folder, options.pictures)
        keep()
    print(limits_tables(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
