"""Render sets of glass scenes for the benchmarks, once, into their cache."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text

# Plain panes in a plain camera; sets state their differences from this.
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


def run_clearpane(*arguments: object) -> None:
    """Run the command line in its own process.

    Raises:
        ClearpaneError: The command failed; the message holds its last line.
    """
    command = [sys.executable, "-m", "clearpane", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ClearpaneError(f"clearpane {arguments[0]}: {reason}")


def copy_pictures(paths: Iterable[Path], folder: Path) -> Path:
    """Make a folder with copies of these pictures only."""
    wanted = {path.name: path for path in paths}
    folder.mkdir(parents=True, exist_ok=True)
    for there in folder.iterdir():
        if there.name not in wanted:
            there.unlink()
    for name, path in wanted.items():
        if not (folder / name).is_file():
            shutil.copyfile(path, folder / name)
    return folder


def draw_glass_set(
    folder: Path,
    count: int,
    size: int,
    seed: int,
    backgrounds: Path,
    environments: Path,
    renderer: Sequence[str],
    ranges: Mapping[str, float],
) -> Path:
    """Render ``count`` plain scenes of ``size`` pixels with the layers I, T, R and B, or resume.

    Args:
        renderer: Name and options of the renderer, as `clearpane synthesize` takes them.
        ranges: Differences of the scenes from plain ones.

    Raises:
        ClearpaneError: The set cannot be rendered.
    """
    file = folder.with_suffix(".json")
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(_PLAIN | ranges), overwrite=True)
    run_clearpane(
        *("synthesize", "--output", folder, "--count", count, "--size", size, "--seed", seed),
        *("--backgrounds", backgrounds, "--environments", environments, "--ranges", file),
        *("--layers", "I,T,R,B", "--samples-per-shard", 10, "--workers", os.cpu_count() or 1),
        *("--renderer", *renderer),
    )
    return folder
