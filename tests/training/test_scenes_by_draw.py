"""Two, three and more processes share the glass scenes of a data set."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from clearpane.errors import ClearpaneError
from clearpane.synthesis.dataset.shards import read_part
from clearpane.training import scenes_by_draw
from clearpane.training.scenes_by_draw import load_by_draw

from .conftest import write_scenes

ALL = [f"{number:08d}" for number in range(12)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with three shards of four scenes."""
    for shard in range(3):
        write_scenes(tmp_path, shard)
    return tmp_path


def keys(folder: Path, part: int, parts: int) -> list[str]:
    return [sample.key for sample in read_part(sorted(folder.glob("*.tar")), part, parts)]


def load_in(folder: Path, processes: int):
    """What each of some processes loads; the sum over them is that of equal parts."""
    for rank in range(processes):
        process = SimpleNamespace(process_index=rank, num_processes=processes, device="cpu")
        process.reduce = lambda counted, how: counted * processes
        yield load_by_draw(keys, folder, folder, process)


@pytest.mark.parametrize("parts", [1, 2, 3, 5])  # five parts divide the three shards by scene
def test_parts_are_disjoint_and_together_the_whole_set(shards: Path, parts: int) -> None:
    read = [keys(shards, part, parts) for part in range(parts)]
    assert sorted(key for part in read for key in part) == ALL
    whole = all(len(part) % 4 == 0 for part in read)
    assert whole == (parts <= 3)  # no shard is read twice where there are enough


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_ranks_share_the_scenes_and_any_number_of_ranks_draws_the_same(shards, monkeypatch, processes):
    monkeypatch.setattr(scenes_by_draw, "draws_per_step", lambda folder, accelerator: 6)
    loaded = list(load_in(shards, processes))
    assert sorted(key for rank in loaded for key in rank.own) == ALL  # each once
    assert {rank.total for rank in loaded} == {12}
    for draw in range(12, 24):  # the third and fourth step
        assert loaded[draw % 6 % processes].of(draw) == keys(shards, draw % 6, 6)


def test_fewer_scenes_than_draws_are_refused(shards: Path, monkeypatch) -> None:
    for shard in (1, 2):
        (shards / f"shard-{shard:06d}.tar").unlink()
    monkeypatch.setattr(scenes_by_draw, "draws_per_step", lambda folder, accelerator: 5)
    with pytest.raises(ClearpaneError, match="5 draws per step need 5 glass scenes at least"):
        list(load_in(shards, 5))
