"""Sum up what happens to damaged files, killed runs and faults of the system.

    python -m benchmarks.robustness.summary

It reads the numbers that fuzz, kill and limits wrote, and writes docs/figures/robustness.md.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT
from benchmarks.common.pages import write_page

_TEXT = """\
libpng and LibRaw print messages of their own about damaged PNG and RAW files ("noise" in the table). The
command line hides them; a program that uses the library sees them.

## What fuzzing found

All of this is mended, with tests: messages that quoted line breaks and control characters of the file; JSON
nested too deeply; PNG and JPEG headers that ask for far more memory than the file can fill; images and
buffers that a GLB file names outside its folder, or in formats that run other programs; pictures that
`transforms.json` and COLMAP models name outside their folder; errors of other kinds than ours for headers
of safetensors, ONNX, checkpoint and shard files. JPEG data that ends or breaks before its end marker was
filled with grey by libjpeg without a word; it is refused now.

## Faults of the system

`pytest tests/app/test_faults.py tests/test_leftovers.py` makes each fault (a disk in memory, a process of
its own, a stand-in for the clock) and checks what is said and what is left.

| fault | what happens |
|---|---|
| the disk fills | what fits is written; one line for each picture that does not; nothing half-written |
| a file over the size limit of its disk | one line |
| a read-only output | said before anything is separated |
| the output folder vanishes half way | one line; it is not made again |
| no folder for temporary files | one line that says which variable to set |
| a file changes while it is read | that file is refused, the others are done |
| the clock jumps | no figure changes |
| two runs on one folder | they share the work |
| no memory for one picture | one line; the others are done |
| the program is killed | each file is the old one or the new one; the next run removes what was temporary |
"""


@dataclass(frozen=True)
class Options:
    """Write the summary."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of the numbers and of the page."""


def summary(fuzz: dict[str, Any], kill: dict[str, Any], limits: dict[str, Any]) -> str:
    """Return the page's text."""
    kinds = fuzz["kinds"].values()
    files = sum(sum(kind["outcomes"].values()) for kind in kinds)
    findings = sum(kind["outcomes"]["finding"] for kind in kinds)
    memory = max(kind["memory"] for kind in kinds)
    commands = kill["commands"].values()
    kills = sum(command["kills"] for command in commands)
    unlike = sum(sum(command["different"].values()) for command in commands)
    halves, left = (sum(len(command[name]) for command in commands) for name in ("half_written", "left"))
    rows = [
        [
            f"{files:,} damaged files of {len(fuzz['kinds'])} kinds",
            f"{findings} findings: all others are read, or refused in one clear line; slowest "
            f"{max(kind['slowest'] for kind in kinds):.1f} s, at most {memory / 1e6:.0f} MB",
            "[fuzzing](robustness_fuzz.md)",
            "fuzz",
        ],
        [
            f"{kills} SIGKILLs at random moments of {len(kill['commands'])} commands",
            f"after the next run {unlike} files differ from an uninterrupted run's, {halves} were "
            f"half-written, {left} were left behind",
            "[kills](robustness_kill.md)",
            "kill",
        ],
    ]
    for size, runs in limits["sizes"].items():
        now, before = runs["now"], runs.get("before")
        compared = f", {now['seconds'] / before['seconds']:.2f} of the earlier version's" if before else ""
        rows.append(
            [
                f"{size}, the whole command",
                f"{now['peak_bytes'] / 1e9:.2f} GB, {now['seconds']:.1f} s{compared}",
                "[limits](robustness_limits.md)",
                "limits",
            ]
        )
    bad, caps = limits["bad"], limits["caps"]
    rows.append(
        [
            f"{bad['pictures']} pictures, {bad['bad']} of them bad",
            f"{bad['written']} results, {bad['error_lines']} lines of error, exit code {bad['exit_code']}",
            "[limits](robustness_limits.md)",
            "limits",
        ]
    )
    enough = min(cap["megabytes"] for cap in caps if cap["exit_code"] == 0)
    rows.append(
        [
            "address space capped (`ulimit -v`)",
            f"from {enough} MB on a picture of 12 MP and a small one are done; below, one line for each that "
            "does not fit",
            "[limits](robustness_limits.md)",
            "limits",
        ]
    )
    return (
        "# Robustness\n\nWhat happens to damaged files, killed runs and faults of the system.\n\n"
        + table(["what", "result", "table", "`python -m benchmarks.robustness.`"], rows)
        + "\n"
        + _TEXT
    )


def main(options: Options) -> int:
    """Read the numbers and write the page."""
    numbers = (
        json.loads((options.output / f"robustness_{name}.json").read_text(encoding="utf-8"))
        for name in ("fuzz", "kill", "limits")
    )
    write_page(options.output / "robustness.md", summary(*numbers), __spec__.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
