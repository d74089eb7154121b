"""The benchmark that kills commands, with a stand-in for the command."""

import json
from collections import Counter

import pytest

from benchmarks.robustness import kill, kill_sizes
from benchmarks.robustness.kill_cases import Case

CASE = Case("stand-in", lambda folder: [], (), (".txt",))


class StandIn:
    """A command that writes two files, the second one differently after a kill."""

    killed = False

    def __init__(self, case, folder):
        self.log = folder / "log.txt"
        self.log.write_text("")

    def run(self, output, seconds=None):
        output.mkdir(exist_ok=True)
        (output / "same.txt").write_text("a")
        if seconds is not None and not StandIn.killed:
            StandIn.killed = True
            return None
        (output / "other.txt").write_text("killed before" if StandIn.killed else "whole")
        (output / ".hidden").touch()
        return 0


def test_what_a_kill_changes_and_leaves_is_counted_and_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "Runner", StandIn)
    result = kill.measure(CASE, tmp_path, kill.Options(kills=1), 60)
    assert (result.kills, result.ends, result.other_end) == (1, 1, 0)
    facts = json.loads(json.dumps(result.facts()))
    assert facts["different"] == {"other.txt": 1}
    assert facts["left"] == {".hidden": 1}
    assert result.different == Counter({"other.txt": 1})
    result.add({**facts, "half_written": {"a.png": "cut"}})
    assert (result.kills, result.ends, result.different["other.txt"], result.left[".hidden"]) == (2, 2, 2, 2)
    assert result.half_written["a.png"] == "cut"


def test_a_run_whose_modules_were_not_loaded_before_is_refused(tmp_path):
    case = Case("stand-in", lambda folder: [], ("kill_me_not",), ())
    with pytest.raises(AssertionError, match="kill_me_not"):
        kill.work(case, [], str(tmp_path / "log.txt"))


def test_the_sizes_that_are_made_smaller_exist(monkeypatch):
    seen = {}

    def look(module, **constants):
        seen.update({name: getattr(module, name) for name in constants})

    monkeypatch.setattr(kill_sizes, "_set", look)
    kill_sizes.small_reconstruction()
    assert seen
