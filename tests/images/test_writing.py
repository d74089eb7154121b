"""Pictures written, and read by us and by others' tools."""

import json
import resource
import shutil
import subprocess
import time
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images import profiles
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, output_suffix, write_picture

FORMATS = {".png": "png", ".tif": "tiff", ".webp": "webp", ".exr": "exr", ".hdr": "hdr", ".jpg": "jpeg"}
TOP = {"uint8": 255, "uint16": 65535}
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="f"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


def made(suffix, sample_type, *, gray=False, alpha=False, profile=None, size=(17, 23), seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.random((*size, 3), np.float32)
    if gray:
        pixels[...] = pixels[..., :1]
    cover = rng.random(size, np.float32) if alpha else None
    if sample_type in TOP:
        pixels = np.rint(pixels * TOP[sample_type]) / np.float32(TOP[sample_type])
        cover = None if cover is None else np.rint(cover * TOP[sample_type]) / np.float32(TOP[sample_type])
    return Picture(pixels, FORMATS[suffix], sample_type, alpha=cover, is_gray=gray, icc_profile=profile)


def camera_exif():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 1"
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x9286: b"ASCII\0\0\0note"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    return exif.tobytes().removeprefix(b"Exif\0\0")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [(".png", "uint8"), (".png", "uint16"), (".tif", "uint8"), (".tif", "uint16"), (".webp", "uint8")]
    ),
    st.booleans(),
    st.booleans(),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
)
def test_lossless_formats_come_back_bit_exactly(tmp_path, kind, gray, alpha, size, seed):
    suffix, sample_type = kind
    picture = made(suffix, sample_type, gray=gray and suffix != ".webp", alpha=alpha, size=size, seed=seed)
    again = read_picture(write_picture(tmp_path / f"a{suffix}", picture, WriteOptions(overwrite=True)))
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert (again.sample_type, again.is_gray) == (sample_type, picture.is_gray)
    if alpha:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    else:
        assert again.alpha is None


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(
    ("suffix", "sample_type", "tolerance"),
    [(".tif", "float", 0), (".tif", "half", 5e-4), (".exr", "float", 5e-7), (".exr", "half", 5e-4)],
)
def test_floats_come_back_to_their_precision(tmp_path, suffix, sample_type, tolerance, gray, alpha):
    picture = made(suffix, sample_type, gray=gray, alpha=alpha)
    picture = picture.with_pixels(picture.pixels * 3 - 0.5)
    again = read_picture(write_picture(tmp_path / f"a{suffix}", picture))
    np.testing.assert_allclose(again.pixels, picture.pixels, rtol=tolerance, atol=tolerance)
    assert (again.sample_type, again.is_gray, again.alpha is None) == (sample_type, gray, not alpha)


def test_hdr_comes_back_unchanged_once_it_is_on_its_grid(tmp_path):
    first = read_picture(write_picture(tmp_path / "a.hdr", made(".hdr", "float")))
    again = read_picture(write_picture(tmp_path / "b.hdr", first))
    np.testing.assert_array_equal(again.pixels, first.pixels)


PROFILES = {
    "adobe rgb": lambda: imagecodecs.cms_profile("adobergb"),
    "display p3": profiles.display_p3_profile,
    "srgb": profiles.srgb_profile,
    "srgb as a table": lambda: profiles.rgb_profile(
        (0.64, 0.33, 0.30, 0.60, 0.15, 0.06), profiles.srgb_to_linear(np.linspace(0, 1, 1024))
    ),
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("sample_type", ["uint8", "uint16"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_undone_within_one_step_and_embedded(tmp_path, name, sample_type, suffix):
    profile = PROFILES[name]()
    stored = made(suffix, sample_type, size=(40, 50))
    if name == "adobe rgb" and sample_type == "uint16":
        # a pure gamma: below this, float32 cannot tell a saturated colour's neighbouring steps apart
        stored = stored.with_pixels(np.maximum(stored.pixels, np.float32(1024 / 65535)))
    write_picture(tmp_path / f"plain{suffix}", stored)
    plain = read_picture(tmp_path / f"plain{suffix}")
    conversion = profiles.ProfileConversion(profile, 3)
    picture = replace(plain, pixels=conversion.to_srgb(plain.pixels), icc_profile=profile)
    out = write_picture(tmp_path / f"a{suffix}", picture)
    again = read_picture(out)
    assert again.icc_profile == profile
    unit = 1 / TOP[sample_type]
    assert np.abs(conversion.from_srgb(again.pixels) - plain.pixels).max() <= 1.01 * unit
    second = read_picture(write_picture(tmp_path / f"b{suffix}", again))
    assert np.abs(second.pixels - again.pixels).max() <= 1e-6
    bare = replace(again, icc_profile=None)
    assert name.startswith("srgb") or np.abs(bare.pixels - plain.pixels).max() > 5 * unit


@pytest.mark.parametrize("sample_type", ["uint8", "uint16"])
def test_a_grey_profile_is_undone(tmp_path, sample_type):
    profile = imagecodecs.cms_profile("gray", gamma=1.8)
    picture = replace(made(".tif", sample_type, gray=True), icc_profile=profile)
    first = read_picture(write_picture(tmp_path / "a.tif", picture))
    assert first.is_gray and first.icc_profile == profile
    again = read_picture(write_picture(tmp_path / "b.tif", first))
    np.testing.assert_array_equal(again.pixels, first.pixels)


def test_a_profile_without_a_way_back_gives_srgb(tmp_path):
    class OneWay:
        invertible = False

    picture = made(".png", "uint16", profile=profiles.display_p3_profile())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "conversion", lambda *_: OneWay())
        out = write_picture(tmp_path / "a.png", picture)
    again = read_picture(out)
    assert again.icc_profile == profiles.srgb_profile()
    assert np.abs(again.pixels - picture.pixels).max() < 2e-5


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_metadata_is_kept(tmp_path, suffix):
    profile = profiles.display_p3_profile()
    picture = replace(made(suffix, "uint8", profile=profile), exif=camera_exif(), xmp=XMP)
    out = write_picture(tmp_path / f"a{suffix}", picture)
    with Image.open(out) as image:
        exif = image.getexif()
        assert (exif[0x010F], exif[0x0110]) == ("Maker", "Model 1")
        assert exif.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert image.info["icc_profile"] == profile
    again = read_picture(out)
    assert again.xmp == XMP
    third = read_picture(write_picture(tmp_path / f"b{suffix}", again))
    assert (third.exif, third.xmp) == (again.exif, again.xmp)
    if exiftool := shutil.which("exiftool"):
        report = subprocess.run([exiftool, "-j", "-G1", "-a", str(out)], capture_output=True, check=True)
        (facts,) = json.loads(report.stdout)
        assert facts["IFD0:Model"] == "Model 1" and facts["XMP-dc:Format"] == "f"
        assert "ExifTool:Warning" not in facts


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".exr", ".hdr"])
def test_no_file_holds_the_time_it_was_written_at(tmp_path, suffix):
    # OpenImageIO writes it into TIFF files; equal pictures shall give equal files.
    sample_type = {".exr": "half", ".hdr": "float"}.get(suffix, "uint8")
    path = write_picture(tmp_path / f"a{suffix}", made(suffix, sample_type))
    assert f"{time.localtime().tm_year}:".encode() not in path.read_bytes()
    assert read_picture(path).pixels.shape == (17, 23, 3)


def test_a_tiff_gets_no_empty_directories(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    for name, block in {"a.tif": exif.tobytes().removeprefix(b"Exif\0\0"), "b.tif": None}.items():
        with Image.open(write_picture(tmp_path / name, replace(made(".tif", "uint8"), exif=block))) as image:
            assert not {0x8769, 0x8825, 0x02BC} & set(image.tag_v2)


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".jpg", "RGB"), (".png", "RGBA"), (".tif", "RGBA"), (".webp", "RGBA")]
)
def test_others_see_the_same_pixels(tmp_path, suffix, mode):
    smooth = np.linspace(0, 1, 32 * 32 * 3, dtype=np.float32).reshape(32, 32, 3)
    picture = replace(made(suffix, "uint8", alpha=suffix != ".jpg", size=(32, 32)), pixels=smooth)
    with Image.open(write_picture(tmp_path / f"a{suffix}", picture)) as image:
        assert image.mode == mode
        assert np.abs(np.asarray(image)[..., :3] - smooth * 255).max() < (6 if suffix == ".jpg" else 0.51)
        if suffix == ".jpg":
            assert image.layer[0][1:3] == image.layer[1][1:3]  # 4:4:4


@pytest.mark.parametrize(
    ("suffix", "wanted", "stored"),
    [
        (".jpg", "uint16", "uint8"),
        (".png", "float", "uint16"),
        (".png", "uint8", "uint8"),
        (".exr", "uint8", "half"),
        (".exr", "uint16", "float"),
        (".tif", "half", "half"),
        (".tif", "uint16", "uint16"),
    ],
)
def test_the_depth_is_kept_as_far_as_the_format_allows(tmp_path, suffix, wanted, stored):
    assert read_picture(write_picture(tmp_path / f"a{suffix}", made(".tif", wanted))).sample_type == stored


def test_the_depth_can_be_chosen(tmp_path):
    out = write_picture(tmp_path / "a.tif", made(".tif", "uint16"), WriteOptions(sample_type="uint8"))
    assert read_picture(out).sample_type == "uint8"


def test_default_suffixes():
    assert output_suffix("tiff") == ".tif"
    assert output_suffix("heic") == output_suffix("raw") == ".png"


def test_nothing_is_overwritten_unasked_and_the_source_never(tmp_path):
    source = tmp_path / "a.png"
    write_picture(source, made(".png", "uint8"))
    before = source.read_bytes()
    picture = read_picture(source)
    (tmp_path / "soft.png").symlink_to(source)
    (tmp_path / "hard.png").hardlink_to(source)
    for name in ("a.png", "soft.png", "hard.png"):
        with pytest.raises(ClearpaneError, match="never overwritten"):
            write_picture(tmp_path / name, picture, WriteOptions(overwrite=True))
    other = tmp_path / "b.png"
    other.write_text("precious")
    with pytest.raises(ClearpaneError, match="exists already"):
        write_picture(other, picture)
    assert other.read_text() == "precious" and source.read_bytes() == before
    write_picture(other, picture, WriteOptions(overwrite=True))
    assert read_picture(other).format == "png"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png", "hard.png", "soft.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/a.png", "folder does not exist"),
        ("a.gif", "cannot write .gif"),
        ("a.heic", "cannot write .heic"),
        ("a", "without a suffix"),
        ("folder.png", "is a folder"),
        ("file.txt/a.png", "is not a folder"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(ClearpaneError, match=message) as caught:
        write_picture(tmp_path / name, made(".png", "uint8"))
    assert name.split("/")[-1] in str(caught.value) and "\n" not in str(caught.value)


def test_too_large_for_webp_is_said(tmp_path):
    with pytest.raises(ClearpaneError, match="WEBP"):
        write_picture(tmp_path / "a.webp", made(".webp", "uint8", size=(1, 16400)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("short_by", [1, 100, 30000])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_nothing(tmp_path, suffix, short_by):
    picture = replace(made(suffix, "uint8", size=(200, 200)), exif=camera_exif(), xmp=XMP)
    room = write_picture(tmp_path / f"whole{suffix}", picture).stat().st_size - short_by
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(ClearpaneError, match="writing failed"):
            write_picture(tmp_path / f"a{suffix}", picture)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == [f"whole{suffix}"]


def test_jpeg_quality_can_be_chosen(tmp_path):
    picture = made(".jpg", "uint8", size=(64, 64))
    sizes = [
        write_picture(tmp_path / f"{q}.jpg", picture, WriteOptions(jpeg_quality=q)).stat().st_size
        for q in (60, 95)
    ]
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize("gray", [False, True])
def test_transparency_is_written_on_white_where_a_format_has_none(tmp_path, gray):
    picture = made(".png", "uint8", gray=gray, size=(32, 32))
    smooth = np.full((32, 32, 3), 0.25, np.float32)
    alpha = np.repeat(np.linspace(0, 1, 32, dtype=np.float32)[None], 32, axis=0)
    out = write_picture(tmp_path / "a.jpg", replace(picture, pixels=smooth, alpha=alpha))
    with Image.open(out) as image:
        seen = np.asarray(image.convert("RGB")) / 255
    np.testing.assert_allclose(seen, (0.25 * alpha + 1 - alpha)[..., None].repeat(3, -1), atol=0.02)


def test_the_limit_of_jpeg_is_said(tmp_path):
    with pytest.raises(ClearpaneError, match="JPEG holds at most 65,535 pixels a side"):
        write_picture(tmp_path / "a.jpg", made(".jpg", "uint8", size=(1, 65536)))
    assert list(tmp_path.iterdir()) == []
