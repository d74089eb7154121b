"""PNG colour chunks, compared with their formulas and with LittleCMS through Pillow."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from clearpane.errors import ClearpaneError
from clearpane.images import profiles
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.optics.color import linear_to_srgb, srgb_to_linear

CASES = Path(__file__).parents[1] / "data" / "cases"
SRGB = ImageCms.createProfile("sRGB")
TO_XYZ = {
    "srgb": [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    "adobe": [
        [0.5767309, 0.1855540, 0.1881852],
        [0.2973769, 0.6273491, 0.0752741],
        [0.0270343, 0.0706872, 0.9911085],
    ],
    "p3": [[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0.0, 0.0451134, 1.0439444]],
    "bt2020": [
        [0.6369580, 0.1446169, 0.1688810],
        [0.2627002, 0.6779981, 0.0593017],
        [0.0, 0.0280727, 1.0609851],
    ],
}
"""From the RGB of a space with white D65 to XYZ (Lindbloom; SMPTE EG 432-1; ITU-R BT.2020)."""
CHRM = {
    "srgb": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    "adobe": (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
}


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def gama(value):
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(space):
    return chunk(b"cHRM", struct.pack(">8I", *CHRM[space]))


def iccp(profile):
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


def samples(channels=3):
    found = np.random.default_rng(0).integers(0, 256, (24, 32, channels), dtype=np.uint8)
    return found[..., 0] if channels == 1 else found


def write(path, array, chunks):
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, "PNG")
    data = encoded.getvalue()
    path.write_bytes(data[:33] + chunks + data[33:])


def converted(array, space, curve):
    light = curve(array / 255) @ np.array(TO_XYZ[space]).T @ np.linalg.inv(np.array(TO_XYZ["srgb"])).T
    return linear_to_srgb(light.astype(np.float32))


def bt709(code):
    return np.where(code < 0.081, code / 4.5, ((code + 0.099) / 1.099) ** (1 / 0.45))


def test_the_linear_case():
    with Image.open(CASES / "gama1.png") as image:
        stored = np.asarray(image) / 255
    shown = read_picture(CASES / "gama1.png").pixels
    np.testing.assert_allclose(shown, linear_to_srgb(stored.astype(np.float32)), atol=1e-4)


def test_the_case_of_adobe_rgb():
    with Image.open(CASES / "chrm_adobe.png") as image:
        expected = converted(np.asarray(image), "adobe", lambda code: code**2.2)
    np.testing.assert_allclose(read_picture(CASES / "chrm_adobe.png").pixels, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("chunks", "space", "curve"),
    [
        (b"", "srgb", srgb_to_linear),
        (gama(45455), "srgb", srgb_to_linear),
        (gama(45455) + chrm("srgb"), "srgb", srgb_to_linear),
        (chunk(b"sRGB", b"\0") + gama(100000) + chrm("adobe"), "srgb", srgb_to_linear),
        (gama(55556), "srgb", lambda code: code**1.8),
        (chrm("adobe"), "adobe", srgb_to_linear),
        (gama(55556) + chrm("adobe"), "adobe", lambda code: code**1.8),
        (gama(0) + chrm("srgb"), "srgb", srgb_to_linear),
        (chunk(b"cICP", bytes([12, 13, 0, 1])), "p3", srgb_to_linear),
        (chunk(b"cICP", bytes([12, 13, 0, 1])) + chunk(b"sRGB", b"\0") + gama(45455), "p3", srgb_to_linear),
        (chunk(b"cICP", bytes([9, 1, 0, 1])), "bt2020", bt709),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), "srgb", lambda code: code),
        (chunk(b"cICP", bytes([1, 13, 0, 1])) + iccp(profiles.display_p3_profile()), "srgb", srgb_to_linear),
        (iccp(profiles.display_p3_profile()) + gama(100000), "p3", srgb_to_linear),
        (iccp(profiles.display_p3_profile()) + chunk(b"sRGB", b"\0"), "p3", srgb_to_linear),
    ],
)
def test_the_first_chunk_in_the_order_of_the_standard_counts(tmp_path, chunks, space, curve):
    write(tmp_path / "a.png", samples(), chunks)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels, converted(samples(), space, curve), atol=2e-3)
    for name in ("b.png", "b.jpg", "b.tif"):
        out = write_picture(tmp_path / name, picture, WriteOptions(jpeg_quality=100))
        if space == "srgb" and curve is srgb_to_linear:
            continue
        with Image.open(out) as image:  # another program sees the same colours
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            seen = ImageCms.profileToProfile(
                image, profile, SRGB, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
            )
        tolerance = 3 if name == "b.jpg" else 1.5
        assert np.abs(np.clip(picture.pixels, 0, 1) * 255 - np.asarray(seen)).mean() < tolerance
    if not name.endswith(".jpg"):
        again = read_picture(tmp_path / "b.png")
        np.testing.assert_allclose(again.pixels, picture.pixels, atol=5e-3)


def test_a_profile_of_srgb_is_the_tag_of_a_file_that_says_srgb(tmp_path):
    write(tmp_path / "a.png", samples(), chunk(b"sRGB", b"\0"))
    out = write_picture(tmp_path / "b.png", read_picture(tmp_path / "a.png"))
    with Image.open(out) as image:
        assert image.info["icc_profile"] == profiles.srgb_profile()


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_grey(tmp_path, gamma):
    write(tmp_path / "a.png", samples(1), gama(round(100000 / gamma)))
    picture = read_picture(tmp_path / "a.png")
    expected = linear_to_srgb(((samples(1) / 255) ** gamma).astype(np.float32))
    assert picture.is_gray
    np.testing.assert_allclose(picture.pixels[..., 0], expected, atol=2e-3)
    again = write_picture(tmp_path / "b.png", picture)
    with Image.open(again) as image:
        np.testing.assert_array_equal(np.asarray(image), samples(1))
        assert image.info["icc_profile"][16:20] == b"GRAY"


@pytest.mark.parametrize(
    ("cicp", "message"), [((9, 16, 0, 1), "HDR"), ((9, 18, 0, 1), "HDR"), ((1, 13, 0, 0), "narrow-range")]
)
def test_what_srgb_cannot_show_is_refused(tmp_path, cicp, message):
    write(tmp_path / "a.png", samples(), chunk(b"cICP", bytes(cicp)))
    with pytest.raises(ClearpaneError, match=rf"{message}.*convert it to sRGB first"):
        read_picture(tmp_path / "a.png")


def test_primaries_that_make_no_sense_are_passed_over(tmp_path):
    write(tmp_path / "a.png", samples(), gama(45455) + chunk(b"cHRM", bytes(32)))
    np.testing.assert_array_equal(np.rint(read_picture(tmp_path / "a.png").pixels * 255), samples())
