import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clearpane.errors import ClearpaneError
from clearpane.synthesis.dataset.datacard import data_card
from clearpane.synthesis.dataset.manifest import DataSet, Shard, planned_shards
from clearpane.synthesis.dataset.shards import EncodedSample, sample_key

RECIPE: dict[str, Any] = {
    "version": "1.0",
    "renderer": "analytic",
    "height": 32,
    "width": 32,
    "layers": ["I", "T", "R"],
    "format": "png16",
    "samples_per_shard": 3,
    "ranges": {
        "yaw": [0.0, 60.0],
        "dome_chance": 0.3,
        "reflection_level": [0.13, 0.9],
        "blueness": [0.5, 0.35],
    },
    "backgrounds": {"folder": "natural", "pictures": 2, "sha256": "ab"},
    "environments": None,
}


def drawn(indices: Iterable[int]) -> Iterator[EncodedSample]:
    for i in indices:
        pane = "flat" if i % 4 else "double"
        files = {"json": f"{i}".encode(), "t.png": bytes([i % 256]) * 700}
        yield EncodedSample(sample_key(i), files, pane, "screen", {"T": 0.25 * i, "R": 0.5})


def make(folder: Path, count: int, recipe: dict[str, Any] = RECIPE) -> list[Shard]:
    data_set = DataSet.prepare(folder, recipe, count)
    missing = data_set.missing()
    for shard in missing:
        data_set.write(shard, drawn(shard.samples))
    data_set.write_card(data_card(data_set, "clearpane synthesize"))
    return missing


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_plan_covers_every_sample_once() -> None:
    plan = planned_shards(250, 100)
    assert [i for shard in plan for i in shard.samples] == list(range(250))
    assert [len(shard.samples) for shard in plan] == [100, 100, 50]


def test_the_manifest_vouches_for_the_shards(tmp_path: Path) -> None:
    make(tmp_path / "new" / "set", 7)
    folder = tmp_path / "new" / "set"
    names = [f"shard-{i:06d}.tar" for i in range(3)]
    assert sorted(contents(folder)) == ["DATASET.md", "manifest.json", *names]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["recipe"] == RECIPE
    for entry, samples in zip(manifest["shards"], (3, 3, 1), strict=True):
        data = (folder / entry["name"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry["samples"] == samples
    assert manifest["shards"][1]["panes"] == {"double": 1, "flat": 2}
    assert manifest["shards"][1]["light"] == {"T": 1.0, "R": 0.5}
    loaded = DataSet.load(folder)
    assert loaded.held == 7 and loaded.missing() == []


def test_whole_shards_are_kept_and_the_rest_is_made_again(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    make(whole, 8)
    make(broken, 8)
    (broken / "shard-000000.tar").unlink()
    damaged = broken / "shard-000002.tar"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    leftover = broken / ".clearpane-0123"
    leftover.mkdir()
    (leftover / "lock").touch()
    (leftover / "new.tar").write_bytes(b"left by a killed run")
    (broken / "shard-000003.tar").write_bytes(b"whole, but killed before the manifest was written")
    kept = (broken / "shard-000001.tar").stat()
    made = make(broken, 8)
    assert [shard.name for shard in made] == ["shard-000000.tar", "shard-000002.tar"]
    assert (broken / "shard-000001.tar").stat().st_mtime_ns == kept.st_mtime_ns
    assert contents(broken) == contents(whole)


def test_a_data_set_can_grow(tmp_path: Path) -> None:
    make(tmp_path / "grown", 4)
    made = make(tmp_path / "grown", 8)
    assert [shard.name for shard in made] == ["shard-000001.tar", "shard-000002.tar"]
    make(tmp_path / "at_once", 8)
    assert contents(tmp_path / "grown") == contents(tmp_path / "at_once")


def test_other_data_is_not_mixed_in(tmp_path: Path) -> None:
    make(tmp_path, 4)
    before = contents(tmp_path)
    others = {
        "width: 32 there, 64 requested": RECIPE | {"width": 64},
        "pictures: 2 there, 3 requested": RECIPE
        | {"backgrounds": {"folder": "natural", "pictures": 3, "sha256": "cd"}},
        "environments: None there": RECIPE | {"environments": {"folder": "e", "pictures": 1, "sha256": "ef"}},
        "seed: None there, 1 requested": RECIPE | {"seed": 1},
    }
    for text, recipe in others.items():
        with pytest.raises(ClearpaneError, match=f"holds a data set made otherwise .*{text}.*`overwrite`"):
            DataSet.prepare(tmp_path, recipe, 4)
    with pytest.raises(ClearpaneError, match="holds 4 samples already"):
        DataSet.prepare(tmp_path, RECIPE, 3)
    assert contents(tmp_path) == before
    DataSet.prepare(tmp_path, RECIPE | {"width": 64}, 4, overwrite=True)
    assert set(contents(tmp_path)) == {"manifest.json"}


def test_overwriting_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    make(tmp_path, 4)
    DataSet.prepare(tmp_path, RECIPE, 1, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_shard_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path, 3)
    before = contents(tmp_path)

    def failing(error: Exception) -> Iterator[EncodedSample]:
        yield from drawn([3, 4])
        raise error

    data_set = DataSet.prepare(tmp_path, RECIPE, 6)
    (shard,) = data_set.missing()
    unfinished = contents(tmp_path)
    for error in (ClearpaneError("x.hdr: damaged"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            data_set.write(shard, failing(error))
        assert contents(tmp_path) == unfinished
    assert set(before) - set(unfinished) == {"DATASET.md"}, "a card of fewer samples would not hold any more"


def test_a_shard_without_its_line_in_the_manifest_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set = DataSet.prepare(tmp_path, RECIPE, 6)
    first, second = data_set.missing()
    data_set.write(first, drawn(first.samples))
    before = contents(tmp_path)

    def full(self: DataSet) -> None:
        raise ClearpaneError("manifest.json: writing failed")

    with monkeypatch.context() as patch, pytest.raises(ClearpaneError, match="manifest"):
        patch.setattr(DataSet, "_write_manifest", full)
        data_set.write(second, drawn(second.samples))
    assert contents(tmp_path) == before
    assert data_set.held == 3


def test_ctrl_c_when_the_manifest_is_just_written_keeps_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set = DataSet.prepare(tmp_path, RECIPE, 6)
    (first, _) = data_set.missing()
    write = DataSet._write_manifest

    def interrupted(self: DataSet) -> None:
        write(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DataSet, "_write_manifest", interrupted)
        data_set.write(first, drawn(first.samples))
    assert data_set.held == 3 and DataSet.load(tmp_path).held == 3
    assert (tmp_path / first.name).is_file()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    data_set = DataSet.prepare(tmp_path, RECIPE, 6)
    first, second = data_set.missing()
    data_set.write(first, drawn(first.samples))
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))  # fails when written, as a full disk does
    try:
        with pytest.raises(
            ClearpaneError, match=r"shard-000001\.tar: writing failed .*free some space"
        ) as caught:
            data_set.write(second, drawn(second.samples))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    data_set.write(second, drawn(second.samples))
    assert DataSet.load(tmp_path).missing() == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError, match=r"no data set here \(no manifest.json\)"):
        DataSet.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ClearpaneError, match="is a file; name a folder"):
        DataSet.prepare(tmp_path / "file", RECIPE, 1)
    with pytest.raises(ClearpaneError, match="cannot be used for a data set"):
        DataSet.prepare(tmp_path / "file" / "in", RECIPE, 1)
    (tmp_path / "shard-000000.tar").write_bytes(b"whose?")
    with pytest.raises(ClearpaneError, match="holds shards but no manifest"):
        DataSet.prepare(tmp_path, RECIPE, 1)
    for text in ("{", "[]", '{"shards": [{"name": 1}]}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ClearpaneError, match=r"manifest.json: damaged \(.*`overwrite`"):
            DataSet.prepare(tmp_path, RECIPE, 1)


def test_the_card_says_what_the_manifest_holds(tmp_path: Path) -> None:
    make(tmp_path, 8)
    card = (tmp_path / "DATASET.md").read_text()
    assert hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest() in card
    for line in (
        "| T | `KEY.t.png` |",
        "| panes | flat 6, double 2 |",
        "| mean linear light (1 is white) | T 0.875, R 0.500 |",
        "| yaw | 0 to 60 |",
        "| dome_chance | 0.3 |",
        "| reflection_level | median 0.13, standard deviation of the logarithm 0.9 |",
        "| blueness | mean of the logarithm 0.5, its standard deviation 0.35 |",
        "| backgrounds | natural | 2 | `ab` |",
    ):
        assert line in card
    assert "environments |" not in card and "`KEY.b.png`" not in card
