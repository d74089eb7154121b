"""Split the environments into those that LIRM trains on and those that its benchmarks use.

    python -m benchmarks.lirm.held_out_environments DATA

Makes build/benchmarks/lirm/environments/train, for `clearpane train lirm --environments`, and beside it
held-out.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from benchmarks.common.measuring import ROOT
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES

_HELD_OUT = 2


@dataclass(frozen=True)
class Options:
    """Split a folder of environments."""

    data: Positional[Path]
    """Folder with environments."""
    cache: Path = ROOT / "build" / "benchmarks" / "lirm" / "environments"
    """Folder of both parts."""


def split_environments(folder: Path, cache: Path) -> tuple[Path, Path]:
    """Make two folders of links: the maps to train with, and the last two by name, to measure with."""
    maps = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENVIRONMENT_SUFFIXES)
    parts = {"train": maps[:-_HELD_OUT], "held-out": maps[-_HELD_OUT:]}
    for name, paths in parts.items():
        (cache / name).mkdir(parents=True, exist_ok=True)
        wanted = {path.name: path.resolve() for path in paths}
        for link in (cache / name).iterdir():
            # A link to another folder, or one that has moved to the other part; the rest may be in use.
            if wanted.get(link.name) != link.readlink():
                link.unlink()
        for file, target in wanted.items():
            if not (cache / name / file).is_symlink():
                (cache / name / file).symlink_to(target)
    return cache / "train", cache / "held-out"


def main(options: Options) -> int:
    """Make both folders."""
    for folder in split_environments(options.data / "environments", options.cache):
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
