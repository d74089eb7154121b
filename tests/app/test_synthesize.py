import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app.cli import main
from clearpane.synthesis.dataset.manifest import DataSet
from clearpane.synthesis.dataset.online import SampleStream, draw_sample
from clearpane.synthesis.dataset.samples import SampleOptions
from clearpane.synthesis.dataset.shards import read_shards
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.ranges import SceneRanges

# Flat panes through a pinhole are drawn fastest.
PLAIN = {
    f"{name}_chance": 0 for name in ("wedged", "double", "bent", "lens", "rough", "defocus", "polarizer")
}


@pytest.fixture
def made_of(tmp_path: Path) -> list[str]:
    """Options that name pictures and ranges, and keep everything small."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((48, 36), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    (tmp_path / "ranges.json").write_text(json.dumps(PLAIN))
    options = f"--backgrounds {folder} --ranges {tmp_path / 'ranges.json'} --size 24 --samples-per-shard 2"
    return options.split()


def synthesize(output: Path, *options: str) -> int:
    return main(["synthesize", "--output", str(output), *options])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_makes_the_samples_of_the_online_data_set(
    made_of: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert synthesize(out, *made_of, "--count", "3", "--seed", "7", "--workers", "1", "--format", "exr") == 0
    printed = capsys.readouterr().out
    assert "shard-000000.tar: 2 samples" in printed and "(2 of 3, about " in printed
    assert f"{out}: 3 samples in 2 shards" in printed
    shards = ["shard-000000.tar", "shard-000001.tar"]
    assert sorted(contents(out)) == ["DATASET.md", "manifest.json", *shards]

    stream = SampleStream(7, SceneRanges(**PLAIN), SampleOptions(24, 24))
    sources = Sources.open(tmp_path / "photos")
    stored = list(read_shards([out / name for name in shards]))
    assert [sample.key for sample in stored] == ["00000000", "00000001", "00000002"]
    for index, sample in enumerate(stored):
        expected = draw_sample(index, sources, stream)
        assert sample.scene == expected.scene
        photograph = expected.photograph.permute(1, 2, 0).numpy()
        assert sample.photograph is not None
        np.testing.assert_allclose(sample.photograph, photograph, atol=1e-5)
        reflection = expected.layers.reflection[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(sample.layers["R"], reflection, rtol=2**-11, atol=1e-6)
    card = (out / "DATASET.md").read_text()
    assert "--seed 7 --format exr --ranges ranges.json --samples-per-shard 2" in card
    assert "| panes | flat 3 |" in card and "| defocus_chance | 0 |" in card


def test_keeps_the_layers_asked_for_and_grows(
    made_of: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*made_of, "--workers", "1", "--layers", "r, T"]
    assert synthesize(tmp_path / "grown", *options, "--count", "1") == 0
    assert synthesize(tmp_path / "grown", *options, "--count", "3") == 0
    assert synthesize(tmp_path / "at_once", *options, "--count", "3") == 0
    assert contents(tmp_path / "grown") == contents(tmp_path / "at_once")
    (sample,) = read_shards([tmp_path / "grown" / "shard-000001.tar"])
    assert list(sample.layers) == ["T", "R"] and sample.photograph is None and sample.caption is None

    capsys.readouterr()
    assert synthesize(tmp_path / "grown", *options, "--count", "3") == 0
    assert "all of which existed" in capsys.readouterr().out
    assert synthesize(tmp_path / "grown", *options, "--count", "3", "--seed", "1") == 1
    assert "seed: 0 there, 1 requested" in capsys.readouterr().err
    assert synthesize(tmp_path / "grown", *options, "--count", "3", "--seed", "1", "--overwrite") == 0
    assert contents(tmp_path / "grown") != contents(tmp_path / "at_once")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_run_killed_and_gone_on_with_gives_the_same_bytes(made_of: list[str], tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = ["synthesize", "--output", str(killed), *made_of, "--count", "400", "--workers", "2"]
    run = subprocess.Popen([sys.executable, "-m", "clearpane", *command], start_new_session=True)
    _wait_for(lambda: (killed / "shard-000000.tar").exists(), 120)
    run.kill()
    run.wait()
    _wait_for(lambda: not _group_lives(run.pid), 20)  # its workers end too

    done = DataSet.load(killed).held
    assert 0 <= done < 400, "killed before it was finished"
    count = str(done + 5)
    # with another number of workers, and asked for fewer samples, which are there in part
    assert synthesize(killed, *made_of, "--count", count, "--workers", "1") == 0
    assert synthesize(whole, *made_of, "--count", count, "--workers", "1") == 0
    assert contents(killed) == contents(whole)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_leaves_whole_shards_only(made_of: list[str], tmp_path: Path) -> None:
    command = ["synthesize", "--output", str(tmp_path / "out"), *made_of, "--count", "4000", "--workers", "2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "clearpane", *command],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs are handed down that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for(lambda: (tmp_path / "out" / "shard-000000.tar").exists(), 120)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does, to the workers too
    _, printed = run.communicate(timeout=30)
    data_set = DataSet.load(tmp_path / "out")
    assert run.returncode == 130
    assert printed == (
        f"interrupted: {data_set.held} of 4000 samples are kept; run the same command again to resume\n"
    )
    # What an interrupt leaves while a file is put in place goes with the next run.
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".clearpane-")}
    names -= {"manifest.json"}
    assert len(names - set(data_set.entries)) <= 1, "one shard may have been finished but not listed"
    for name in names:
        assert len(list(read_shards([tmp_path / "out" / name]))) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unreadable_map_is_one_line(
    workers: str, made_of: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hdris").mkdir()
    (tmp_path / "hdris" / "sky.hdr").write_bytes(b"#?RADIANCE\n\n-Y 8 +X 16\n")
    (tmp_path / "ranges.json").write_text(json.dumps(PLAIN | {"dome_chance": 1}))
    options = [*made_of, "--count", "2", "--environments", str(tmp_path / "hdris"), "--workers", workers]
    assert synthesize(tmp_path / "out", *options) == 1
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: ") and "sky.hdr" in error
    assert not (tmp_path / "out").exists()


def test_bad_backgrounds_are_named_before_the_first_sample(
    made_of: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [*made_of, "--count", "2", "--workers", "1"]
    assert synthesize(tmp_path / "out", *options) == 0
    before = contents(tmp_path / "out")
    bad = [tmp_path / "photos" / name for name in ("a.jpg", "b.png")]
    Image.new("CMYK", (48, 36)).save(bad[0])
    bad[1].write_bytes((tmp_path / "photos" / "0.png").read_bytes()[:90])
    capfd.readouterr()
    for more in ([], ["--overwrite"]):
        assert synthesize(tmp_path / "out", *options, *more) == 1
        (error,) = capfd.readouterr().err.splitlines()
        assert "a.jpg" in error and "b.png" in error and "take it out of" in error
        assert contents(tmp_path / "out") == before
    for path in bad:
        path.unlink()
    assert synthesize(tmp_path / "out", *options) == 0 and contents(tmp_path / "out") == before


def test_nothing_is_removed_for_a_data_set_that_cannot_be_made(
    made_of: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert synthesize(out, *made_of, "--count", "2", "--workers", "1") == 0
    before = contents(out)
    (tmp_path / "ranges.json").write_text(json.dumps(PLAIN | {"yaw": [86, 88]}))
    capsys.readouterr()
    assert synthesize(out, *made_of, "--count", "2", "--workers", "1", "--overwrite") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: scene ranges") and "75 degrees" in error
    assert contents(out) == before


def test_a_full_disk_is_one_line(
    made_of: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))  # room for the manifest
    try:
        assert synthesize(tmp_path / "out", *made_of, "--count", "2", "--workers", "1") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error, _ = capsys.readouterr().err.splitlines()
    assert "shard-000000.tar: writing failed" in error and "free some space" in error
    assert set(contents(tmp_path / "out")) == {"manifest.json"}


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--count", "0"], 2, "--count 0: give 1 or more"),
        (["--size", "8"], 2, "--size 8: give 16 or more"),
        (["--samples-per-shard", "0"], 2, "--samples-per-shard 0: give 1 or more"),
        (["--workers", "0"], 2, "--workers 0: give 1 or more"),
        (["--denoise"], 2, "--denoise needs --renderer mitsuba"),
        (["--layers", "I,X"], 2, "--layers I,X: choose from I,T,R,B,MR"),
        (["--backgrounds", "{tmp}/none"], 1, "no such folder"),
        (["--backgrounds", "{tmp}/empty"], 1, "no pictures in it"),
        (["--environments", "{tmp}/photos"], 1, "no pictures in it"),
        (["--ranges", "{tmp}/none.json"], 1, "none.json: cannot be read (No such file or directory)"),
        (["--output", "{tmp}/ranges.json"], 1, "is a file; name a folder"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    options: list[str],
    code: int,
    line: str,
    made_of: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(tmp=tmp_path) for word in options]
    assert synthesize(tmp_path / "out", "--count", "1", *made_of, *words) == code
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ranges", "line"),
    [
        ('{"yaw": [50, 20]}', "ranges.json: scene ranges: yaw is (50.0, 20.0); expected (low, high)"),
        ('{"ior": [0.5, 1.5]}', "scene ranges: ior is (0.5, 1.5); expected at least 1.001"),
        ('{"yaw": 5}', "ranges.json: yaw: Expected array, got int"),
        ('{"dust_chance": [0, 1]}', "ranges.json: dust_chance: Expected float, got array"),
        ('{"jaw": [0, 5]}', "ranges.json: there is no field 'jaw'"),
        ("[1]", "ranges.json: Expected object, got array"),
        ("{", "ranges.json: not JSON"),
    ],
)
def test_impossible_ranges_are_one_line(
    ranges: str, line: str, made_of: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ranges.json").write_text(ranges)
    assert synthesize(tmp_path / "out", "--count", "1", *made_of) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert not (tmp_path / "out").exists()


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
