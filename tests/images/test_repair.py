"""Files whose frame is damaged, compared with what Pillow reads of the whole file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.reading import picture_format, read_picture

CASES = Path(__file__).parents[1] / "data" / "cases"
PIXELS = np.random.default_rng(0).integers(0, 256, (61, 77, 3), dtype=np.uint8)
KINDS = [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 2}), ("PNG", {})]


def encoded(kind, options):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def check(path, whole):
    picture = read_picture(path)
    with Image.open(io.BytesIO(whole)) as image:
        np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.asarray(image))
    assert any("damaged" in warning for warning in picture.warnings)


def test_the_cases():
    check(CASES / "noeoi.jpg", (CASES / "noeoi.jpg").read_bytes() + b"\xff\xd9")
    data = (CASES / "leading.jpg").read_bytes()
    check(CASES / "leading.jpg", data[data.find(b"\xff\xd8") :])


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("before", [b"\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(500)])
def test_leading_bytes(tmp_path, kind, options, before):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(before + encoded(kind, options))
    assert picture_format(path) == kind.lower()
    check(path, encoded(kind, options))


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_no_end(tmp_path, kind, options):
    whole = encoded(kind, options)
    (tmp_path / "a").write_bytes(whole[: -2 if kind == "JPEG" else -12])
    check(tmp_path / "a", whole)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("missing", [1, 3, 20, 300, 2000])
def test_missing_pixels_are_never_made_up(tmp_path, kind, options, missing):
    whole = encoded(kind, options)
    (tmp_path / "a").write_bytes(whole[: -missing - (2 if kind == "JPEG" else 16)])
    with pytest.raises(ClearpaneError, match="damaged"):
        read_picture(tmp_path / "a")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_data_that_ends_before_the_end_marker_is_refused(progressive, subsampling, kept):
    whole = encoded("JPEG", {"progressive": progressive, "subsampling": subsampling})
    cut = whole[: int(len(whole) * kept)].rstrip(b"\xff") + b"\xff\xd9"
    with pytest.raises(ClearpaneError, match="damaged JPEG file"):
        read_picture(cut)


def test_damage_in_the_middle_that_the_decoder_notices_is_refused():
    whole = encoded("JPEG", {"restart_marker_blocks": 4})
    middle = whole.index(b"\xff\xd3")
    with pytest.raises(ClearpaneError, match="damaged JPEG file"):
        read_picture(whole[: middle - 60] + whole[middle:])


def test_bytes_left_over_before_a_restart_marker_are_damage():
    whole = encoded("JPEG", {"restart_marker_blocks": 4})
    middle = whole.index(b"\xff\xd3")
    with pytest.raises(ClearpaneError, match="damaged JPEG file"):
        read_picture(whole[: middle - 90] + bytes(60) + whole[middle - 30 :])


@pytest.mark.parametrize("progressive", [False, True])
def test_bytes_between_data_and_end_do_no_harm(progressive):
    whole = encoded("JPEG", {"progressive": progressive})
    picture = read_picture(whole[:-2] + bytes(9) + whole[-2:])
    with Image.open(io.BytesIO(whole)) as image:
        np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.asarray(image))


def test_a_wrong_checksum_of_a_text(tmp_path):
    whole = encoded("PNG", {})
    chunk = struct.pack(">I", 6) + b"tEXtTi\0abc" + struct.pack(">I", 1)
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    check(tmp_path / "a.png", whole)


def test_a_wrong_checksum_of_sound_pixels(tmp_path):
    whole = bytearray(encoded("PNG", {}))
    at = whole.find(b"IDAT")
    (size,) = struct.unpack_from(">I", whole, at - 4)
    whole[at + 4 + size] ^= 1
    (tmp_path / "a.png").write_bytes(whole)
    check(tmp_path / "a.png", encoded("PNG", {}))


def test_a_wrong_checksum_of_colours_is_refused(tmp_path):
    whole = encoded("PNG", {})
    chunk = struct.pack(">I", 4) + b"gAMA" + struct.pack(">II", 100000, zlib.crc32(b"other"))
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    with pytest.raises(ClearpaneError, match="checksum"):
        read_picture(tmp_path / "a.png")


def test_a_name_that_is_not_unicode_is_refused_for_its_name(tmp_path):
    path = tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    path.write_bytes(encoded("PNG", {}))
    with pytest.raises(ClearpaneError, match="not valid Unicode; rename it"):
        read_picture(path)


def test_a_photograph_with_a_gain_map_is_read_as_its_eight_bits(monkeypatch):
    # OpenImageIO would decode Ultra HDR to four half-float channels: it must not be asked.
    import OpenImageIO as oiio

    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    whole = encoded("JPEG", {"xmp": xmp}) + encoded("JPEG", {})
    monkeypatch.setattr(oiio, "ImageInput", None)
    picture = read_picture(whole)
    with Image.open(io.BytesIO(whole)) as image:
        np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.asarray(image))
