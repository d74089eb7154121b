"""`remove` and `synthesize` with inputs and outputs at addresses; the work is done in this process."""

import json
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")

from clearpane.app import ray_remove, remove_pictures  # noqa: E402
from clearpane.app.cli import main  # noqa: E402
from clearpane.cluster import addresses  # noqa: E402
from clearpane.separation.layers import Layers  # noqa: E402

PLAIN = {
    f"{name}_chance": 0 for name in ("wedged", "double", "bent", "lens", "rough", "defocus", "polarizer")
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class Halve:
    def separate(self, image, *, quality, confidence):
        return Layers(image / 2, image / 2)


@pytest.fixture
def store(photos: Path, tmp_path: Path, monkeypatch):
    """The memory file system with the photographs in /shop, and caches in the test's folder."""
    monkeypatch.setattr(addresses.tempfile, "tempdir", str(tmp_path))
    system = fsspec.filesystem("memory")
    system.put(f"{photos}/", "/shop/", recursive=True)
    yield system
    for folder in ("/shop", "/clean", "/glass"):
        if system.exists(folder):
            system.rm(folder, recursive=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Use a separator that takes no time."""
    monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: Halve())
    ray_remove._separator.cache_clear()
    yield
    ray_remove._separator.cache_clear()


def test_photographs_at_addresses_get_the_same_results_as_files(
    store, photos: Path, in_process: list[str], tmp_path: Path, capsys
) -> None:
    store.pipe({"/shop/sub/bad.jpg": b"no picture", "/shop/0_transmission.png": b"an earlier result"})
    code = main(["remove", "memory://shop", "--output", "memory://clean", "--ray", "auto", "--recursive"])
    printed = capsys.readouterr()
    assert code == 1 and printed.out.count("memory://clean/") == 3 and "3 done" in printed.err
    assert "1 failed" in printed.err and "memory://shop/sub/bad.jpg" in printed.err
    assert main(["remove", str(photos), "--output", str(tmp_path / "out")]) == 0
    there = {path.rpartition("/")[2]: store.cat(path) for path in store.find("/clean")}
    assert there == contents(tmp_path / "out") and len(there) == 3

    in_process.clear()
    store.rm("/clean/1_transmission.png")
    assert main(["remove", "memory://shop", "--output", "memory://clean", "--ray", "auto"]) == 0
    assert [json.loads(item)["source"] for item in in_process] == ["memory:/shop/1.png"]
    assert "2 skipped" in capsys.readouterr().err


def test_a_picture_done_by_a_worker_that_died_is_done(store, photos: Path, in_process, tmp_path, monkeypatch):
    once = ray_remove.map_on_cluster
    attempts = lambda *arguments: list(once(*arguments)) and once(*arguments)  # noqa: E731
    monkeypatch.setattr(ray_remove, "map_on_cluster", attempts)
    out = tmp_path / "out"
    assert main(["remove", f"file://{photos}", "--output", f"file://{out}", "--ray", "auto"]) == 0
    assert len(in_process) == 6 and len(contents(out)) == 3


def test_pictures_without_a_result_are_reported(photos: Path, monkeypatch, in_process, tmp_path, capsys):
    monkeypatch.setattr(ray_remove, "map_on_cluster", lambda work, items, job: iter(()))
    assert main(["remove", str(photos), "--output", str(tmp_path / "out"), "--ray", "auto"]) == 1
    assert capsys.readouterr().err.count("its worker was ended each time") == 3


def test_a_data_set_at_an_address_has_the_same_bytes(
    store, photos: Path, in_process: list[str], tmp_path: Path
):
    (tmp_path / "ranges.json").write_text(json.dumps(PLAIN))
    options = f"--count 3 --ranges {tmp_path / 'ranges.json'} --size 16 --samples-per-shard 2".split()
    remote = ["synthesize", "--output", "memory://glass", "--backgrounds", "memory://shop", "--ray", "auto"]
    assert main([*remote, *options]) == 0 and len(in_process) == 2
    store.pipe({"/glass/shard-000000.tar": b"damaged", "/glass/shard-000009.tar": b"of a stopped run"})
    assert main([*remote, *options]) == 0 and len(in_process) == 3
    same = photos.rename(photos.with_name("shop"))
    local = ["synthesize", "--output", str(tmp_path / "out"), "--backgrounds", str(same), "--workers", "1"]
    assert main([*local, *options]) == 0
    there = {path.rpartition("/")[2]: store.cat(path) for path in store.find("/glass")}
    assert there == contents(tmp_path / "out") and len(there) == 4


def test_an_address_needs_a_cluster(capsys) -> None:
    code = main(["synthesize", "--output", "s3://a", "--backgrounds", "photos", "--count", "1"])
    assert code == 2 and "--output s3://a: an address needs --ray" in capsys.readouterr().err
