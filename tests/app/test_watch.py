"""A folder that fills while it is watched."""

import _thread
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from clearpane.app import remove, remove_pictures, watch
from clearpane.app.cli import main
from clearpane.app.progress import BatchProgress
from clearpane.separation.layers import Layers


class Halve:
    """A stand-in: T is half the value of the input."""

    def separate(self, image, *, quality="fast", confidence=False):
        return Layers(image * np.float32(0.5), image * np.float32(0.5), None)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: Halve())
    monkeypatch.setattr(watch, "_SETTLED", 0.1)
    monkeypatch.setattr(watch, "_INTERVAL", 0.03)
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()


@pytest.fixture
def ended(monkeypatch):
    """The outcome of each picture, in the order in which they ended."""
    outcomes, report = [], BatchProgress.end

    def end(progress, facts):
        report(progress, facts)
        outcomes.append(f"{Path(facts.input).name} {facts.status}")

    monkeypatch.setattr(BatchProgress, "end", end)
    return outcomes


def draw(path, value=200):
    Image.new("RGB", (24, 16), (value, 100, 50)).save(path)
    return Path(path)


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def meanwhile(steps):
    """Run steps in another thread, then press Ctrl-C unless all is over; pass on what they raise."""
    failures, over = [], threading.Event()

    def work():
        try:
            steps()
        except BaseException as error:
            failures.append(error)
        if not over.is_set():
            _thread.interrupt_main()

    thread = threading.Thread(target=work)
    yield thread
    over.set()
    thread.join()
    if failures:
        raise failures[0]


def watched(steps, *words):
    """Return the exit code of a watch that is interrupted after the steps, which begin once it watches."""
    with meanwhile(steps) as thread:
        real = watch.Arrivals.__iter__

        def begin(arrivals):
            thread.start()
            yield from real(arrivals)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(watch.Arrivals, "__iter__", begin)
            return main(["remove", *words, "--watch", "in", "--output", "out"])


def test_only_new_pictures_are_done_and_ctrl_c_ends_it(ended, capsys):
    draw("in/old.png")

    def steps():
        draw("in/.hidden.png")
        Path("in/notes.txt").write_text("no picture")
        draw("in/new.png")
        wait_for(lambda: ended == ["new.png done"])
        draw("part.png").rename("in/renamed.png")
        wait_for(lambda: ended == ["new.png done", "renamed.png done"])

    assert watched(steps) == 130
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "new_transmission.png",
        "renamed_transmission.png",
    ]
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "watching in for new pictures; Ctrl-C stops it",
        "stopped watching in: 2 done",
    ]
    assert printed.out.startswith("in/new.png -> out/new_transmission.png")


def test_a_picture_that_is_still_being_written_is_waited_for(monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(watch, "time", clock)
    arrivals = watch.Arrivals(Path("in"), Path("out"), recursive=False)

    def complete(after):
        clock.now += after
        return [found.source.name for found in arrivals._complete()]

    slow = Path("in/slow.png")
    slow.touch()
    assert [complete(after=5), complete(after=5)] == [[], []]  # nothing was written yet
    for _ in range(4):
        with slow.open("ab") as file:
            file.write(b"part")
        assert complete(after=0.09) == []
    assert complete(after=0.09) == []
    assert complete(after=0.02) == ["slow.png"]
    assert complete(after=5) == []
    with slow.open("ab") as file:
        file.write(b"more")
    assert complete(after=5) == []
    assert complete(after=0.1) == ["slow.png"]


def test_a_picture_that_stalled_or_changed_is_done_again(ended):
    data = draw("whole.png").read_bytes()

    def steps():
        Path("in/a.png").write_bytes(data[:60])  # settles, but is not complete
        wait_for(lambda: ended == ["a.png failed"])
        Path("in/a.png").write_bytes(data)
        wait_for(lambda: ended[1:] == ["a.png done"])
        draw("in/a.png", value=100)
        wait_for(lambda: ended[2:] == ["a.png done"])

    assert watched(steps) == 130
    assert np.asarray(Image.open("out/a_transmission.png"))[0, 0, 0] == 50


def test_a_picture_that_changes_while_it_is_read_is_not_reported(ended, monkeypatch, capsys):
    real = remove_pictures.open_picture

    def open_slowly(source):
        if Path("in/b.png").stat().st_size < 70:
            draw("in/b.png")  # the rest comes while the first part is read
            raise remove.ClearpaneError("was changed while it was read")
        return real(source)

    def steps():
        Path("in/b.png").write_bytes(draw("whole.png").read_bytes()[:60])
        wait_for(lambda: ended)

    monkeypatch.setattr(remove_pictures, "open_picture", open_slowly)
    assert watched(steps) == 130
    assert ended == ["b.png done"] and "error" not in capsys.readouterr().err


def test_pictures_named_too_are_done_first_and_subfolders_follow(ended):
    draw("in/old.png")

    def steps():
        assert ended == ["old.png done"]
        Path("in/day").mkdir()
        draw("in/day/a.png"), draw("in/day/a.jpg")
        wait_for(lambda: len(ended) == 3)

    assert watched(steps, "in", "--recursive", "--format", "png") == 130
    assert {"a.jpg done", "a.png done"} < set(ended)
    assert len(list(Path("out/day").iterdir())) == 2  # though both would be called a_transmission.png


def test_what_cannot_be_watched_is_one_line(capsys, monkeypatch):
    assert main(["remove", "--watch", "nowhere", "--output", "out"]) == 2
    assert "--watch nowhere: there is no such folder" in capsys.readouterr().err
    assert main(["remove", "--watch", "in", "--output", "in"]) == 2
    assert "is the folder that is watched" in capsys.readouterr().err
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    assert main(["remove", "--watch", "in", "--output", "out"]) == 1
    assert 'pip install "clearpane[watch]"' in capsys.readouterr().err


def test_a_folder_that_goes_ends_the_watch(monkeypatch, capsys):
    search = watch.Arrivals._complete
    monkeypatch.setattr(watch.Arrivals, "_complete", lambda self: Path("in").rmdir() or search(self))
    assert main(["remove", "--watch", "in", "--output", "out"]) == 1
    assert "in: the folder that was watched has gone" in capsys.readouterr().err
