"""Runs of a benchmark: known ones, interruptions, and the end of a script."""

import importlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from benchmarks.common import runs
from benchmarks.common.markdown import table
from benchmarks.common.runs import finish_runs
from clearpane.errors import ClearpaneError


def test_runs_are_given_as_they_end_and_known_ones_hold_for_their_base_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a worker finds its module all the same
    wanted = {"a": ("x", []), "b": ("y", [])}
    assert dict(runs.finish_runs(table, wanted, 2)) == {"a": table("x", []), "b": table("y", [])}
    numbers = tmp_path / "runs.json"
    assert runs.known_runs(numbers, "one") == {"base": "one", "runs": {}}
    numbers.write_text('{"base": "one", "runs": {"a": 1}}')
    assert runs.known_runs(numbers, "one")["runs"] == {"a": 1}
    assert runs.known_runs(numbers, "two") == {"base": "two", "runs": {}}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interruption_ends_the_runs_that_wait_too(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    work = importlib.import_module("interruptible_run").save_when_asked
    jobs = {name: (tmp_path, name, 0.05 if name == "a" else 600) for name in "abcdefgh"}
    runs = finish_runs(work, jobs, 1)
    assert next(runs) == ("a", None)
    while not (tmp_path / "b began").exists():
        time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        runs.throw(KeyboardInterrupt())
    assert (tmp_path / "b saved").exists() and not (tmp_path / "h began").exists()
    assert not multiprocessing.active_children()


def test_a_script_s_end_is_its_tables_one_line_or_an_interruption(monkeypatch, capsys):
    monkeypatch.setattr(runs.signal, "signal", lambda *arguments: None)

    def fail(error):
        raise error

    assert runs.finish(lambda: "| table |") == 0
    assert capsys.readouterr().out == "| table |\n"
    assert runs.finish(lambda: fail(ClearpaneError("no such file"))) == 1
    assert capsys.readouterr().err == "error: no such file\n"
    assert runs.finish(lambda: fail(KeyboardInterrupt())) == 130
