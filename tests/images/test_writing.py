"""Pictures written, and read by us and by others' tools."""

import errno
import json
import resource
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import SafetensorError

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, atomic_path
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
    picture = replace(made(suffix, "uint8", alpha=True, size=(32, 32)), pixels=smooth)
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


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_file_and_no_stray_one(tmp_path, interruption):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(interruption), atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("half of the n")
        raise interruption
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with atomic_path(target, overwrite=True) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".csv"
        temporary.write_text("new")
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_a_folder_is_the_old_one_or_the_new_one_whole(tmp_path, interruption):
    target = tmp_path / "model"
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_text("old")
    with pytest.raises(interruption), atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("half of the n")
        raise interruption
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "part", "a"]
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("new")
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "b"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "model"
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "a").write_text("old")
    rename = Path.rename

    def fail(self, other):
        if other == target and not target.exists() and (self / "b").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(ClearpaneError, match="No space left"),
        atomic_folder(target, overwrite=True) as folder,
    ):
        (folder / "b").write_text("new")
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "a"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a.json"
    with pytest.raises(ClearpaneError, match="exists already"), atomic_path(target) as temporary:
        temporary.write_text("ours")
        target.write_text("theirs")
    assert target.read_text() == "theirs" and list(tmp_path.iterdir()) == [target]


def test_without_links_a_file_is_renamed_and_still_none_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    target = tmp_path / "a.json"
    with atomic_path(target) as temporary:
        temporary.write_text("ours")
    assert target.read_text() == "ours" and list(tmp_path.iterdir()) == [target]
    target.unlink()
    with pytest.raises(ClearpaneError, match="exists already"), atomic_path(target) as temporary:
        target.write_text("theirs")
    assert target.read_text() == "theirs" and list(tmp_path.iterdir()) == [target]


def test_jpeg_quality_can_be_chosen(tmp_path):
    picture = made(".jpg", "uint8", size=(64, 64))
    sizes = [
        write_picture(tmp_path / f"{q}.jpg", picture, WriteOptions(jpeg_quality=q)).stat().st_size
        for q in (60, 95)
    ]
    assert sizes[0] < 0.7 * sizes[1]


def test_no_permission_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ClearpaneError, match="no permission"), atomic_path(tmp_path / "a.json"):
        pass


def test_a_folder_with_something_in_it_is_not_replaced_unasked(tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for target in (tmp_path, Path()):
        with pytest.raises(ClearpaneError, match="is there already and not empty"), atomic_folder(target):
            pytest.fail("it was made")
    with pytest.raises(ClearpaneError, match=r"thesis\.txt: is a file"), atomic_folder("thesis.txt"):
        pytest.fail("it was made")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    with atomic_folder("empty") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "empty" / "a").read_text() == "new"


def test_what_safetensors_cannot_write_is_one_line(tmp_path):
    for place in (atomic_path(tmp_path / "a"), atomic_folder(tmp_path / "b")):
        with pytest.raises(ClearpaneError, match=r"writing failed .*no space"), place:
            raise SafetensorError("no space")
    assert not list(tmp_path.iterdir())


def test_a_file_has_the_permissions_of_others_whoever_wrote_it(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "private") as temporary:
        temporary.unlink()  # as safetensors does
        temporary.touch(0o600)
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "usual").stat().st_mode
