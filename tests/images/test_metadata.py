"""The EXIF block and XMP, made to fit pixels that were turned and changed."""

import io
import struct

import pytest
from PIL import Image

from clearpane.images.metadata import clean_exif, clean_xmp, embedded_extras


def exif_with_thumbnail(order):
    """Orientation 6, 400 x 300, a maker note, and a thumbnail in a second directory."""
    encoded = io.BytesIO()
    Image.new("RGB", (16, 12)).save(encoded, "JPEG")
    thumbnail = encoded.getvalue()
    exif_at, note_at, second_at, thumbnail_at = 38, 80, 96, 150
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    data += struct.pack(order + "H", 2) + struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    data += struct.pack(order + "HHII", 0x8769, 4, 1, exif_at) + struct.pack(order + "I", second_at)
    data += struct.pack(order + "H", 3) + struct.pack(order + "HHII", 0x927C, 7, 16, note_at)
    data += struct.pack(order + "HHII", 0xA002, 4, 1, 400) + struct.pack(order + "HHII", 0xA003, 4, 1, 300)
    data = data.ljust(note_at, b"\0") + b"maker's own note"
    data += struct.pack(order + "H", 3) + struct.pack(order + "HHIHH", 0x0103, 3, 1, 6, 0)
    data += struct.pack(order + "HHII", 0x0201, 4, 1, thumbnail_at)
    data += struct.pack(order + "HHII", 0x0202, 4, 1, len(thumbnail))
    return data.ljust(thumbnail_at, b"\0") + thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_block_fits_the_turned_picture(order):
    before = exif_with_thumbnail(order)
    after, orientation = clean_exif(before)
    assert orientation == 6 and len(after) == len(before)
    old, new = Image.Exif(), Image.Exif()
    old.load(before)
    new.load(after)
    assert (old[0x0112], new[0x0112]) == (6, 1)
    next_directory = slice(34, 38)
    assert before[next_directory] != bytes(4) and after[next_directory] == bytes(4)
    fields = new.get_ifd(0x8769)
    assert (fields[0xA002], fields[0xA003], fields[0x927C]) == (300, 400, b"maker's own note")
    assert clean_exif(after) == (after, 1)


@pytest.mark.parametrize(
    "block", [None, b"", b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x09\0"]
)
def test_a_broken_exif_block_is_dropped(block):
    assert clean_exif(block) == (None, 1)


def test_xmp_no_longer_tells_of_what_is_gone():
    packet = (
        '<d tiff:Orientation="6" hdrgm:Version="1.0" a:b="c">'
        "<Container:Directory><x/></Container:Directory><k/></d>"
    )
    assert clean_xmp(packet, gain_map_dropped=True) == b'<d tiff:Orientation="1" a:b="c"><k/></d>'
    assert clean_xmp(packet, gain_map_dropped=False) == packet.replace("6", "1", 1).encode()
    assert clean_xmp(None, gain_map_dropped=False) is None


def test_what_follows_a_jpeg_is_told_apart():
    assert embedded_extras(b"") == (None, False)
    assert embedded_extras(b"\0\0some trailer of a phone") == (None, False)
    assert embedded_extras(b"\xff\xd8\xff\xe0preview") == ("further embedded pictures dropped", False)
    assert embedded_extras(b"\xff\xd8\xff\xe1urn:com:apple HDRGainMap") == ("gain map dropped", True)
