"""Pictures in bytes and streams against the same pictures in files."""

import io
import os
import tempfile
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.masks import read_mask
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture

from .dng import write_dng

CASES = Path(__file__).parents[1] / "data" / "cases"
WRITTEN = ("jpeg", "png", "tiff", "webp", "exr", "hdr")
PIXELS = np.random.default_rng(0).random((40, 48, 3), dtype=np.float32)


def described(kind):
    """A picture with what files of that kind hold beside pixels."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture = Picture(
        PIXELS, kind, "uint8", alpha=PIXELS[..., 0], exif=exif.tobytes().removeprefix(b"Exif\0\0")
    )
    return replace(picture, attributes={"Software": "test"} if kind in ("exr", "hdr") else {})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    made = {kind: folder / f"a.{kind}" for kind in WRITTEN}
    for kind, path in made.items():
        write_picture(path, described(kind), WriteOptions(format=kind))
    made |= {"heic": CASES / "grey.heic", "raw": folder / "a.dng"}
    made |= {
        "raw tiff": folder / "a.nameless",
        "repaired": CASES / "noeoi.jpg",
        "leading": CASES / "leading.jpg",
    }
    for name in ("raw", "raw tiff"):
        write_dng(made[name], 0.3)
    return made


def compare(found, expected):
    for field in fields(Picture):
        if field.name != "source":
            one, other = getattr(found, field.name), getattr(expected, field.name)
            same = np.array_equal(one, other) if isinstance(other, np.ndarray) else one == other
            assert same, field.name


KINDS = [*WRITTEN, "heic", "raw", "raw tiff", "repaired", "leading"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_same_from_a_path_bytes_and_streams(files, kind):
    for extra in {"heic": ["pillow_heif"], "raw": ["rawpy"], "raw tiff": ["rawpy"]}.get(kind, []):
        pytest.importorskip(extra)
    path = files[kind]
    expected, data = read_picture(str(path)), path.read_bytes()
    assert expected.source == path
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        found = read_picture(source)
        compare(found, expected)
        assert found.source is None
    with path.open("rb") as stream:
        found = read_picture(stream)
        compare(found, expected)
        assert found.source == path


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_stream_gets_the_bytes_that_a_file_gets(files, kind):
    stream = io.BytesIO()
    assert write_picture(stream, described(kind), WriteOptions(format=kind)) is None
    written, expected = stream.getvalue(), files[kind].read_bytes()
    if kind in ("exr", "tiff"):  # OpenImageIO writes the time into these
        assert len(written) == len(expected)
        compare(read_picture(written), read_picture(expected))
    else:
        assert written == expected


def test_a_stream_is_used_from_its_position_on_and_left_open():
    stream = io.BytesIO(b"before")
    stream.seek(0, io.SEEK_END)
    write_picture(stream, described("png"))
    assert not stream.closed and stream.tell() == len(stream.getvalue())
    stream.seek(len(b"before"))
    found = read_picture(stream)
    assert not stream.closed and stream.read() == b""
    compare(found, read_picture(stream.getvalue().removeprefix(b"before")))


def test_a_stream_need_not_be_seekable():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reading:

        def write():
            with os.fdopen(write_end, "wb") as writing:
                write_picture(writing, described("png"))

        thread = threading.Thread(target=write)
        thread.start()
        found = read_picture(reading)
        thread.join()
    stream = io.BytesIO()
    write_picture(stream, described("png"))
    compare(found, read_picture(stream.getvalue()))


def test_a_stream_s_format_comes_from_the_options_then_its_name_then_the_picture(tmp_path):
    with (tmp_path / "a.tif").open("wb") as stream:
        write_picture(stream, described("png"))
    assert read_picture(tmp_path / "a.tif").format == "tiff"
    with (tmp_path / "b.tif").open("wb") as stream:
        write_picture(stream, described("png"), WriteOptions(format="webp"))
    assert read_picture(tmp_path / "b.tif").format == "webp"
    for kind, written in (("webp", "webp"), ("raw", "png"), ("heic", "png")):
        stream = io.BytesIO()
        write_picture(stream, described(kind))
        assert read_picture(stream.getvalue()).format == written


def test_a_format_that_is_not_written_is_refused(tmp_path):
    with pytest.raises(ClearpaneError, match=r"^the picture: `format=gif`: give jpeg, png, tiff, webp"):
        write_picture(io.BytesIO(), described("png"), WriteOptions(format="gif"))
    with (
        (tmp_path / "a.gif").open("wb") as stream,
        pytest.raises(ClearpaneError, match=r"a\.gif: cannot write"),
    ):
        write_picture(stream, described("png"))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("repaired", "leading")])
def test_truncated_bytes_are_refused_in_one_line(files, kind, capfd):
    for extra in {"heic": ["pillow_heif"], "raw": ["rawpy"], "raw tiff": ["rawpy"]}.get(kind, []):
        pytest.importorskip(extra)
    data = files[kind].read_bytes()
    with pytest.raises(ClearpaneError, match=r"^the picture: [^\n]*[a-z][^\n]*$"):
        read_picture(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "") or "raw" in kind  # LibRaw writes a line of its own


def test_messages_name_a_stream_that_has_a_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with (tmp_path / "a.png").open("rb") as stream, pytest.raises(ClearpaneError, match=r"a\.png: truncated"):
        read_picture(stream)
    with tempfile.TemporaryFile() as stream, pytest.raises(ClearpaneError, match=r"^the picture: is empty"):
        read_picture(stream)  # its name is a number
    with pytest.raises(ClearpaneError, match=r"^the mask: the mask selects nothing"):
        black = io.BytesIO()
        write_picture(black, Picture(np.zeros_like(PIXELS), "png", "uint8"))
        read_mask(black.getvalue())


def test_streams_that_cannot_be_used(tmp_path):
    closed = io.BytesIO()
    closed.close()
    for stream, message in (
        (io.StringIO("text"), 'is a text stream; open it in binary mode \\("rb"\\)'),
        (closed, "cannot be read .*closed"),
        (io.BytesIO(), r"is empty \(0 bytes\); rewind"),
        (io.BytesIO(b"Dear reader"), "is not a picture"),
    ):
        with pytest.raises(ClearpaneError, match=f"^the picture: {message}"):
            read_picture(stream)
    for stream, message in (
        (io.StringIO(), 'is a text stream; open it in binary mode \\("wb"\\)'),
        (closed, "writing failed .*closed"),
    ):
        with pytest.raises(ClearpaneError, match=f"^the picture: {message}"):
            write_picture(stream, described("png"))
    (tmp_path / "a.png").touch()
    with (
        (tmp_path / "a.png").open("rb") as stream,
        pytest.raises(ClearpaneError, match=r"a\.png: writing failed"),
    ):
        write_picture(stream, described("png"))


def test_nothing_reaches_a_stream_when_encoding_fails():
    stream = io.BytesIO(b"before")
    with pytest.raises(ClearpaneError, match="WEBP holds at most"):
        write_picture(stream, Picture(np.zeros((1, 20000, 3), np.float32), "webp", "uint8"))
    assert stream.getvalue() == b"before"


def test_the_file_that_a_stream_has_open_is_never_overwritten(tmp_path):
    path = tmp_path / "a.png"
    write_picture(path, described("png"))
    with path.open("rb") as stream:
        picture = read_picture(stream)
    with pytest.raises(ClearpaneError, match="never overwritten"):
        write_picture(path, picture, WriteOptions(overwrite=True))


def test_no_temporary_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stream = io.BytesIO()
    write_picture(stream, described("exr"))
    read_picture(stream.getvalue())
    with pytest.raises(ClearpaneError):
        read_picture(stream.getvalue()[:300])
    assert list(tmp_path.iterdir()) == []
