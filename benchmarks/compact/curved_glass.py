"""Measure the effect of training on curved glass: one network with flat panes, one with curved panes too.

    python -m benchmarks.compact.curved_glass DATA --planar PLANAR.onnx --mixed MIXED.onnx

SIRR-LMM leaves curved glass open. The two networks are runs of `clearpane train compact` that differ only in
--glass and --seed. Both are scored on the rendered scenes of `benchmarks.compact.measure --only rendered`
(rendered once, into the same cache), behind flat, bent and lens-shaped panes. The script prints its table and
writes docs/figures/curved_glass.md and curved_glass.json. Needs the extras [train] and [synthesis].
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import interval, table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.rendered_scenes import SCENE_SETS, draw_scene_sets, score_scenes
from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import CompactSeparator


@dataclass(frozen=True)
class Options:
    """Compare a network trained on flat panes with one trained on curved panes as well."""

    data: Positional[Path]
    """Folder with natural and environments."""
    planar: Path
    """compact.onnx of the run on flat panes."""
    mixed: Path
    """compact.onnx of the run on flat and curved panes."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of curved_glass.md and curved_glass.json."""
    cache: Path = ROOT / "build" / "benchmarks" / "rendered"
    """Folder of the scenes."""


def measure(options: Options) -> dict[str, Any]:
    """Score both networks on every set.

    Raises:
        ClearpaneError: A set cannot be rendered, or a network cannot be read.
    """
    separators = [CompactSeparator(weights) for weights in (options.planar, options.mixed)]
    rows = []
    for name, folder in draw_scene_sets(options.data, options.cache, SCENE_SETS, None).items():
        planar, mixed = (score_scenes(folder, separator) for separator in separators)
        rows.append(
            {
                "name": name,
                "scenes": len(planar.before),
                "nothing": float(planar.before.mean()),
                "planar": float(planar.after.mean()),
                "mixed": float(mixed.after.mean()),
                "difference": asdict(bootstrap_mean(mixed.after - planar.after)),
            }
        )
    weights = [hashlib.sha256(x.read_bytes()).hexdigest()[:12] for x in (options.planar, options.mixed)]
    return {"weights": weights, "machine": describe_machine(), "rows": rows}


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    lines = [
        [
            f"{row['name']} ({row['scenes']})",
            *(f"{row[key]:.2f}" for key in ("nothing", "planar", "mixed")),
            interval(row["difference"]),
        ]
        for row in document["rows"]
    ]
    head = ["scenes", "do nothing", "trained on flat panes", "on flat and curved panes", "difference"]
    planar, mixed = document["weights"]
    return (
        "# Curved glass\n\n"
        "Two runs that differ in their glass scenes and their seed. PSNR in dB, the difference with its "
        "paired 95 % bootstrap interval over the scenes; how far runs of other seeds differ is not in it. "
        "Backgrounds held out of training.\n\n"
        + table(head, lines)
        + f"\n<sub>Weights {planar} and {mixed}; {Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Measure, print and write."""
    try:
        document = measure(options)
        options.output.mkdir(parents=True, exist_ok=True)
        numbers = options.output / "curved_glass.json"
        write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
        write_page(options.output / "curved_glass.md", render(document), __spec__.name)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
