"""Measure the embedded separator: quality, harm, time and memory, and large pictures.

    python -m benchmarks.compact.measure DATA [--only quality harm bright rendered ...]

DATA is a folder that holds

    real_pairs/val/NAME_input.jpg and NAME_transmission.jpg   photographs through glass, and ground truth
    real_pairs/train/                 the same, for choosing between methods for large pictures
    natural/*.webp (or .jpg, .png)    pictures without glass: the folder trained on, every sixteenth held out
    natural_more/house_*              rooms and house fronts without glass, some 100 held out by name
    environments/*.hdr                surroundings that curved panes reflect

The script prints its tables and writes docs/figures/compact.md and compact.json. Sections that are not
measured again are kept. The peer, the package fast-reflection-removal, is installed on the first run into its
own environment; without a network its rows are left out. `harm`, `bright` and `rendered` need the extra
[train], `rendered` also [synthesis].
"""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.rendered_scenes import SCENE_SETS, measure_rendered, rendered_table
from benchmarks.compact.bright_backgrounds import bright_table, measure_bright
from benchmarks.compact.confidence import confidence_table, measure_confidence
from benchmarks.compact.peer import THRESHOLDS, FastReflectionRemoval, make_environment
from benchmarks.compact.quality import (
    harm_table,
    held_out_pictures,
    measure_harm,
    measure_quality,
    quality_table,
)
from benchmarks.compact.resolution import SCENES, measure_pairs, measure_scenes, resolution_tables
from benchmarks.speed import SIZES, measure_speed, speed_table
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator

SectionName = Literal[
    "quality", "rooms", "harm", "rooms_harm", "bright", "rendered", "confidence", "speed", "resolution"
]
TITLES: dict[SectionName, str] = {
    "quality": "Quality",
    "rooms": "Quality on rooms",
    "harm": "Harm",
    "rooms_harm": "Harm on rooms",
    "bright": "Bright backgrounds",
    "rendered": "Rendered scenes",
    "confidence": "Confidence",
    "speed": "Seconds and memory",
    "resolution": "Large pictures",
}
TABLES = {
    "quality": quality_table,
    "rooms": quality_table,
    "harm": harm_table,
    "rooms_harm": harm_table,
    "bright": bright_table,
    "rendered": rendered_table,
    "confidence": confidence_table,
    "speed": speed_table,
    "resolution": resolution_tables,
}


@dataclass(frozen=True)
class Options:
    """Measure the embedded separator."""

    data: Positional[Path]
    """Folder with real_pairs, real_pairs_rooms, natural, natural_more and environments."""
    only: tuple[SectionName, ...] = tuple(TITLES)
    """Sections to measure."""
    weights: Path = WEIGHTS
    """ONNX file to measure; `clearpane remove`, a part of speed, always uses the installed one."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of compact.md and compact.json."""
    cache: Path = ROOT / "build" / "benchmarks"
    """Folder of the peer's environment and results and of the large drawings."""
    quick: bool = False
    """Trial run with three pictures and small sizes; give it another --output."""


@dataclass
class Benchmark:
    """Sections of the benchmark, measured one by one."""

    options: Options
    peers: list[FastReflectionRemoval] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.separator = CompactSeparator(self.options.weights)
        self.pairs = self.options.data / "real_pairs" / "val"
        self.train_pairs = self.options.data / "real_pairs" / "train"
        self.limit = 3 if self.options.quick else None

    def find_peers(self) -> None:
        """Install the peer, or report that its rows are left out."""
        try:
            python = make_environment(self.options.cache / "fast-reflection-removal")
        except ClearpaneError as error:
            print(f"left out: {error}", file=sys.stderr)
            return
        results = self.options.cache / "fast-reflection-removal-results"
        self.peers = [FastReflectionRemoval(python, h, results) for h in THRESHOLDS]

    def measure(self, section: SectionName) -> dict[str, Any]:
        """Measure the figures of one section."""
        options = self.options
        match section:
            case "quality":
                return measure_quality(self.pairs, self.separator, self.peers, self.limit)
            case "rooms":
                folder = options.data / "real_pairs_rooms" / "val"
                return measure_quality(folder, self.separator, [], self.limit)
            case "harm" | "rooms_harm":
                paths = held_out_pictures(options.data, rooms=section == "rooms_harm")[: self.limit]
                peers = self.peers if section == "harm" else []
                return measure_harm(paths, self.separator, peers)
            case "bright":
                return measure_bright(options.data / "natural", self.separator, self.limit)
            case "rendered":
                sets = SCENE_SETS[:1] if options.quick else SCENE_SETS
                return measure_rendered(
                    options.data, self.separator, options.cache / "rendered", sets, self.limit
                )
            case "confidence":
                return measure_confidence(self.pairs, self.separator, self.limit)
            case "speed":
                sizes = SIZES[:2] if options.quick else SIZES
                return measure_speed(options.weights, self.peers[0] if self.peers else None, sizes)
            case "resolution":
                scenes, height = (SCENES[:1], 1200) if options.quick else (SCENES, 3000)
                return {
                    # This section guides a choice, so it does not use the pairs that quality is reported on.
                    "pairs": measure_pairs(self.train_pairs, self.separator, self.limit),
                    "scenes": measure_scenes(options.weights, options.cache / "drawings", scenes, height),
                }


def render(document: dict[str, Any]) -> str:
    """Write the tables as one Markdown page, in the fixed order of sections."""
    parts = ["# The separator `compact`\n"]
    for name, title in TITLES.items():
        if name in document:
            section = document[name]
            about = f"<sub>Weights {section['weights']}; {Machine(**section['machine'])}.</sub>\n"
            parts.append(f"## {title}\n\n{TABLES[name](section)}\n{about}")
    return "\n".join(parts)


def main(options: Options) -> int:
    """Measure, print and write; a section is written as soon as it is done."""
    numbers = options.output / "compact.json"
    document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    try:
        benchmark = Benchmark(options)
        if {"quality", "harm", "speed"} & set(options.only):
            benchmark.find_peers()
        weights = hashlib.sha256(options.weights.read_bytes()).hexdigest()[:12]
        options.output.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            section = {"weights": weights, "machine": describe_machine(), **benchmark.measure(name)}
            print(render({name: section}), flush=True)
            document[name] = section
            write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
            write_page(options.output / "compact.md", render(document), __spec__.name)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
