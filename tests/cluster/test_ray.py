"""Two workers of a real Ray cluster, of which one is killed at work."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

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
