"""Environments that LIRM's weights are trained on, and those that its benchmarks keep for themselves."""

from pathlib import Path

_HELD_OUT = 2


def split_environments(folder: Path, cache: Path) -> tuple[Path, Path]:
    """Two folders of links: the maps to train with, and the last two by name, to measure with."""
    maps = sorted(p for p in folder.iterdir() if p.suffix in (".hdr", ".exr"))
    parts = {"train": maps[:-_HELD_OUT], "held-out": maps[-_HELD_OUT:]}
    for name, paths in parts.items():
        (cache / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            link = cache / name / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    return cache / "train", cache / "held-out"
