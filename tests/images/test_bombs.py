"""Small files that claim, or unpack to, far more than they hold."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.images.repair import complete_png

ZEROS = zlib.compress(bytes(50_000_000), 9)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_far_fewer_bytes_than_pixels_is_refused(tmp_path: Path, progressive: bool) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG", progressive=progressive)
    data = bytearray(stream.getvalue())
    at = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 19000, 19000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ClearpaneError, match="far fewer bytes than its size needs"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_flattest_jpeg_is_read(tmp_path: Path, mode: str, options: dict[str, bool]) -> None:
    Image.new(mode, (1600, 1200), 255 if mode == "L" else (255, 255, 255)).save(
        tmp_path / "a.jpg", quality=1, **options
    )
    assert read_picture(tmp_path / "a.jpg").pixels.min() > 0.99


def test_the_repair_of_a_png_unpacks_no_more_than_its_pixels(tmp_path: Path) -> None:
    bomb = png(10, 10, chunk(b"IDAT", ZEROS))
    tracemalloc.start()
    assert complete_png(bomb[:-4]) is None
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()
    for interlace in (0, 1):
        rows = b"".join(b"\0" + bytes(30) for _ in range(20 if interlace else 10))
        assert complete_png(png(10, 10, chunk(b"IDAT", zlib.compress(rows)))[:-4]) is not None


@pytest.mark.parametrize(
    "extra", [chunk(b"iCCP", b"x\0\0" + ZEROS), chunk(b"zTXt", b"Raw profile type exif\0\0" + ZEROS)]
)
def test_texts_and_profiles_are_not_unpacked_without_end(tmp_path: Path, extra: bytes) -> None:
    rows = zlib.compress(b"".join(b"\0" + bytes(30) for _ in range(10)))
    (tmp_path / "a.png").write_bytes(png(10, 10, extra, chunk(b"IDAT", rows)))
    tracemalloc.start()
    with pytest.raises(ClearpaneError, match="damaged PNG"):
        read_picture(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 16_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(20000, 20001), (100_000, 100_000)])
def test_more_pixels_than_the_limit_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png(*size, chunk(b"IDAT", zlib.compress(bytes(100)))))
    with pytest.raises(ClearpaneError, match="more than the limit of 400 megapixels"):
        read_picture(tmp_path / "a.png")
    small = tmp_path / "b.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(small)
    with pytest.raises(ClearpaneError, match="more than the limit"):
        read_picture(small, max_pixels=399)
