"""Two workers of a real Ray cluster, of which one is killed at work."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from clearpane.app.cli import main  # noqa: E402
from clearpane.cluster.ray_work import map_on_cluster  # noqa: E402

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(os.name != "posix", reason="kills with a signal")]

HELD = "3"


@pytest.fixture(scope="session")
def two_workers():
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def note(row, job):
    """Note who begins an item; the first who begins HELD works on it until somebody kills him."""
    begun = list(Path(job).glob(f"{row['item']}-*"))
    (Path(job) / f"{row['item']}-{os.getpid()}-{len(begun)}").touch()
    if row["item"] == HELD and not begun:
        time.sleep(600)
    return {"item": row["item"]}


def kill_who_holds(folder: Path) -> None:
    while not (found := list(folder.glob(f"{HELD}-*"))):
        time.sleep(0.05)
    os.kill(int(found[0].name.split("-")[1]), signal.SIGKILL)


def test_a_killed_worker_loses_nothing_and_does_nothing_twice(two_workers, tmp_path: Path) -> None:
    items = [f"{number}" for number in range(6)]
    killer = threading.Thread(target=kill_who_holds, args=(tmp_path,), daemon=True)
    killer.start()
    done = [row["item"] for row in map_on_cluster(note, items, str(tmp_path))]
    killer.join()
    assert sorted(done) == items
    begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert {item: begun.count(item) for item in items} == {item: 1 + (item == HELD) for item in items}


def where(row, job):
    """Look for a file beside the command's folder."""
    return {"item": row["item"], "there": Path(job).read_text()}


def test_relative_paths_start_from_the_folder_of_the_command(
    two_workers, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "a.txt").write_text("found")
    monkeypatch.chdir(tmp_path)
    assert [row["there"] for row in map_on_cluster(where, ["0", "1"], "a.txt")] == ["found", "found"]


def test_scores_come_from_workers_with_their_pictures(
    two_workers, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 200, (24 + number, 32, 3), dtype=np.uint8)
        for folder, kind, added in (
            ("pairs", "transmission", 0),
            ("pairs", "input", 40),
            ("done", "transmission", 9),
        ):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(pixels + np.uint8(added)).save(f"{folder}/{number}_{kind}.png")
    command = ["evaluate", "pairs", "--results", "done", "--csv"]
    assert main([*command, "here.csv", "--report", "here.html"]) == 0
    assert main([*command, "there.csv", "--report", "there.html", "--ray", "auto"]) == 0
    for suffix in ("csv", "html"):
        assert Path(f"there.{suffix}").read_text() == Path(f"here.{suffix}").read_text()
