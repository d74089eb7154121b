"""A small photograph folder, and work that goes through in this process instead of on a cluster."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import ray_batch, ray_evaluate, ray_remove, ray_synthesize, remove_pictures
from clearpane.cluster import addresses
from clearpane.separation.layers import Layers

PLAIN = {
    f"{name}_chance": 0 for name in ("wedged", "double", "bent", "lens", "rough", "defocus", "polarizer")
}


class Halve:
    """A separator that takes no time."""

    def separate(self, image, *, quality, confidence=False):
        return Layers(image / 2, image / 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def quick(monkeypatch):
    """Use a separator that takes no time."""
    monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: Halve())
    ray_remove._separator.cache_clear()
    yield
    ray_remove._separator.cache_clear()


@pytest.fixture
def store(photos: Path, tmp_path: Path, monkeypatch):
    """The memory file system with the photographs in /shop, and caches in the test's folder."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(addresses.tempfile, "tempdir", str(tmp_path))
    system = fsspec.filesystem("memory")
    system.put(f"{photos}/", "/shop/", recursive=True)
    yield system
    for folder in system.ls("/", detail=False):
        system.rm(folder, recursive=True)


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

    for module in (ray_batch, ray_evaluate, ray_synthesize):
        monkeypatch.setattr(module, "cluster", contextlib.nullcontext)
        monkeypatch.setattr(module, "map_on_cluster", one_by_one)
    return done
