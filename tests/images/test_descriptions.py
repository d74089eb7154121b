"""IPTC records, resolution, comments and texts, compared with what Pillow finds in the result."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, IptcImagePlugin, PngImagePlugin

from clearpane.images.reading import read_picture
from clearpane.images.writing import losses, write_picture

CASES = Path(__file__).parents[1] / "data" / "cases"


def records(image):
    return IptcImagePlugin.getiptcinfo(image)


def test_the_jpeg_case(tmp_path):
    out = write_picture(tmp_path / "a.jpg", read_picture(CASES / "iptc_dpi.jpg"))
    with Image.open(CASES / "iptc_dpi.jpg") as before, Image.open(out) as after:
        assert records(after) == records(before) and records(before)
        assert after.info["comment"] == before.info["comment"] == b"a comment"
        assert after.info["dpi"] == before.info["dpi"] == (300, 300)


def test_the_png_case(tmp_path):
    out = write_picture(tmp_path / "a.png", read_picture(CASES / "text_dpi.png"))
    with Image.open(CASES / "text_dpi.png") as before, Image.open(out) as after:
        assert after.text == before.text and len(before.text) == 3
        assert after.info["dpi"] == before.info["dpi"]


def test_from_jpeg_to_tiff_and_png_and_back(tmp_path):
    picture = read_picture(CASES / "iptc_dpi.jpg")
    tiff = write_picture(tmp_path / "a.tif", picture)
    with Image.open(tiff) as image, Image.open(CASES / "iptc_dpi.jpg") as before:
        assert records(image) == records(before)
        assert image.info["dpi"] == (300, 300) and image.tag_v2[0x010E] == "a comment"
    png = write_picture(tmp_path / "a.png", picture)
    with Image.open(png) as image:
        assert image.text["Comment"] == "a comment" and "Raw profile type iptc" in image.text
    for path in (tiff, png):
        back = write_picture(tmp_path / f"{path.suffix}.jpg", read_picture(path))
        with Image.open(back) as image, Image.open(CASES / "iptc_dpi.jpg") as before:
            assert records(image) == records(before)


def test_texts_of_every_kind(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "plain")
    info.add_text("Packed", "long " * 100, zip=True)
    info.add_itxt("Place", "Zürich 東京", "de")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png", pnginfo=info)
    out = write_picture(tmp_path / "b.png", read_picture(tmp_path / "a.png"))
    with Image.open(out) as image:
        assert image.text == {"Title": "plain", "Packed": "long " * 100, "Place": "Zürich 東京"}


@pytest.mark.parametrize(
    ("name", "lost"), [("a.webp", "IPTC records"), ("a.exr", "resolution"), ("a.jpg", None)]
)
def test_what_a_format_cannot_hold_is_said(name, lost):
    found = losses(read_picture(CASES / "iptc_dpi.jpg"), Path(name))
    assert (lost in found[0]) if lost else found == []


def test_transparency_that_is_lost_is_said(tmp_path):
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "a.png")
    assert "white" in losses(read_picture(tmp_path / "a.png"), Path("a.jpg"))[0]
    assert losses(read_picture(tmp_path / "a.png"), Path("a.png")) == []
