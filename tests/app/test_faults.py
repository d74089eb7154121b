"""Faults around a run: disks, memory, clocks, other runs. One line reports each, and the rest is done."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import remove, remove_pictures
from clearpane.app.cli import main
from clearpane.app.progress import describe_unexpected
from clearpane.errors import ClearpaneError
from clearpane.images import reading
from clearpane.images.decoded import CheckSize, Decoded
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.separation.layers import Layers
from clearpane.streams import Content


class Dim:
    """A stand-in that calls a function at each picture."""

    def __init__(self, at_each: Callable[[int], None] = lambda number: None) -> None:
        self.at_each, self.count = at_each, 0

    def separate(self, image: np.ndarray, *, quality: str = "fast", confidence: bool = False) -> Layers:
        self.count += 1
        self.at_each(self.count)
        return Layers(image * np.float32(0.5), image * np.float32(0.25))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Dim], None]:
    return lambda separator: monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: separator)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six small pictures."""
    folder = tmp_path / "in"
    for number in range(6):
        noise(folder / f"{number}.png", 16, number)
    return folder


def noise(path: Path, side: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).random((side, side, 3), np.float32)
    kind = {".jpg": "jpeg", ".tif": "tiff"}.get(path.suffix, path.suffix[1:])
    sample_type = {"exr": "half", "hdr": "float"}.get(kind, "uint8")
    return write_picture(path, Picture(values, kind, sample_type))


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A disk of its own in memory."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "clearpane-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".exr", ".hdr"])
def test_on_a_full_disk_what_fits_is_written_and_the_rest_said(use, tmp_path, capfd, suffix):
    use(Dim())
    noise(tmp_path / "in" / f"a{suffix}", 500), noise(tmp_path / "in" / "b.png", 16)
    output = tmp_path / "out"
    output.mkdir()
    with mounted(output, "size=128k"):
        assert main(["remove", str(tmp_path / "in"), "--output", str(output)]) == 1
        printed = capfd.readouterr()
        assert [path.name for path in output.iterdir()] == ["b_transmission.png"]
        assert np.asarray(Image.open(output / "b_transmission.png")).shape == (16, 16, 3)
    lines = printed.err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("1 done; 1 failed")
    assert f"a{suffix}" in lines[0] and "writing failed" in lines[0] and "free some space" in lines[0]


def test_a_file_over_the_limit_of_its_disk_is_said_in_one_line(tmp_path):
    noise(tmp_path / "a.tif", 200)
    code = (
        "import resource, sys; from clearpane.app.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "sys.exit(main(['remove', 'a.tif', '--output', 'out', '--strength', '0']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "writing failed" in done.stderr
    assert len(done.stderr.splitlines()) == 2 and list((tmp_path / "out").iterdir()) == []


def test_a_read_only_disk_is_said_before_anything_is_separated(use, tmp_path, capsys):
    use(Dim(lambda number: pytest.fail("separated")))
    noise(tmp_path / "a.png", 16)
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "size=128k", "ro"):
        for output in (tmp_path / "disk", tmp_path / "disk" / "new"):
            assert main(["remove", str(tmp_path / "a.png"), "--output", str(output)]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: cannot ") and str(output) in line


def test_an_output_folder_that_vanishes_is_not_made_again(use, pictures, tmp_path, capsys):
    output = tmp_path / "out"
    use(Dim(lambda number: shutil.rmtree(output) if number == 3 else None))
    assert main(["remove", str(pictures), "--output", str(output)]) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(
        re.search(r"\d\.png.* output folder .*out has gone", line) for line in lines
    )
    assert last == "2 done; 4 failed" and not output.exists()


def test_a_picture_that_changes_while_it_is_read_is_not_half_taken(tmp_path, monkeypatch):
    path = noise(tmp_path / "a.png", 16)
    decode = reading.DECODERS["png"]

    def slowly(content: Content, check_size: CheckSize) -> Decoded:
        decoded = decode(content, check_size)
        with path.open("ab") as file:
            file.write(b"more")
        return decoded

    monkeypatch.setitem(reading.DECODERS, "png", slowly)
    with pytest.raises(ClearpaneError, match=r"a\.png: was changed while it was read"):
        read_picture(path)


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_no_figure(use, pictures, tmp_path, monkeypatch, capsys, jump):
    now = time.time

    def turn(number: int) -> None:
        monkeypatch.setattr(time, "time", lambda: now() + number * jump)

    use(Dim(turn))
    assert main(["remove", str(pictures), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    seconds = [float(found) for found in re.findall(r"\((-?[\d.e+]+) s\)", printed.out)]
    assert len(seconds) == 6 and all(0 <= value < 60 for value in seconds)
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_durations_are_measured_with_clocks_that_do_not_jump():
    source = Path(remove.__file__).parents[1]
    pattern = re.compile(r"\btime\.time\(|datetime\.(now|today|utcnow)\(|from time import time\b")
    found = [path.name for path in source.rglob("*.py") if pattern.search(path.read_text("utf-8"))]
    assert found == ["visits.py"]  # ages of files, by the clock that their times come from


def test_two_runs_on_one_folder_share_the_work(use, pictures, tmp_path, capsys):
    together = threading.Barrier(2, timeout=30)
    use(Dim(lambda number: together.wait() if number <= 2 else None))  # both work on the first picture
    codes: list[int] = []
    arguments = ["remove", str(pictures), "--output", str(tmp_path / "out")]
    runs = [threading.Thread(target=lambda: codes.append(main(arguments))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert codes == [0, 0] and "error" not in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{number}_transmission.png" for number in range(6)]


def test_a_picture_for_which_there_is_no_memory_does_not_stop_the_others(use, pictures, tmp_path, capsys):
    def fail(number: int) -> None:
        if number == 2:
            raise MemoryError

    use(Dim(fail))
    assert main(["remove", str(pictures), "--output", str(tmp_path / "out")]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert "1.png: not enough memory" in first and last == "5 done; 1 failed"


def test_the_network_without_memory_says_so(tmp_path):
    """A real limit in a real process: the runtime's own words do not reach the user."""
    Image.effect_noise((1200, 800), 80).convert("RGB").save(tmp_path / "a.jpg")
    noise(tmp_path / "b.jpg", 32)
    code = (
        "import resource, sys; from clearpane.app import cli, remove; import onnxruntime\n"
        "from clearpane.separation.separator import load_separator; load_separator()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, used + 200_000_000))\n"
        "sys.exit(cli.main(['remove', 'a.jpg', 'b.jpg', '--output', 'out']))\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("measures with /proc")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert len(done.stderr.splitlines()) == 2, done.stderr
    first, last = done.stderr.splitlines()
    assert done.returncode == 1 and last == "1 done; 1 failed"
    assert first.startswith("error: a.jpg: not enough memory")


def test_what_the_system_refuses_is_not_called_a_mistake_of_the_program():
    error = OSError(28, os.strerror(28), "out/log.jsonl")
    assert describe_unexpected(error) == (
        "out/log.jsonl: No space left on device: free some space and run the same command again"
    )
    assert "bug in Clearpane" in describe_unexpected(OSError(22, "Invalid argument"))
