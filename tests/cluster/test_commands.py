"""`remove` and `synthesize` with inputs and outputs at addresses; the work is done in this process."""

import json
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")

from clearpane.app import ray_batch  # noqa: E402
from clearpane.app.cli import main  # noqa: E402

from .conftest import PLAIN, contents  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick")


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
    once = ray_batch.map_on_cluster
    attempts = lambda *arguments: list(once(*arguments)) and once(*arguments)  # noqa: E731
    monkeypatch.setattr(ray_batch, "map_on_cluster", attempts)
    out = tmp_path / "out"
    assert main(["remove", f"file://{photos}", "--output", f"file://{out}", "--ray", "auto"]) == 0
    assert len(in_process) == 6 and len(contents(out)) == 3


def test_pictures_without_a_result_are_reported(photos: Path, monkeypatch, in_process, tmp_path, capsys):
    monkeypatch.setattr(ray_batch, "map_on_cluster", lambda work, items, job: iter(()))
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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("synthesize --output s3://a --backgrounds photos --count 1", "--output s3://a"),
        ("remove s3://a --output out", "error: s3://a"),
        ("evaluate pairs --csv s3://a/b.csv", "--csv s3://a/b.csv"),
        ("reconstruct s3://a --output a.glb", "error: s3://a"),
    ],
)
def test_an_address_needs_a_cluster(words: str, named: str, capsys) -> None:
    assert main(words.split()) == 2
    assert f"{named}: an address needs --ray" in capsys.readouterr().err
