import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import remove_pictures
from clearpane.app.cli import main
from clearpane.app.compare import draw_comparison
from clearpane.app.inputs import UsageError
from clearpane.app.remove import Remove, run
from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.separation.layers import Layers


class Halve:
    """A stand-in: T is half the value of the input, R a quarter."""

    def __init__(self):
        self.calls = []

    def separate(self, image, *, quality="fast", confidence=False):
        self.calls.append(quality)
        doubt = np.full(image.shape[:2], 0.25, np.float32) if confidence else None
        return Layers(image * np.float32(0.5), image * np.float32(0.25), doubt)


@pytest.fixture
def separator(monkeypatch):
    fake = Halve()
    monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: fake)
    return fake


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(path, size=(24, 16), seed=0, mode="RGB"):
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), np.uint8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values[..., 0] if mode == "L" else values, mode).save(path)
    return path


def options(*pictures, output="out", **others):
    return Remove(tuple(Path(picture) for picture in pictures), Path(output), **others)


def listing(folder="out"):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def stored(path):
    return np.asarray(Image.open(path))


def json_lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_all_outputs_of_one_picture(separator, capsys):
    photo = draw("window.png")
    before = photo.read_bytes()
    assert run(options(photo, reflection=True, compare=True)) == 0
    assert listing() == ["window_compare.jpg", "window_reflection.png", "window_transmission.png"]
    assert stored("out/window_transmission.png") == pytest.approx(stored(photo) / 2, abs=0.51)
    assert stored("out/window_reflection.png") == pytest.approx(stored(photo) / 4, abs=0.51)
    assert photo.read_bytes() == before
    captured = capsys.readouterr()
    assert "window.png -> out/window_transmission.png" in captured.out
    assert "1 done" in captured.err


def test_a_confidence_is_a_grey_png_whatever_the_photograph(separator):
    assert run(options(draw("window.jpg"), confidence=True)) == 0
    assert listing() == ["window_confidence.png", "window_transmission.jpg"]
    assert Image.open("out/window_confidence.png").mode == "L"
    assert stored("out/window_confidence.png") == pytest.approx(np.full((16, 24), 64), abs=1)
    # The map is the separator's, so it is asked even where the strength leaves the photograph as it is.
    assert run(options("window.jpg", output="kept", strength=0, confidence=True)) == 0
    assert listing("kept") == ["window_confidence.png", "window_transmission.jpg"]
    assert len(separator.calls) == 2


def test_only_the_transmission_is_usual(separator):
    run(options(draw("window.jpg")))
    assert listing() == ["window_transmission.jpg"]


def test_a_bad_picture_does_not_stop_the_others(separator, capsys):
    draw("in/a.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:60])
    Path("in/c.jpg").write_text("no picture at all")
    draw("in/d.png")
    assert run(options("in", "nowhere.png")) == 1
    assert listing() == ["a_transmission.png", "d_transmission.png"]
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for name, line in zip(["nowhere.png", "in/b.png", "in/c.jpg"], errors, strict=True):
        assert name in line


def test_a_separator_that_fails_is_reported_with_the_picture(separator, capsys, monkeypatch):
    def separate(image, *, quality, confidence):
        raise ClearpaneError("too small")

    monkeypatch.setattr(separator, "separate", separate)
    assert run(options(draw("a.png"))) == 1
    assert "error: a.png: too small" in capsys.readouterr().err
    assert listing() == []


def test_an_unexpected_error_is_one_line_and_others_go_on(separator, capsys, monkeypatch):
    good = separator.separate

    def separate(image, *, quality, confidence):
        if image.shape[1] == 30:
            raise ZeroDivisionError("oh\nno")
        return good(image, quality=quality)

    monkeypatch.setattr(separator, "separate", separate)
    assert run(options(draw("a.png", (30, 20)), draw("b.png"))) == 1
    assert listing() == ["b_transmission.png"]
    error = capsys.readouterr().err
    assert "error: a.png: unexpected ZeroDivisionError: oh no." in error
    assert "CLEARPANE_DEBUG=1" in error and "Traceback" not in error
    monkeypatch.setenv("CLEARPANE_DEBUG", "1")
    run(options("a.png"))
    assert "Traceback" in capsys.readouterr().err


def test_second_run_skips_and_says_so(separator, capsys):
    pictures = [draw("a.png"), draw("b.jpg")]
    run(options(*pictures))
    times = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    capsys.readouterr()
    assert run(options(*pictures)) == 0
    assert "2 skipped" in capsys.readouterr().err
    assert len(separator.calls) == 2
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == times


def test_second_run_does_not_even_load_the_separator(separator, monkeypatch):
    run(options(draw("a.png")))
    monkeypatch.setattr(remove_pictures, "load_separator", lambda: pytest.fail("loaded"))
    assert run(options("a.png")) == 0


def test_second_run_adds_what_is_missing_and_keeps_the_rest(separator):
    photo = draw("a.png")
    run(options(photo, strength=0.5))
    first = Path("out/a_transmission.png").read_bytes()
    assert run(options(photo, reflection=True)) == 0
    assert Path("out/a_transmission.png").read_bytes() == first
    assert listing() == ["a_reflection.png", "a_transmission.png"]


def test_a_misnamed_picture_is_skipped_too(separator):
    draw("a.png").rename("a.jpg")
    assert run(options("a.jpg")) == 0
    names = listing()
    assert run(options("a.jpg")) == 0
    assert len(separator.calls) == 1 and listing() == names


def test_pictures_of_one_stem_are_both_done(separator):
    draw("in/b.png").rename("in/b.jpg")
    draw("in/b.png", seed=1)
    assert run(options("in", compare=True, reflection=True, confidence=True)) == 0
    kinds = ["compare.jpg", "confidence.png", "reflection.png", "transmission.png"]
    assert listing() == sorted(f"{name}_{kind}" for name in ("b.jpg", "b.png") for kind in kinds)
    for name in ("b.jpg", "b.png"):
        before, after = (np.asarray(Image.open(p)) for p in (f"in/{name}", f"out/{name}_transmission.png"))
        assert np.abs(after - before / 2).max() <= 0.51
    count = len(separator.calls)
    assert run(options("in", compare=True, reflection=True, confidence=True)) == 0
    assert len(separator.calls) == count  # a second run finds them
    assert run(options("in", output=Path("in"))) == 0 and run(options("in", output=Path("more"))) == 0
    assert sorted(p.name for p in Path("more").iterdir()) == [
        "b.jpg_transmission.png",
        "b.png_transmission.png",
    ]


def test_a_pattern_that_the_shell_left_is_expanded(separator, capsys):
    draw("in/a.png"), draw("in/b.png"), draw("in/c [1].png")
    assert run(options("in/[ab].png")) == 0
    assert listing() == ["a_transmission.png", "b_transmission.png"]
    assert run(options("in/c [1].png")) == 0 and "c [1]_transmission.png" in listing()
    assert run(options("in/*.gif")) == 1 and "in/*.gif: no such file" in capsys.readouterr().err


def test_pictures_that_are_not_read_are_named_at_the_end(separator, capsys):
    draw("in/a.png")
    for name, start in {"d.avif": b"\0\0\0\x1cftypavif", "e.jxl": b"\xff\x0a", "n.txt": b"notes"}.items():
        Path("in", name).write_bytes(start + bytes(40))
    draw("in/z.png").rename("in/picture")
    assert run(options("in")) == 0
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "3 not read because of their format or file extension" in said
    assert said.endswith(": in/d.avif, in/e.jxl, in/picture")


def test_results_of_another_run_at_the_same_time_are_left_alone(separator, capsys, monkeypatch):
    def separate(image, *, quality, confidence):
        Path("out/b_transmission.png").write_text("theirs")
        return Layers(image, image)

    monkeypatch.setattr(separator, "separate", separate)
    assert run(options(draw("a.png"), draw("b.png"))) == 0
    assert Path("out/b_transmission.png").read_text() == "theirs"
    assert "1 done; 1 skipped" in capsys.readouterr().err


def test_places_that_cannot_be_read_or_written_do_not_stop_the_others(separator, capsys):
    long = "x" * 246 + ".jpg"
    draw(f"in/{long}")
    draw("in/day/b.png")
    Path("in/loop.png").symlink_to("loop.png")
    draw("in/ü b.png")
    Path("out").mkdir()
    Path("out/day").write_text("a file")
    assert run(options("in", "y" * 300, recursive=True)) == 1
    assert listing() == ["day", "ü b_transmission.png"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5 and errors[-1] == "1 done; 4 failed"
    assert not any("unexpected" in line for line in errors)
    for words in (
        "y: File name too long",
        "x_transmission.jpg: writing failed (File name too long); rename",
        "cannot make the output folder out/day: a file has that name",
        "in/loop.png: cannot be read",
    ):
        assert sum(words in line for line in errors) == 1, words


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(separator, capsys):
    draw("in/a.png")
    os.mkfifo("in/p.png")
    assert run(options("in")) == 1
    assert listing() == ["a_transmission.png"]
    assert "in/p.png: is a pipe" in capsys.readouterr().err


def test_overwrite_makes_results_again(separator):
    photo = draw("a.png")
    run(options(photo))
    draw("a.png", seed=5)
    assert run(options(photo, overwrite=True)) == 0
    assert stored("out/a_transmission.png") == pytest.approx(stored(photo) / 2, abs=0.51)


def test_interruption_keeps_what_is_done_and_goes_on_later(separator, capsys, monkeypatch):
    good = separator.separate

    def separate(image, *, quality, confidence):
        if len(separator.calls) == 2:
            raise KeyboardInterrupt
        return good(image, quality=quality)

    monkeypatch.setattr(separator, "separate", separate)
    for name in "abcd":
        draw(f"in/{name}.png")
    assert run(options("in")) == 130
    assert listing() == ["a_transmission.png", "b_transmission.png"]
    error = capsys.readouterr().err
    assert "interrupted: 2 of 4 done" in error and "Traceback" not in error
    monkeypatch.setattr(separator, "separate", good)
    assert run(options("in")) == 0
    assert len(listing()) == 4 and len(separator.calls) == 4


def test_interruption_while_writing_leaves_nothing_half_written(separator, monkeypatch):
    def interrupted(path, picture, options):
        write_picture(path, picture, options)
        raise KeyboardInterrupt

    photo = draw("a.png")
    monkeypatch.setattr(remove_pictures, "write_picture", interrupted)
    assert run(options(photo, reflection=True)) == 130
    assert listing() == ["a_transmission.png"]
    monkeypatch.setattr(remove_pictures, "write_picture", write_picture)
    assert run(options(photo, reflection=True)) == 0
    assert listing() == ["a_reflection.png", "a_transmission.png"]


def test_output_in_the_input_folder(separator, capsys):
    draw("in/a.png")
    draw("in/b.jpg")
    asked = options("in", output="in", reflection=True, compare=True)
    assert run(asked) == 0
    names = listing("in")
    assert len(names) == 8
    capsys.readouterr()
    assert run(asked) == 0
    assert listing("in") == names
    assert "6 earlier results" in capsys.readouterr().err


def test_results_named_one_by_one_are_pictures(separator):
    draw("a.png")
    photo = draw("a_transmission.png")
    assert run(options(photo)) == 0
    assert listing() == ["a_transmission_transmission.png"]


def test_names_like_results_without_their_original_are_pictures(separator):
    draw("in/soft_reflection.png")
    assert run(options("in")) == 0
    assert listing() == ["soft_reflection_transmission.png"]


def test_truths_of_an_evaluation_set_are_left_out(separator):
    draw("in/001_input.png")
    draw("in/001_transmission.png")
    assert run(options("in")) == 0
    assert listing() == ["001_input_transmission.png"]


def test_recursion_keeps_the_folders_and_leaves_the_output_out(separator):
    draw("in/a.png")
    draw("in/day/b.png")
    draw("in/day/night/a.png")
    draw("in/.thumbnails/a.png")
    draw("in/._a.png")
    assert run(options("in", output="in/out")) == 0
    assert listing("in/out") == ["a_transmission.png"]
    for _ in range(2):
        assert run(options("in", output="in/out", recursive=True)) == 0
        assert listing("in/out") == [
            "a_transmission.png",
            "day/b_transmission.png",
            "day/night/a_transmission.png",
        ]


def test_a_folder_without_pictures_is_an_error(separator, capsys):
    draw("in/deep/a.png")
    assert run(options("in")) == 1
    assert "in: no pictures in this folder; --recursive" in capsys.readouterr().err


def test_a_picture_named_twice_is_done_once(separator):
    photo = draw("in/a.png")
    assert run(options(photo, "in", photo.resolve())) == 0
    assert len(separator.calls) == 1


def test_two_pictures_with_one_result_are_refused_before_any_work(separator):
    pictures = [draw("one/a.png"), draw("two/a.png", seed=1)]
    with pytest.raises(UsageError, match=r"one/a\.png and two/a\.png would both be written to out/a_trans"):
        run(options(*pictures))
    assert not separator.calls and not Path("out").exists()
    assert run(options(draw("b.jpg"), draw("b.png"))) == 0
    assert listing() == ["b_transmission.jpg", "b_transmission.png"]


def test_a_result_never_replaces_another_input(separator):
    pictures = [draw("a.png"), draw("a_transmission.png")]
    with pytest.raises(UsageError, match=r"would replace the picture a_transmission\.png"):
        run(options(*pictures, output=".", overwrite=True))


def test_unusable_output_is_one_line(separator, capsys):
    photo = draw("a.png")
    Path("file").write_text("x")
    with pytest.raises(UsageError, match="--output file is a file"):
        run(options(photo, output="file"))
    with pytest.raises(ClearpaneError, match="file/deeper"):
        run(options(photo, photo, output="file/deeper"))
    assert not separator.calls


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_output_without_permission_is_one_line(separator):
    Path("out").mkdir(mode=0o500)
    with pytest.raises(ClearpaneError, match="out"):
        run(options(draw("a.png")))


def test_json_lines(separator, capsys):
    draw("in/a.png", (30, 20))
    Path("in/b.png").write_text("no picture")
    assert run(options("in", json=True, compare=True)) == 1
    done, failed = json_lines(capsys)
    assert done["input"] == "in/a.png" and done["status"] == "done" and done["error"] is None
    assert done["outputs"] == {"transmission": "out/a_transmission.png", "compare": "out/a_compare.jpg"}
    assert (done["width"], done["height"]) == (30, 20)
    assert 0 < done["seconds"] < 60
    assert failed["status"] == "failed" and failed["outputs"] == {} and "in/b.png" in failed["error"]
    run(options("in/a.png", "nowhere", json=True, compare=True))
    facts = json_lines(capsys)
    assert [fact["status"] for fact in facts] == ["failed", "skipped"]


def test_strength_zero_gives_the_input_bit_for_bit_without_separating(separator):
    photo = draw("a.png")
    assert run(options(photo, strength=0)) == 0
    assert np.array_equal(stored("out/a_transmission.png"), stored(photo))
    assert not separator.calls


def test_strength_minus_one_is_the_reflection(separator):
    photo = draw("a.png")
    assert run(options(photo, strength=-1, reflection=True)) == 0
    assert np.array_equal(stored("out/a_transmission.png"), stored("out/a_reflection.png"))


@pytest.mark.parametrize("strength", [1.5, -1.01, float("nan")])
def test_strength_out_of_range_is_a_usage_error(separator, strength):
    with pytest.raises(UsageError, match="strength"):
        run(options(draw("a.png"), strength=strength))


def test_mask_keeps_the_rest_bit_for_bit(separator):
    photo = draw("a.png")
    white = np.zeros((16, 24), np.uint8)
    white[4:9, 5:15] = 255
    Image.fromarray(white).save("mask.png")
    assert run(options(photo, mask=Path("mask.png"))) == 0
    result, before = stored("out/a_transmission.png"), stored(photo)
    assert np.array_equal(result[white == 0], before[white == 0])
    assert result[white == 255] == pytest.approx(before[white == 255] / 2, abs=0.51)


def test_transparent_parts_of_a_mask_change_nothing(separator):
    photo = draw("a.png")
    mask = np.full((16, 24, 4), 255, np.uint8)
    mask[:8, :, 3] = 0
    Image.fromarray(mask).save("mask.png")
    run(options(photo, mask=Path("mask.png")))
    assert np.array_equal(stored("out/a_transmission.png")[:8], stored(photo)[:8])
    assert not np.array_equal(stored("out/a_transmission.png")[8:], stored(photo)[8:])


def test_mask_of_another_size_fails_only_the_picture_it_does_not_fit(separator, capsys):
    Image.new("L", (24, 16), 255).save("mask.png")
    assert run(options(draw("a.png", (30, 20)), draw("b.png"), mask=Path("mask.png"))) == 1
    assert "error: a.png: the mask is 24 x 16 pixels and the picture 30 x 20" in capsys.readouterr().err
    assert listing() == ["b_transmission.png"]


def test_unreadable_mask_is_a_usage_error(separator):
    with pytest.raises(UsageError, match=r"mask cannot be used.*nowhere\.png"):
        run(options(draw("a.png"), mask=Path("nowhere.png")))


def test_sixteen_bits_stay(separator):
    values = np.random.default_rng(0).random((16, 24, 3), dtype=np.float32)
    for name in ("deep.png", "deep.tif"):
        kind = "png" if name.endswith("png") else "tiff"
        write_picture(Path(name), Picture(values, kind, "uint16"), WriteOptions())
        assert run(options(name)) == 0
        result = read_picture(next(Path("out").glob(f"deep_transmission{Path(name).suffix}*")))
        assert result.sample_type == "uint16"
        assert result.pixels == pytest.approx(values / 2, abs=2 / 65535)


@pytest.mark.parametrize(
    ("asked", "written"), [({}, 1), ({"strength": 0.5}, 1), ({"reflection": True, "compare": True}, 2)]
)
def test_a_large_picture_is_held_no_longer_than_needed(separator, monkeypatch, asked, written):
    """Three arrays of its size while it is worked on, then only the results; each can be over a gigabyte."""
    held = []

    def write(path, picture, options):
        held.append(tracemalloc.get_traced_memory()[0])
        return write_picture(path, picture, options)

    photo = draw("large.jpg", (3000, 2000))
    run(options(draw("warm.jpg"), reflection=True, compare=True))
    monkeypatch.setattr(remove_pictures, "write_picture", write)
    tracemalloc.start()
    try:
        assert run(options(photo, **asked)) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    layer = 3000 * 2000 * 3 * 4
    comparison = 75e6 if "compare" in asked else 0
    assert peak < 3 * layer + 120e6 + comparison  # and some bands of a megapixel
    assert max(held) < written * layer + 10e6 + comparison


def test_alpha_and_grey_stay(separator):
    photo = draw("clear.png", mode="RGBA")
    grey = draw("grey.png", mode="L")
    assert run(options(photo, grey, reflection=True, compare=True)) == 0
    assert np.array_equal(stored("out/clear_transmission.png")[..., 3], stored(photo)[..., 3])
    assert Image.open("out/grey_transmission.png").mode == "L"
    assert Image.open("out/grey_reflection.png").mode == "L"


def test_highlights_of_an_hdr_picture_stay(separator):
    values = np.full((16, 24, 3), 0.5, np.float32)
    values[4, 4] = 8
    write_picture(Path("sun.exr"), Picture(values, "exr", "float"), WriteOptions())
    assert run(options("sun.exr")) == 0
    result = read_picture(Path("out/sun_transmission.exr")).pixels
    assert result[0, 0] == pytest.approx(0.25, abs=1e-3)
    assert result[4, 4].min() > 3


def test_format_of_choice(separator):
    assert run(options(draw("a.png"), draw("b.jpg"), format="tiff")) == 0
    assert [Path(name).suffix for name in listing()] == [".tif", ".tif"]
    assert Image.open("out/a_transmission.tif").format == "TIFF"
    assert run(options("a.png", format="jpeg")) == 0
    assert Image.open("out/a_transmission.jpg").format == "JPEG"


def test_quality_reaches_the_separator(separator):
    run(options(draw("a.png"), quality="best"))
    assert separator.calls == ["best"]


def test_no_pictures_named(separator):
    with pytest.raises(UsageError, match="no pictures named"):
        run(options())


@pytest.mark.parametrize(
    ("size", "panel", "beside"),
    [((40, 30), (320, 240), True), ((120, 30), (320, 80), False), ((20, 400), (20, 400), True)],
)
def test_comparison_places_panels_beside_each_other_or_below(separator, size, panel, beside):
    run(options(draw("a.png", size), compare=True))
    width, height = Image.open("out/a_compare.jpg").size
    assert width > panel[0] * (2 if beside else 1)
    assert panel[1] * (1 if beside else 2) < height < panel[1] * (1 if beside else 2) + 200


@pytest.mark.parametrize("gray", [False, True])
def test_comparison_of_a_large_picture_shows_all_of_it(gray):
    x, y = np.meshgrid(np.linspace(0, 1, 4001, dtype=np.float32), np.linspace(0, 1, 3003, dtype=np.float32))
    pixels = np.stack([x, y, 0.5 * (x + y)], axis=2)
    panel = draw_comparison({"Before": pixels}, gray=gray)[88:-44, 44:-44]
    assert panel.shape == (1201, 1600, 3)
    x, y = np.meshgrid(np.linspace(0, 1, 1600), np.linspace(0, 1, 1201))
    expected = np.stack([x, y, 0.5 * (x + y)], axis=2)
    expected = np.broadcast_to(expected.mean(axis=2, keepdims=True), expected.shape) if gray else expected
    assert np.abs(panel - expected).max() < 0.006


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_run_goes_on(number):
    """A real signal to a real process: exit code 130, whole files only, and a second run finishes."""
    for index in range(6):
        draw(f"in/{index}.png", (64, 48), seed=index)
    script = (
        "import sys, time\n"
        "from clearpane.app import cli, remove_pictures\n"
        "from clearpane.separation.layers import Layers\n"
        "class Slow:\n"
        "    def separate(self, image, *, quality, confidence):\n"
        "        time.sleep(0.4)\n"
        "        return Layers(image, image)\n"
        "remove_pictures.load_separator = lambda *chosen: Slow()\n"
        "sys.exit(cli.main(['remove', 'in', '--output', 'out']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup hands down that it is ignored
    )
    process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error and "Traceback" not in error
    done = listing()
    assert 1 <= len(done) < 6
    for name in done:
        assert stored(f"out/{name}").shape == (48, 64, 3)
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert second.returncode == 0 and f"{len(done)} skipped" in second.stderr
    assert len(listing()) == 6


def test_the_panel_is_loaded_with_what_was_asked_for(tmp_path, monkeypatch):
    asked, photo = [], draw("window.png")

    def load(name, options):
        asked.append((name, options))
        return Halve()

    monkeypatch.setattr(remove_pictures, "load_separator", load)
    words = ["--model", "panel", "--weights", str(tmp_path), "--seed", "4", "--steps", "9", "--offload"]
    assert main(["remove", str(photo), "--output", "out", *words]) == 0
    ((name, options),) = asked
    assert name == "panel"
    assert (options.weights, options.seed, options.steps, options.offload) == (tmp_path, 4, 9, True)
    options.on_step(3, 9)  # there is no bar to draw it on


def test_what_a_separator_says_of_its_layers_is_passed_on(tmp_path, monkeypatch, capsys):
    class Talkative(Halve):
        def separate(self, image, **options):
            said = {"notes": ("branching is off: no model",), "reflection_note": "R is I - T"}
            return replace(super().separate(image, **options), **said)

    asked = []
    monkeypatch.setattr(
        remove_pictures, "load_separator", lambda *options: asked.append(options) or Talkative()
    )
    words = ["--model", "gensirr", "--weights", str(tmp_path), "--candidates", "4", "--depth-model", "d"]
    assert main(["remove", str(draw("window.png")), "--output", "out", "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == ["branching is off: no model"]
    again = ["--output", "again", "--reflection", "--json", *words]
    assert main(["remove", "window.png", *again]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == ["branching is off: no model", "R is I - T"]
    (name, options), _ = asked
    assert (name, options.candidates, options.branching) == ("gensirr", 4, "depth")
    assert options.depth_model == "d"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "panel"], "--model panel needs --weights"),
        (["--model", "gensirr"], "--weights, the folder that clearpane train gensirr or convert gensirr"),
        (["--steps", "4"], "--steps goes with --model panel or gensirr"),
        (["--steps", "28"], "--steps goes with --model panel or gensirr"),
        (["--seed", "0"], "--seed goes with --model panel or gensirr"),
        (["--offload"], "--offload goes with --model panel or gensirr"),
        (["--model", "nosuch"], "unknown model 'nosuch'; known are: compact, panel, gensirr"),
        (["--candidates", "4"], "--candidates goes with --model gensirr"),
        (["--model", "panel", "--weights", "x", "--candidates", "4"], "goes with --model gensirr"),
        (["--model", "gensirr", "--weights", "x", "--candidates", "0"], "--candidates 0: give 1 or more"),
        (["--model", "gensirr", "--weights", "x", "--depth-model", "d"], "go with --candidates 2 or more"),
        (
            [
                *("--model", "gensirr", "--weights", "x", "--candidates", "2"),
                *("--branching", "residual", "--depth-model", "d"),
            ],
            "--depth-model goes with --branching depth",
        ),
        (["--model", "panel", "--weights", "x", "--confidence"], "--confidence needs --model compact"),
        (["--model", "panel", "--weights", "x", "--steps", "0"], "--steps 0: give 1 or more"),
    ],
)
def test_options_of_another_model_are_refused(capsys, words, said):
    assert main(["remove", str(draw("window.png")), "--output", "out", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()
