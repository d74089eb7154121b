"""A killed program leaves nothing half-written, and nothing for good."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clearpane import files
from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, atomic_path, remove_leftovers, temporary_folder
from clearpane.locks import only_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
# What changes a folder, or could be seen half done, as Python tells its audit hooks.
EVENTS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock"}


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a copy of this process that ends at once before a system call; return whether it did."""
    process = os.fork()
    if process == 0:
        calls = [0]

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in EVENTS:
                calls[0] += 1
                if calls[0] > number:
                    os._exit(9)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


def hidden(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_is_the_old_or_the_new_one_wherever_the_program_is_killed(tmp_path, overwrite):
    def write() -> None:
        with atomic_path(target, overwrite) as temporary:
            temporary.write_text("new")

    number, target = 0, tmp_path / "0" / "a.txt"
    while True:
        target = tmp_path / str(number) / "a.txt"
        target.parent.mkdir()
        if overwrite:
            target.write_text("old")
        if not killed_at(number, write):
            break
        there = target.read_text() if target.exists() else None
        assert there in (("old", "new") if overwrite else (None, "new"))
        remove_leftovers(target.parent)
        assert hidden(target.parent) == []
        assert there == (target.read_text() if target.exists() else None)
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_text("after")
        assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("a.txt", "after")]
        number += 1
    assert number > 8 and target.read_text() == "new"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one_wherever_the_program_is_killed(tmp_path, monkeypatch, exchange):
    if not exchange:  # as on a system that cannot swap two names
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)

    def write() -> None:
        with atomic_folder(target, overwrite=True) as folder:
            (folder / "b").write_text("new")
            (folder / "c").write_text("new")

    number, target, seen = 0, tmp_path / "0" / "model", set()
    while True:
        target = tmp_path / str(number) / "model"
        target.mkdir(parents=True)
        (target / "a").write_text("old")
        if not killed_at(number, write):
            break
        if exchange:
            assert target.is_dir()
        remove_leftovers(target.parent)
        assert hidden(target.parent) == []
        there = sorted(path.name for path in target.iterdir())
        assert there in (["a"], ["b", "c"])
        seen.add(tuple(there))
        number += 1
    assert number > 8 and seen == {("a",), ("b", "c")}


def test_a_program_killed_while_it_removes_leftovers_is_followed_by_another(tmp_path):
    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.with_name("more").mkdir()
            os._exit(9)

    for number in range(12):
        killed_at(1000, write)
        assert len(hidden(tmp_path)) == 1
        killed_at(number, lambda: remove_leftovers(tmp_path))
        remove_leftovers(tmp_path)
        assert hidden(tmp_path) == []


def test_what_a_running_program_writes_is_left_alone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from clearpane.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1]) / 'a.txt') as temporary:\n"
        "    temporary.write_text('whole'); print('begun', flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "begun\n"
        remove_leftovers(tmp_path)
        with atomic_path(tmp_path / "b.txt") as temporary:
            temporary.write_text("ours")
            remove_leftovers(tmp_path)  # nor what this one writes
        assert len(hidden(tmp_path)) == 1
        other.communicate("\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_writing_and_removing_leftovers_at_once_do_not_meet(tmp_path):
    failures: list[BaseException] = []
    end = time.monotonic() + 1

    def write(name: str) -> None:
        try:
            while time.monotonic() < end:
                with atomic_path(tmp_path / name, overwrite=True) as temporary:
                    temporary.write_text(name)
                assert (tmp_path / name).read_text() == name
        except BaseException as error:
            failures.append(error)

    def sweep() -> None:
        while time.monotonic() < end:
            remove_leftovers(tmp_path)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    threads += [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_link_that_is_named_like_a_leftover_is_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    for name in ("lock", "thesis.txt"):
        (tmp_path / "theirs" / name).write_text("mine")
    (tmp_path / ".clearpane-0123").symlink_to(tmp_path / "theirs")
    remove_leftovers(tmp_path)
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "mine"


def test_on_a_disk_without_locks_nothing_is_removed_and_writing_works(tmp_path, monkeypatch):
    def refuse(handle: int, wait: bool) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("clearpane.locks._lock", refuse)
    (tmp_path / ".clearpane-0123").mkdir()
    (tmp_path / ".clearpane-0123" / "lock").touch()
    with atomic_path(tmp_path / "a") as temporary, only_run(tmp_path), only_run(tmp_path):
        temporary.write_text("whole")
    remove_leftovers(tmp_path)
    assert hidden(tmp_path) == [".clearpane-0123"] and (tmp_path / "a").read_text() == "whole"


def test_one_run_at_a_time_works_in_a_folder_and_a_killed_one_locks_nobody_out(tmp_path):
    folder = tmp_path / "run"

    def be_killed() -> None:
        with only_run(folder):
            os._exit(9)

    with only_run(folder):
        with (
            pytest.raises(ClearpaneError, match="run: another run is working in this folder"),
            only_run(folder),
        ):
            pytest.fail("two at once")
        with only_run(tmp_path / "other"):
            pass
    assert killed_at(1000, be_killed)
    with only_run(folder):
        pass
    assert hidden(folder) == []
    (tmp_path / "file").touch()
    with pytest.raises(ClearpaneError, match="is a file; name a folder"), only_run(tmp_path / "file"):
        pytest.fail("a file")


def test_temporary_files_of_a_killed_program_go_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def be_killed() -> None:
        with temporary_folder() as folder:
            (folder / "a").touch()
            os._exit(9)

    assert killed_at(1000, be_killed) and len(hidden(tmp_path)) == 1
    with temporary_folder() as folder:
        (folder / "b").touch()
        assert [path.name for path in folder.iterdir()] == ["b"]
    assert hidden(tmp_path) == []


def test_without_a_place_for_temporary_files_one_line_says_what_to_do(monkeypatch):
    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", refuse)
    with pytest.raises(ClearpaneError, match=r"no folder for temporary files .*TMPDIR"), temporary_folder():
        pytest.fail("there is one")
