"""Quality on rendered scenes behind flat, bent and eyeglass panes, whose pictures were held out of training.

The sets are drawn once, by `clearpane synthesize`, into the cache: flat panes by the analytic renderer,
curved ones by the path tracer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.harm import harm, summarise_harm
from clearpane.evaluation.metrics import psnr, to_8bit
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import CompactSeparator
from markdown import interval, table

_SIZE = 192
_SEED = 77
# Nothing but the pane's shape tells the sets apart.
_PLAIN = dict.fromkeys(
    (
        "bent_chance",
        "lens_chance",
        "wedged_chance",
        "double_chance",
        "rough_chance",
        "dust_chance",
        "tone_chance",
        "polarizer_chance",
    ),
    0.0,
)


@dataclass(frozen=True)
class SceneSet:
    """A set of scenes: its name, how many, what differs from a flat pane, and who renders it."""

    name: str
    count: int
    ranges: dict[str, float]
    renderer: tuple[str, ...]


SCENE_SETS = (
    SceneSet("flat panes", 60, {}, ("analytic",)),
    SceneSet("bent panes", 24, {"bent_chance": 1.0}, ("mitsuba", "--samples", "128")),
    SceneSet("eyeglass lenses", 24, {"lens_chance": 1.0}, ("mitsuba", "--samples", "128")),
)


def measure_rendered(
    data: Path, separator: CompactSeparator, cache: Path, sets: Sequence[SceneSet], limit: int | None
) -> dict[str, Any]:
    """Score the separator on the sets, at most ``limit`` scenes of each.

    Raises:
        MissingExtraError: [train] or [synthesis] is not installed.
        ClearpaneError: a set cannot be drawn.
    """
    try:
        from clearpane.training.pictures import load_glass_scenes, natural_paths
    except ModuleNotFoundError as error:
        raise MissingExtraError("the benchmark of rendered scenes", "train") from error

    backgrounds = cache / "held_out"
    backgrounds.mkdir(parents=True, exist_ok=True)
    for path in natural_paths(data / "natural", held_out=True):
        link = backgrounds / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    rows = []
    for scene_set in sets:
        folder = cache / scene_set.name.replace(" ", "_")
        _draw(scene_set, min(scene_set.count, limit or scene_set.count), folder, backgrounds, data)
        before, after, harms = [], [], []
        for scene in load_glass_scenes(folder)[:limit]:
            photo, truth = (
                x.permute(1, 2, 0).numpy().astype(np.float32) / 255 for x in (scene.input, scene.background)
            )
            result = separator.separate(photo).transmission
            before.append(psnr(to_8bit(photo), to_8bit(truth)))
            after.append(psnr(to_8bit(result), to_8bit(truth)))
            harms.append(harm(result, truth))
        gains = np.subtract(after, before)
        rows.append(
            {
                "name": scene_set.name,
                "scenes": len(before),
                "nothing": float(np.mean(before)),
                "psnr": float(np.mean(after)),
                "gain": asdict(bootstrap_mean(gains)),
                "better": int((gains > 0).sum()),
                "false_removal_rate": summarise_harm(harms).false_removal_rate,
            }
        )
    return {"rows": rows}


def _draw(scene_set: SceneSet, count: int, folder: Path, backgrounds: Path, data: Path) -> None:
    """Draw the set, or go on with it."""
    ranges = folder.with_suffix(".json")
    write_text(ranges, json.dumps(_PLAIN | scene_set.ranges), overwrite=True)
    command = [sys.executable, "-m", "clearpane", "synthesize", "--output", folder, "--count", count]
    command += ["--backgrounds", backgrounds, "--environments", data / "environments", "--ranges", ranges]
    command += ["--layers", "I,T,R,B", "--size", _SIZE, "--seed", _SEED]
    command += ["--workers", os.cpu_count(), "--renderer", *scene_set.renderer]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ClearpaneError(f"{scene_set.name} could not be drawn: {reason}")


def rendered_table(section: dict[str, Any]) -> str:
    lines = [
        [
            f"{row['name']} ({row['scenes']})",
            f"{row['nothing']:.2f}",
            f"{row['psnr']:.2f}",
            interval(row["gain"]),
            f"{row['better']} of {row['scenes']}",
            "" if row["false_removal_rate"] is None else f"{100 * row['false_removal_rate']:.2f} %",
        ]
        for row in section["rows"]
    ]
    head = ["scenes", "do nothing", "PSNR", "gain", "better than doing nothing", "false removal"]
    return (
        f"Scenes of {_SIZE} x {_SIZE} pixels drawn from the held-out natural pictures, flat panes by the "
        "analytic renderer, curved ones path-traced; the truth is the scene without the glass where the "
        "glass shows it. PSNR, dB; the gain with its paired 95 % bootstrap interval. False removal: pixels "
        "of the truth with a luma above 0.9 that came out more than 0.05 darker.\n\n" + table(head, lines)
    )
