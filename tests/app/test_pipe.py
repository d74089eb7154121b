"""One picture through standard input and output."""

import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from clearpane.app import pipe, remove_pictures
from clearpane.app.cli import main
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.separation.layers import Layers


class Loud:
    """A stand-in that prints what must not reach standard output: T is half the value of the input."""

    def separate(self, image, *, quality="fast", confidence=False):
        print("printed by Python")
        os.write(1, b"printed by a library\n")
        return Layers(image * np.float32(0.5), image * np.float32(0.5), None)


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture
def piped(monkeypatch, capfdbinary):
    """Run the command with bytes on standard input; return its exit code, output and messages."""
    monkeypatch.setattr(remove_pictures, "load_separator", lambda *chosen: Loud())

    def run(data, *words):
        stdin = Terminal(io.BytesIO()) if data is None else io.TextIOWrapper(io.BytesIO(data))
        monkeypatch.setattr(sys, "stdin", stdin)
        code = main(["remove", *words])
        printed = capfdbinary.readouterr()
        return code, printed.out, printed.err.decode()

    return run


def encoded(kind, sample_type="uint8"):
    values = np.stack(np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 16)), axis=-1)
    values = np.concatenate([values, values[..., :1]], axis=-1).astype(np.float32)
    file = io.BytesIO()
    write_picture(file, Picture(values, kind, sample_type), WriteOptions(format=kind))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "exr", "hdr"])
def test_the_result_alone_goes_out_in_the_format_that_came_in(piped, kind):
    data = encoded(kind, {"exr": "half", "hdr": "float"}.get(kind, "uint8"))
    code, out, err = piped(data, "-", "--output", "-")
    assert code == 0
    result, before = read_picture(out), read_picture(data)
    assert result.format == kind
    assert result.pixels == pytest.approx(before.pixels / 2, abs=0.04)
    assert "printed by Python" in err and "printed by a library" in err


def test_a_format_of_choice_keeps_the_bit_depth(piped):
    code, out, _ = piped(encoded("png", "uint16"), "-", "--output", "-", "--format", "tiff")
    assert code == 0
    result = read_picture(out)
    assert (result.format, result.sample_type) == ("tiff", "uint16")


def test_a_heic_comes_out_as_png_of_16_bits(piped):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (24, 16), (200, 100, 50))).save(file)
    code, out, _ = piped(file.getvalue(), "-", "--output", "-")
    assert code == 0
    assert (read_picture(out).format, read_picture(out).sample_type) == ("png", "uint16")


def test_a_named_picture_goes_to_standard_output(piped, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("png"))
    code, out, _ = piped(b"", str(tmp_path / "a.png"), "--output", "-")
    assert code == 0 and read_picture(out).pixels.shape == (16, 24, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_warnings_go_to_standard_error(piped):
    file = io.BytesIO()
    Image.new("RGBA", (24, 16), (200, 100, 50, 128)).save(file, "PNG")
    code, out, err = piped(file.getvalue(), "-", "--output", "-", "--format", "jpeg")
    assert code == 0 and read_picture(out).format == "jpeg"
    assert "warning: standard input: JPEG has no transparency" in err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "standard input is empty"),
        (b"GIF89a" + bytes(40), "standard input: is a GIF, which is not read"),
        (encoded("png")[:80], "standard input: truncated or damaged PNG"),
    ],
)
def test_bad_input_gives_one_line_and_no_byte(piped, data, said):
    code, out, err = piped(data, "-", "--output", "-")
    assert (code, out) == (1, b"")
    assert err.startswith(f"error: {said}") and err.count("\n") == 1


def test_an_interruption_writes_nothing(piped, monkeypatch):
    def separate(*image, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loud, "separate", separate)
    code, out, err = piped(encoded("png"), "-", "--output", "-")
    assert (code, out, err) == (130, b"", "error: interrupted\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-", "--output", "out"], "needs --output -"),
        (["a.png", "-", "--output", "-"], "takes one picture"),
        (["--watch", ".", "--output", "-"], "takes one picture"),
        (["-", "--output", "-", "--compare"], "--compare does not go with --output -"),
        (["-", "--output", "-", "--json"], "--json does not go with --output -"),
    ],
)
def test_what_does_not_go_with_a_pipe_is_a_usage_error(piped, words, said):
    code, out, err = piped(b"", *words)
    assert (code, out) == (2, b"") and said in err


def test_a_terminal_is_not_a_picture(piped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pipe.os, "isatty", lambda handle: True)
        code, out, err = piped(encoded("png"), "-", "--output", "-")
    assert (code, out) == (2, b"") and "standard output is a terminal" in err
    code, out, err = piped(None, "-", "--output", "-")
    assert (code, out) == (2, b"") and "standard input is a terminal" in err
