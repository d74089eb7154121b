import importlib
import math
import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.synthesis.dataset.parallel import workers


def test_results_come_in_order_from_several_processes() -> None:
    with workers(math.sqrt, 2) as ordered:
        assert list(ordered(range(20))) == [math.sqrt(number) for number in range(20)]
    assert not multiprocessing.active_children()


def test_one_worker_is_this_process_with_one_thread() -> None:
    before = torch.get_num_threads()
    with workers(lambda number: (number, os.getpid(), torch.get_num_threads()), 1) as ordered:
        assert list(ordered([5])) == [(5, os.getpid(), 1)]
    assert torch.get_num_threads() == before


def test_a_killed_worker_is_said_in_one_line() -> None:
    with (
        pytest.raises(ClearpaneError, match=r"ended from outside.*`workers`"),
        workers(os._exit, 2) as ordered,
    ):
        list(ordered(range(3)))


def test_leaving_does_not_wait_for_the_work() -> None:
    with pytest.raises(KeyboardInterrupt), workers(time.sleep, 2) as ordered:
        results = ordered([0, 3600, 3600, 3600, 3600, 3600])
        next(results)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


# Worker processes cannot import the tests: what they do must lie on their path.
SLOW_RESULTS = """
import time


class Slow:
    # Takes its time to be sent, and says where it stands.
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        (self.folder / "begun").touch()
        time.sleep(1)
        (self.folder / "sent").touch()
        return int, (1,)


def send_slowly(folder, number):
    return Slow(folder) if number else 0
"""


def test_a_worker_is_not_ended_while_it_sends_for_the_parent_would_wait_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_results.py").write_text(SLOW_RESULTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    send_slowly = importlib.import_module("slow_results").send_slowly
    with workers(partial(send_slowly, tmp_path), 2) as ordered:
        assert next(ordered(range(100))) == 0
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
    assert (tmp_path / "sent").exists()
    assert not multiprocessing.active_children()
