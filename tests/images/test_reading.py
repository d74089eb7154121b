"""Files made by other programs' libraries (Pillow, OpenImageIO), read."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image, ImageCms

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images import metadata, profiles
from clearpane.images.formats import is_picture_name
from clearpane.images.reading import picture_format, read_picture
from clearpane.images.writing import write_picture

CASES = Path(__file__).parents[1] / "data" / "cases"
TURNS = Image.Transpose
UNDO = {
    2: TURNS.FLIP_LEFT_RIGHT,
    3: TURNS.ROTATE_180,
    4: TURNS.FLIP_TOP_BOTTOM,
    5: TURNS.TRANSPOSE,
    6: TURNS.ROTATE_90,
    7: TURNS.TRANSVERSE,
    8: TURNS.ROTATE_270,
}
"""From the upright picture to the stored one (PIL turns anticlockwise)."""


def noise(height=24, width=32, channels=3, seed=0):
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return samples[..., 0] if channels == 1 else samples


def write_oiio(path, samples, kind, **attributes):
    height, width, channels = samples.shape
    spec = oiio.ImageSpec(width, height, channels, kind)
    spec.channelnames = {1: ("Y",), 2: ("Y", "A"), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}[channels]
    spec.alpha_channel = channels - 1 if channels in (2, 4) else -1
    for name, value in attributes.items():
        spec.attribute(name, value)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec)
    assert output.write_image(np.ascontiguousarray(samples))
    assert output.close()


# WebP has no grey.
@pytest.mark.parametrize(
    ("name", "channels"), [("a.png", 1), ("a.png", 3), ("a.tif", 1), ("a.tif", 3), ("a.webp", 3)]
)
def test_eight_bit_samples_arrive_unchanged(tmp_path, name, channels):
    samples = noise(channels=channels)
    Image.fromarray(samples).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    picture = read_picture(tmp_path / name)
    assert picture.pixels.dtype == np.float32
    assert picture.is_gray == (channels == 1)
    expected = np.broadcast_to(samples[..., None], (24, 32, 3)) if channels == 1 else samples
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_and_alpha_arrive_unchanged(tmp_path, suffix, channels):
    samples = np.random.default_rng(1).integers(0, 65536, (24, 32, channels), dtype=np.uint16)
    write_oiio(tmp_path / f"a{suffix}", samples, "uint16", **{"oiio:UnassociatedAlpha": 1})
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.sample_type == "uint16"
    colours = np.broadcast_to(samples[..., :1], (24, 32, 3)) if channels < 3 else samples[..., :3]
    np.testing.assert_array_equal(np.rint(picture.pixels * 65535), colours)
    if channels in (2, 4):
        np.testing.assert_array_equal(np.rint(picture.alpha * 65535), samples[..., -1])
    else:
        assert picture.alpha is None


def test_a_format_is_told_by_the_content(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.jpg", "PNG")
    assert picture_format(tmp_path / "a.jpg") == "png"


def test_jpeg_agrees_with_pillow(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(
            np.rint(read_picture(tmp_path / "a.jpg").pixels * 255), np.asarray(image)
        )


@pytest.mark.parametrize("mode", ["P", "1"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_and_single_bits_are_expanded(tmp_path, mode, suffix):
    image = Image.fromarray(noise())
    image = image.quantize(16) if mode == "P" else image.convert("1")
    image.save(tmp_path / f"a{suffix}")
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.is_gray == (mode == "1")
    # Pillow stores a TIFF palette as v * 256, which OpenImageIO rightly takes for a little less than v
    step = 1 if (mode, suffix) == ("P", ".tif") else 0
    np.testing.assert_allclose(
        np.rint(picture.pixels * 255), np.asarray(image.convert("RGB")), rtol=0, atol=step
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_the_orientation_is_applied_once(tmp_path, orientation, suffix):
    upright = Image.fromarray(noise(24, 32))
    stored = upright.transpose(UNDO[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    path = tmp_path / f"a{suffix}"
    stored.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    picture = read_picture(path)
    assert picture.pixels.shape == (24, 32, 3)
    if suffix != ".jpg":
        np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.asarray(upright))
    out = write_picture(tmp_path / f"b{suffix}", picture)
    with Image.open(out) as image:
        assert image.size == (32, 24)
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "Maker"


def test_linear_light_is_encoded_along_the_extended_curve(tmp_path):
    light = np.array([[[0.0, 0.001, 0.18], [1.0, 4.0, -0.5]]], np.float32)
    write_oiio(tmp_path / "a.exr", light, "float")
    power = 1.055 * np.array([0.18, 1.0, 4.0, 0.5]) ** (1 / 2.4) - 0.055
    expected = [[0, 0.01292, power[0]], [power[1], power[2], -power[3]]]
    np.testing.assert_allclose(read_picture(tmp_path / "a.exr").pixels[0], expected, atol=1e-6)


def test_associated_alpha_is_divided_out(tmp_path):
    light = np.array([[[0.1, 0.05, 0.2, 0.5], [0.3, 0.2, 0.1, 0.0]]], np.float32)
    write_oiio(tmp_path / "a.exr", light, "float")
    write_oiio(tmp_path / "straight.exr", np.array([[[0.2, 0.1, 0.4], [0.3, 0.2, 0.1]]], np.float32), "float")
    picture = read_picture(tmp_path / "a.exr")
    np.testing.assert_allclose(picture.pixels, read_picture(tmp_path / "straight.exr").pixels, atol=1e-6)
    np.testing.assert_array_equal(picture.alpha, [[0.5, 0.0]])


def test_values_that_are_not_numbers_are_replaced_with_a_warning(tmp_path):
    light = np.array([[[np.nan, np.inf, 0.5]]], np.float32)
    write_oiio(tmp_path / "a.exr", light, "float")
    picture = read_picture(tmp_path / "a.exr")
    assert np.isfinite(picture.pixels).all() and picture.pixels[0, 0, 0] == 0
    assert "not numbers" in picture.warnings[0]


def test_a_profile_is_converted_as_littlecms_does(tmp_path):
    samples = noise()
    profile = imagecodecs.cms_profile("adobergb")
    Image.fromarray(samples).save(tmp_path / "a.png", icc_profile=profile)
    pixels = read_picture(tmp_path / "a.png").pixels
    with Image.open(tmp_path / "a.png") as image:
        expected = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
    assert np.abs(np.clip(pixels, 0, 1) * 255 - np.asarray(expected)).max() < 1.1
    assert pixels.min() < -0.05 and pixels.max() > 1.05


def test_table_curves_are_computed_as_littlecms_does():
    samples = np.random.default_rng(0).random((64, 64, 3), np.float32)
    conversion = profiles.ProfileConversion(profiles.display_p3_profile(), 3)
    linear = profiles.rgb_profile((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), np.array([1.0]))
    light = imagecodecs.cms_transform(
        samples,
        profiles.display_p3_profile(),
        linear,
        colorspace="rgb",
        outcolorspace="rgb",
        outdtype="float32",
    )
    ours = conversion.to_srgb(samples)
    theirs = profiles.linear_to_srgb(light)
    assert np.abs(ours - theirs).max() < 5e-4  # theirs is rounded to 1/65535 of linear light


def test_a_profile_for_other_channels_is_left_out_with_a_warning(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=imagecodecs.cms_profile("gray", gamma=2.2))
    picture = read_picture(tmp_path / "a.png")
    assert picture.icc_profile is None and "GRAY" in picture.warnings[0]


def test_a_gain_map_is_dropped_with_a_warning(tmp_path):
    first, second = io.BytesIO(), io.BytesIO()
    xmp = b'<x hdrgm:Version="1.0" dc:title="kept"/>'
    Image.fromarray(noise()).save(first, "JPEG", xmp=xmp)
    Image.fromarray(noise(12, 16)).save(second, "JPEG", xmp=b"<x hdrgm:GainMapMax='2'/>")
    (tmp_path / "a.jpg").write_bytes(first.getvalue() + second.getvalue())
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.warnings == ("gain map dropped",)
    assert b"hdrgm" not in picture.xmp and b"kept" in picture.xmp
    out = write_picture(tmp_path / "b.jpg", picture)
    assert out.read_bytes().count(b"\xff\xd8\xff") == 1


def test_further_pages_are_said_and_thumbnails_are_not(tmp_path):
    pages = [Image.fromarray(noise(seed=k)) for k in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    picture = read_picture(tmp_path / "a.tif")
    assert "first" in picture.warnings[0]
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), noise())


def test_the_content_counts_not_the_name(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg").format == "png"


@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.tif", "a.webp", "a.exr", "a.hdr"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, capfd, name, share):
    path = tmp_path / name
    if path.suffix in (".exr", ".hdr"):
        write_oiio(path, np.random.default_rng(0).random((64, 64, 3)).astype(np.float32), "float")
    else:
        Image.fromarray(noise(64, 64)).save(path, **({"progressive": True} if "progressive" in name else {}))
    read_picture(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ClearpaneError, match=r"truncated or damaged .* get a fresh copy") as caught:
        read_picture(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_png_is_refused(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ClearpaneError, match="checksum"):
        read_picture(tmp_path / "a.png")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">II5B", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = zlib.crc32(b"IHDR" + header)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", chunks)
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(ClearpaneError, match="60000 x 60000 is more than the limit of 400 megapixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_the_limit_holds_for_every_format(tmp_path, suffix):
    Image.fromarray(noise()).save(tmp_path / f"a{suffix}")
    assert read_picture(tmp_path / f"a{suffix}", max_pixels=24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(ClearpaneError, match="limit"):
        read_picture(tmp_path / f"a{suffix}", max_pixels=24 * 32 - 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("cmyk.jpg", "CMYK"), ("cmyk.tif", "CMYK"), ("a.gif", "is a GIF"), ("animated.png", "an animated PNG"),
     ("animated.webp", "an animated WebP")],
)  # fmt: skip
def test_what_is_not_read_is_named(tmp_path, name, message):
    image = Image.fromarray(noise())
    if "cmyk" in name:
        image.convert("CMYK").save(tmp_path / name)
    elif "animated" in name:
        image.save(tmp_path / name, save_all=True, append_images=[image.rotate(90)])
    else:
        image.save(tmp_path / name)
    with pytest.raises(ClearpaneError, match=message) as caught:
        read_picture(tmp_path / name)
    assert name in str(caught.value)


def test_files_that_are_no_pictures(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("Dear reader")
    (tmp_path / "folder.jpg").mkdir()
    reasons = {
        "empty": "is empty",
        "text": "is not a picture",
        "folder": "is a folder",
        "missing": "no such file",
    }
    for stem, message in reasons.items():
        name = f"{stem}.jpg"
        with pytest.raises(ClearpaneError, match=message) as caught:
            read_picture(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ClearpaneError, match="no permission"):
        read_picture(tmp_path / "text.jpg")


@pytest.mark.parametrize(("name", "module"), [("a.heic", "pillow_heif"), ("a.dng", "rawpy")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    header = b"\0\0\0\x18ftypheic" if name == "a.heic" else b"II*\0\x08\0\0\0"
    (tmp_path / name).write_bytes(header.ljust(64, b"\0"))
    with pytest.raises(MissingExtraError, match=r"clearpane\[photo\]"):
        read_picture(tmp_path / name)


def test_heic_is_read_upright_and_written_as_sixteen_bit_png(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.zeros((48, 64, 3), np.uint8)
    ramp[:, :32] = (200, 40, 40)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    pillow_heif.from_pillow(Image.fromarray(ramp)).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    picture = read_picture(tmp_path / "a.heic")
    assert picture.format == "heic" and picture.pixels.shape == (64, 48, 3)
    np.testing.assert_allclose(picture.pixels[10, 24] * 255, (200, 40, 40), atol=6)
    out = write_picture(tmp_path / "a.png", picture)
    again = read_picture(out)
    assert again.sample_type == "uint16" and again.icc_profile
    assert np.abs(again.pixels - picture.pixels).max() < 2e-5
    with Image.open(out) as image:
        assert image.getexif()[0x010F] == "Maker" and image.getexif().get(0x0112, 1) == 1


def test_names_of_pictures():
    assert is_picture_name("a/IMG_1.JPG") and is_picture_name("x.tiff") and is_picture_name("x.dng")
    assert all(is_picture_name(f"x{s}") for s in (".jfif", ".jpe", ".mpo", ".hif", ".nrw", ".3fr"))
    assert not is_picture_name("jpg") and not is_picture_name("x.gif") and not is_picture_name(".jpg/x")


def scanner_profile():
    """A profile with a table from RGB to Lab and none back."""
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = grid @ [0.3, 0.6, 0.1] * 0xFF00
    a = 0x8000 + (grid[:, 0] - grid[:, 1]) * 0x3000
    b = 0x8000 + (grid[:, 1] - grid[:, 2]) * 0x3000
    table = np.stack([lightness, a, b], axis=1).astype(">u2").tobytes()
    identity = struct.pack(">9i", *(65536 * (k % 4 == 0) for k in range(9)))
    ramps = struct.pack(">2H", 0, 65535) * 3
    lut = (
        b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + identity + struct.pack(">2H", 2, 2) + ramps + table + ramps
    )
    lut += bytes(-len(lut) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"A2B0", 156, len(lut))
    tags += struct.pack(">4sII", b"wtpt", 156 + len(lut), len(white))
    body = tags + lut + white
    head = struct.pack(">I4sI", 128 + len(body), bytes(4), 0x02400000) + b"scnrRGB Lab " + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


def test_a_table_without_a_way_back_is_read_and_written_as_srgb(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=scanner_profile())
    picture = read_picture(tmp_path / "a.png")
    assert picture.warnings == () and picture.icc_profile == scanner_profile()
    assert np.abs(picture.pixels - noise() / 255).max() > 0.1
    again = read_picture(write_picture(tmp_path / "b.png", picture))
    assert again.icc_profile == profiles.srgb_profile()
    assert np.abs(again.pixels - np.clip(picture.pixels, 0, 1)).max() < 0.6 / 255


@pytest.mark.parametrize("length", [40, 200, 500])
def test_a_damaged_profile_is_left_out_with_a_warning(tmp_path, length):
    Image.fromarray(noise()).save(tmp_path / "a.tif", icc_profile=profiles.display_p3_profile()[:length])
    picture = read_picture(tmp_path / "a.tif")
    assert picture.icc_profile is None and "colour profile cannot be used" in picture.warnings[0]
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), noise())


def test_raw_is_developed_upright_in_sixteen_bits(tmp_path):
    pytest.importorskip("rawpy")
    tifffile = pytest.importorskip("tifffile")
    mosaic = np.full((240, 320), 8000, np.uint16)
    mosaic[:60] //= 4
    matrix = [value for k in range(9) for value in (int(k % 4 == 0), 1)]
    dng = [
        (50706, "B", 4, bytes([1, 4, 0, 0])),
        (50707, "B", 4, bytes([1, 1, 0, 0])),
        (33421, "H", 2, (2, 2)),
        (33422, "B", 4, bytes([0, 1, 1, 2])),
        (50708, "s", 0, "Camera"),
        (50714, "H", 1, 0),
        (50717, "H", 1, 65535),
        (50721, "2i", 9, tuple(matrix)),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1)),
        (50778, "H", 1, 21),
        (271, "s", 0, "Maker"),
        (274, "H", 1, 6),
    ]
    tags = [(*tag, True) for tag in dng]
    tifffile.imwrite(tmp_path / "a.dng", mosaic, photometric=32803, extratags=tags, metadata=None)
    picture = read_picture(tmp_path / "a.dng")
    assert (picture.format, picture.sample_type, picture.pixels.shape) == ("raw", "uint16", (320, 240, 3))
    bright, dark = picture.pixels[160, 60, 1], picture.pixels[160, 220, 1]
    ratio = (((bright + 0.055) / 1.055) / ((dark + 0.055) / 1.055)) ** 2.4
    assert ratio == pytest.approx(4, rel=0.02)  # the file's light, through the sRGB curve
    with Image.open(write_picture(tmp_path / "a.png", picture)) as image:
        assert image.getexif()[0x010F] == "Maker" and image.getexif().get(0x0112, 1) == 1


def test_an_orientation_of_another_type_is_applied_and_reset():
    """Compared with Pillow, which applies it; the block kept must not turn the picture again."""
    path = CASES / "ori6_long.jpg"
    picture = read_picture(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(
            np.rint(picture.pixels * 255), np.asarray(image.transpose(TURNS.ROTATE_270))
        )
    block = Image.Exif()
    block.load(picture.exif)
    assert block[0x0112] == 1


@pytest.mark.parametrize("code", ["B", "H", "I", "h", "i"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_integer_type_of_orientation(code, order):
    kind = {"B": 1, "H": 3, "I": 4, "h": 8, "i": 9}[code]
    entry = struct.pack(order + "HHI" + code, 0x0112, kind, 1, 6).ljust(12, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    cleaned, orientation = metadata.clean_exif(head + entry + bytes(4))
    assert orientation == 6
    assert metadata.clean_exif(cleaned)[1] == 1


def test_a_grey_heic_has_no_profile_to_warn_of():
    pytest.importorskip("pillow_heif")
    assert read_picture(CASES / "grey.heic").warnings == ()
