"""Measure seconds and peak memory by picture size, and the effect of the number of threads on the result."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, measure, reference_seconds
from benchmarks.compact import variants
from benchmarks.compact.peer import WORKER, FastReflectionRemoval
from benchmarks.compact.variants import SHIPPED
from clearpane.separation.compact.runtime import CompactSeparator

EXAMPLE = ROOT / "examples" / "shop_input.jpg"
Section = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Size of a picture, and the number of runs for the median."""

    name: str
    width: int
    height: int
    repeats: int
    peer: bool  # the peer holds some 25 arrays of the picture in double precision: too much beyond 12 MP


SIZES = (
    Size("512 x 512", 512, 512, 9, True),
    Size("1 MP", 1182, 887, 7, True),
    Size("12 MP", 4000, 3000, 5, True),
    Size("48 MP", 8000, 6000, 3, False),
    Size("100 MP", 11547, 8660, 3, False),
)


def measure_speed(weights: Path, peer: FastReflectionRemoval | None, sizes: tuple[Size, ...]) -> Section:
    """Measure each size in processes of their own: separating an array, the command on a file, the peer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            array, photo = _picture(size, Path(folder))
            row: Section = {"size": size.name, "width": size.width, "height": size.height}
            row["separate"] = _several(variants.command(array, SHIPPED, weights, size.repeats))
            row["remove"] = _command(photo, size.repeats)
            if peer is not None and size.peer:
                command = [peer.python, WORKER, str(peer.threshold), array, str(size.repeats)]
                row["peer"] = _several(command)
            rows.append(row)
            array.unlink()
            photo.unlink()
    return {"rows": rows, "threads": thread_differences(weights)}


def _picture(size: Size, folder: Path) -> tuple[Path, Path]:
    """Write an example picture resized to ``size``, as uint8 array and as JPEG file."""
    picture = Image.open(EXAMPLE).resize((size.width, size.height), Image.Resampling.BICUBIC)
    array, photo = folder / "picture.npy", folder / "picture.jpg"
    np.save(array, np.asarray(picture))
    picture.save(photo, quality=90)
    return array, photo


def _several(command: list[str | Path]) -> Section:
    """Return the median over a worker's runs, and its peak memory."""
    reference = reference_seconds()
    run = measure(command)
    return _summary(json.loads(run.output), reference, run.peak_bytes)


def _command(photo: Path, repeats: int) -> Section:
    """Time ``clearpane remove`` on a file: start of the program, reading, separating and writing."""
    reference = reference_seconds()
    output = photo.parent / "output"
    command = [sys.executable, "-m", "clearpane", "remove", photo, "--output", output, "--overwrite"]
    runs = [measure(command) for _ in range(repeats + 1)][1:]
    return _summary([run.seconds for run in runs], reference, max(run.peak_bytes for run in runs))


def _summary(seconds: list[float], reference: float, peak_bytes: int) -> Section:
    median = float(np.median(seconds))
    return {
        "seconds": median,
        "fastest": min(seconds),
        "slowest": max(seconds),
        "references": median / reference,
        "reference_seconds": reference,
        "peak_bytes": peak_bytes,
        "runs": len(seconds),
    }


def thread_differences(weights: Path) -> dict[str, float]:
    """Measure the largest difference of either layer between one thread and two, by picture size."""
    one, two = (CompactSeparator(weights, threads=n) for n in (1, 2))
    differences = {}
    for width, height in ((512, 512), (1000, 750), (2000, 1500)):
        picture = Image.open(EXAMPLE).resize((width, height), Image.Resampling.BICUBIC)
        image = np.asarray(picture).astype(np.float32) / 255
        a, b = one.separate(image), two.separate(image)
        pairs = ((a.transmission, b.transmission), (a.reflection, b.reflection))
        differences[f"{width} x {height}"] = max(float(np.abs(x - y).max()) for x, y in pairs)
    return differences


def speed_table(section: Section) -> str:
    head = ["", "separate", "", "", "`clearpane remove`", "", "", "fast-reflection-removal", "", ""]
    units = ["size", *(["s", "FFTs", "GB"] * 3)]
    lines = [[row["size"], *(c for key in ("separate", "remove", "peer") for c in _cells(row.get(key)))]
             for row in section["rows"]]  # fmt: skip
    worst = max(section["threads"].values())
    return (
        "Median seconds, the same as a multiple of a 2048 x 2048 real FFT in numpy timed just before (a "
        "measure that travels between machines), and peak memory of the process. `separate` works on an "
        "array with the network loaded; `clearpane remove` is the whole program on a JPEG file: start, "
        "reading, separating, writing.\n\n"
        + table(head, [units, *lines])
        + f"\nOne thread against two: the layers differ by at most {worst:.1e} "
        + f"({', '.join(section['threads'])}; sRGB values in [0, 1]).\n"
    )


def _cells(result: Section | None) -> list[str]:
    if result is None:
        return ["", "", ""]
    return [f"{result['seconds']:.2f}", f"{result['references']:.1f}", f"{result['peak_bytes'] / 1e9:.2f}"]
