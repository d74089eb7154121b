"""A folder that fills while it is watched."""

import _thread
import json
import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import remove, watch
from clearpane.app.cli import main
from clearpane.separation.layers import Layers


class Halve:
    """A stand-in: T is half the value of the input."""

    def separate(self, image, *, quality="fast", confidence=False):
        return Layers(image * np.float32(0.5), image * np.float32(0.5), None)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(remove, "load_separator", lambda *chosen: Halve())
    monkeypatch.setattr(watch, "_SETTLED", 0.15)
    monkeypatch.setattr(watch, "_INTERVAL", 0.03)
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()


def draw(path, value=200):
    Image.new("RGB", (24, 16), (value, 100, 50)).save(path)
    return Path(path)


def wait_for(condition):
    end = time.monotonic() + 20
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


def test_only_new_pictures_are_done_and_ctrl_c_ends_it(capsys):
    draw("in/old.png")

    def steps():
        draw("in/.hidden.png")
        Path("in/notes.txt").write_text("no picture")
        draw("in/new.png")
        wait_for(Path("out/new_transmission.png").exists)
        draw("part.png").rename("in/renamed.png")
        wait_for(Path("out/renamed_transmission.png").exists)

    assert watched(steps) == 130
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "new_transmission.png",
        "renamed_transmission.png",
    ]
    printed = capsys.readouterr()
    assert "watching in for new pictures" in printed.err
    # The interruption may come between the writing of the second and its counting.
    assert re.search(r"stopped watching in: [12] done\n", printed.err) and "error" not in printed.err
    assert printed.out.splitlines()[0].startswith("in/new.png -> out/new_transmission.png")


def test_a_picture_that_is_still_being_written_is_waited_for(capsys):
    data = draw("whole.png").read_bytes()

    def steps():
        with Path("in/slow.png").open("wb") as file:
            for k in range(0, len(data), 12):
                file.write(data[k : k + 12])
                file.flush()
                time.sleep(0.05)
                assert not Path("out/slow_transmission.png").exists()
        wait_for(Path("out/slow_transmission.png").exists)

    assert watched(steps) == 130
    assert np.asarray(Image.open("out/slow_transmission.png"))[0, 0, 0] == 100
    assert "error" not in capsys.readouterr().err


def test_a_picture_that_stalled_or_changed_is_done_again(capsys):
    data = draw("whole.png").read_bytes()

    def red():
        try:
            return np.asarray(Image.open("out/a_transmission.png"))[0, 0, 0]
        except FileNotFoundError:
            return -1

    def steps():
        Path("in/a.png").write_bytes(data[:60])
        time.sleep(0.5)  # settled, but not complete
        Path("in/a.png").write_bytes(data)
        wait_for(lambda: red() == 100)
        draw("in/a.png", value=100)
        wait_for(lambda: red() == 50)

    assert watched(steps, "--json") == 130
    printed = capsys.readouterr()
    statuses = [json.loads(line)["status"] for line in printed.out.splitlines()]
    assert statuses[:2] == ["failed", "done"]  # the third may be interrupted before it is printed


def test_pictures_named_too_are_done_first_and_subfolders_follow():
    draw("in/old.png")

    def steps():
        assert Path("out/old_transmission.png").exists()
        Path("in/day").mkdir()
        draw("in/day/a.png"), draw("in/day/a.jpg")
        wait_for(Path("out/day/a.jpg_transmission.png").exists)
        wait_for(Path("out/day/a.png_transmission.png").exists)

    assert watched(steps, "in", "--recursive", "--format", "png") == 130


def test_what_cannot_be_watched_is_one_line(capsys, monkeypatch):
    assert main(["remove", "--watch", "nowhere", "--output", "out"]) == 2
    assert "--watch nowhere: there is no such folder" in capsys.readouterr().err
    assert main(["remove", "--watch", "in", "--output", "in"]) == 2
    assert "is the folder that is watched" in capsys.readouterr().err
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    assert main(["remove", "--watch", "in", "--output", "out"]) == 1
    assert 'pip install "clearpane[watch]"' in capsys.readouterr().err


def test_a_folder_that_goes_ends_the_watch(capsys):
    assert watched(lambda: (Path("in").rmdir(), time.sleep(0.5))) == 1
    assert "in: the folder that was watched has gone" in capsys.readouterr().err
