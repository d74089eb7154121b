"""A small photograph folder, and work that goes through in this process instead of on a cluster."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import ray_remove, ray_synthesize


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((48, 36), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """Let items be worked on here, one after the other; return the list of the items worked on."""
    done: list[str] = []

    def one_by_one(work, items, job):
        for item in items:
            done.append(item)
            yield work({"item": item}, job)

    for module in (ray_remove, ray_synthesize):
        monkeypatch.setattr(module, "cluster", contextlib.nullcontext)
        monkeypatch.setattr(module, "map_on_cluster", one_by_one)
    return done
