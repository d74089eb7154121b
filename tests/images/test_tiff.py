"""TIFF files of every kind, compared with tifffile, libtiff (in imagecodecs) or the array they hold."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture

CASES = Path(__file__).parents[1] / "data" / "cases"
RNG = np.random.default_rng(0)


def eight_bits(picture):
    return np.rint(picture.pixels * 255).astype(np.uint8)


def libtiff(path):
    return imagecodecs.tiff_decode(path.read_bytes(), asrgb=True)[..., :3]


def smooth(height=40, width=56):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rgb = np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)
    return np.rint(rgb * 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["jpeg_ycbcr_strip", "jpeg_ycbcr_tile", "ycbcr_plain", "ycbcr_lzw"])
def test_ycbcr_is_shown_as_libtiff_shows_it(name):
    path = CASES / f"{name}.tif"
    shown = eight_bits(read_picture(path))
    assert np.abs(shown.astype(int) - libtiff(path)).max() <= 1
    assert np.array_equal(shown, eight_bits(read_picture(path)))


@pytest.mark.parametrize("name", ["bigtiff_le", "t_zstd", "t_lerc", "t_lzma"])
def test_containers_and_compressions_without_loss(name):
    path = CASES / f"{name}.tif"
    assert np.array_equal(eight_bits(read_picture(path)), tifffile.imread(path))


def test_bigtiff_is_turned_upright():
    upright = eight_bits(read_picture(CASES / "bigtiff_le_ori6.tif"))
    assert np.array_equal(upright, np.rot90(tifffile.imread(CASES / "bigtiff_le_ori6.tif"), -1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_byte_orders_and_layouts(tmp_path, order, big, tile, dtype):
    samples = RNG.random((33, 47, 3)) * (1 if dtype.startswith("f") else np.iinfo(dtype).max)
    samples = samples.astype(dtype)
    tags = [(274, 3, 1, 6, False), (271, 2, 0, "Maker", False)]
    tifffile.imwrite(
        tmp_path / "a.tif", samples, byteorder=order, bigtiff=big, tile=tile, photometric="rgb",
        compression="zlib", extratags=tags, metadata=None,
    )  # fmt: skip
    picture = read_picture(tmp_path / "a.tif")
    unit = 1 if dtype.startswith("f") else np.iinfo(dtype).max
    np.testing.assert_allclose(picture.pixels * unit, np.rot90(samples, -1), atol=1e-6 * unit)
    assert b"Maker" in picture.exif
    with tifffile.TiffFile(write_picture(tmp_path / "b.tif", picture)) as written:
        assert written.pages[0].tags[271].value == "Maker"
        assert np.array_equal(written.asarray(), np.rot90(samples, -1))


def test_exif_directory_of_a_bigtiff_is_kept(tmp_path):
    entries = {0x9003: (2, b"2024:05:06 07:08:09\0"), 0x829A: (5, struct.pack("<II", 1, 125))}
    tifffile.imwrite(tmp_path / "a.tif", smooth(), bigtiff=True, byteorder="<", metadata=None,
                     extratags=[(65000, 16, 1, 0, True)])  # fmt: skip
    data = bytearray((tmp_path / "a.tif").read_bytes())
    start = len(data)
    table, tail = b"", b""
    for tag, (kind, value) in sorted(entries.items()):
        count = {2: len(value), 5: 1}[kind]
        if len(value) > 8:
            place = start + 8 + 20 * len(entries) + 8 + len(tail)
            tail += value
            value = struct.pack("<Q", place)
        table += struct.pack("<HHQ", tag, kind, count) + value
    data += struct.pack("<Q", len(entries)) + table + bytes(8) + tail
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[0].tags[65000].offset
    struct.pack_into("<H", data, at, 34665)
    struct.pack_into("<Q", data, at + 12, start)
    (tmp_path / "a.tif").write_bytes(data)
    exif = tifffile.TiffFile(write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif")))
    with exif as written:
        values = written.pages[0].tags[34665].value
    assert values["DateTimeOriginal"] == "2024:05:06 07:08:09" and values["ExposureTime"] == (1, 125)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16, 32])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_of_every_depth(tmp_path, bits, photometric):
    top = (1 << bits) - 1
    codes = RNG.integers(0, top + 1, (24, 40), dtype=np.uint64)
    dtype = "bool" if bits == 1 else "uint8" if bits <= 8 else "uint16" if bits <= 16 else "uint32"
    extra = {} if bits in (1, 8, 16, 32) else {"bitspersample": bits}
    tifffile.imwrite(tmp_path / "a.tif", codes.astype(dtype), photometric=photometric, **extra)
    picture = read_picture(tmp_path / "a.tif")
    light = codes / top if photometric == "minisblack" else 1 - codes / top
    assert picture.is_gray and picture.sample_type == (
        "uint8" if bits <= 8 else "uint16" if bits <= 16 else "float"
    )
    atol = {8: 1 / 500, 16: 1 / 130000}.get(8 if bits < 8 else 16, 0) + 1e-6
    np.testing.assert_allclose(picture.pixels[..., 0], light, atol=atol)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_rgb_of_odd_depths(tmp_path, bits):
    codes = RNG.integers(0, 1 << bits, (24, 40, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", codes, photometric="rgb", bitspersample=bits)
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif").pixels, codes / ((1 << bits) - 1), atol=1e-5)


def test_float64_is_read(tmp_path):
    samples = RNG.random((24, 40, 3))
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb")
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif").pixels, samples, atol=1e-6)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_at_every_depth(tmp_path, photometric, dtype, planar):
    colours = 3 if photometric == "rgb" else 1
    top = np.iinfo(dtype).max
    samples = RNG.integers(0, top + 1, (24, 40, colours + 1)).astype(dtype)
    stored = np.moveaxis(samples, -1, 0) if planar == "separate" else samples
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric=photometric, extrasamples=["unassalpha"], planarconfig=planar
    )
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.alpha, samples[..., -1] / top, atol=1e-6)
    light = samples[..., :colours] / top
    light = 1 - light if photometric == "miniswhite" else light
    np.testing.assert_allclose(picture.pixels, np.broadcast_to(light, (24, 40, 3)), atol=1e-6)


def test_associated_alpha_is_divided_out(tmp_path):
    samples = np.array([[[64, 32, 16, 128], [0, 0, 0, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"])
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.pixels[0, 0], [64 / 128, 32 / 128, 16 / 128], atol=1e-6)


def test_grey_with_an_unspecified_channel_keeps_the_grey():
    path = CASES / "grey_extra_channel.tif"
    picture = read_picture(path)
    stored = tifffile.imread(path)
    assert picture.alpha is None and picture.is_gray
    assert picture.warnings == ("further channels dropped (1)",)
    assert np.array_equal(np.rint(picture.pixels[..., 0] * 65535), stored[..., 0])


def test_alpha_behind_an_unspecified_channel_is_found(tmp_path):
    samples = RNG.integers(0, 256, (24, 40, 5), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unspecified", "unassalpha"]
    )
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(eight_bits(picture), samples[..., :3])
    assert np.array_equal(np.rint(picture.alpha * 255), samples[..., 4])
    assert picture.warnings == ("further channels dropped (1)",)


def test_a_palette_of_8_bit_values_is_shown_as_libtiff_shows_it():
    path = CASES / "palette8bit.tif"
    assert np.array_equal(eight_bits(read_picture(path)), libtiff(path))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth(tmp_path, bits):
    colours = RNG.integers(0, 256, (3, 1 << bits), dtype=np.uint16)
    indices = RNG.integers(0, 1 << bits, (24, 40), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", indices, photometric="minisblack",
        extratags=[(65000, 3, 3 << bits, colours * 257)],
        **({} if bits == 8 else {"bitspersample": bits}),
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags[262].overwrite(3)
        at = file.pages[0].tags[65000].offset
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<H", data, at, 320)
    (tmp_path / "a.tif").write_bytes(data)
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(eight_bits(picture), colours.T[indices]) and picture.sample_type == "uint8"


def write_ycbcr(path, rgb, subsampling, compress=None, tags=(), tile=None):
    """Write a TIFF of YCbCr data units without JPEG, field by field after TIFF 6.0, section 21."""
    across, down = subsampling
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    ycbcr = np.clip(np.rint(rgb.astype(float) @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)
    blocks, (rows, columns) = [], tile or (16, rgb.shape[1])
    for top in range(0, rgb.shape[0], rows):
        for left in range(0, rgb.shape[1], columns):
            block = ycbcr[top : top + rows, left : left + columns]
            full = (rows if tile else -(-block.shape[0] // down) * down, -(-columns // across) * across)
            pad = ((0, full[0] - block.shape[0]), (0, full[1] - block.shape[1]), (0, 0))
            block = np.pad(block, pad, mode="edge")
            units = b""
            for y in range(0, full[0], down):
                for x in range(0, full[1], across):
                    part = block[y : y + down, x : x + across]
                    units += part[..., 0].tobytes() + part[0, 0, 1:].tobytes()
            blocks.append(compress(units) if compress else units)
    height, width = rgb.shape[:2]
    places = np.cumsum([8, *(len(b) for b in blocks)])
    end = int(places[-1])
    arrays = struct.pack(f"<{len(blocks)}I", *places[:-1]) + struct.pack(
        f"<{len(blocks)}I", *map(len, blocks)
    )
    bits = end + len(arrays)
    codec = {None: 1, imagecodecs.lzw_encode: 5, imagecodecs.zlib_encode: 8}[compress]
    offsets, counts = (324, 325) if tile else (273, 279)
    entries = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 3, bits), 259: (3, 1, codec), 262: (3, 1, 6),
        277: (3, 1, 3), 530: (3, 2, across | down << 16),
        offsets: (4, len(blocks), end if len(blocks) > 1 else 8),
        counts: (4, len(blocks), end + 4 * len(blocks) if len(blocks) > 1 else len(blocks[0])),
        **({322: (4, 1, columns), 323: (4, 1, rows)} if tile else {278: (4, 1, rows)}), **dict(tags),
    }  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    start = bits + 6
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, start) + b"".join(blocks) + arrays + struct.pack("<3H", 8, 8, 8)
        + struct.pack("<H", len(entries)) + table + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize("compress", [None, imagecodecs.lzw_encode, imagecodecs.zlib_encode])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_subsampled_ycbcr_without_jpeg(tmp_path, subsampling, compress, tile):
    rgb = smooth(44, 56)
    write_ycbcr(tmp_path / "a.tif", rgb, subsampling, compress, tile=tile)
    shown = eight_bits(read_picture(tmp_path / "a.tif")).astype(int)
    assert np.abs(shown - rgb).max() <= 8 * max(subsampling)
    if not (tile and subsampling == (4, 4)):  # libtiff shears the tiles that reach over the edge
        assert np.abs(shown - libtiff(tmp_path / "a.tif")).max() <= 2
    write_ycbcr(tmp_path / "b.tif", rgb, subsampling, compress, {274: (3, 1, 6)}.items(), tile)
    assert np.array_equal(eight_bits(read_picture(tmp_path / "b.tif")), np.rot90(shown, -1))


@pytest.mark.parametrize("subsampling", [None, (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_jpeg_compression(tmp_path, subsampling, tile):
    samples = smooth(48, 64) if subsampling else smooth(48, 64)[..., 0]
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, samples, photometric="rgb" if subsampling else "minisblack", compression="jpeg",
        subsampling=subsampling, tile=tile, rowsperstrip=None if tile else 16,
    )  # fmt: skip
    shown = eight_bits(read_picture(path))
    expected = samples if subsampling else np.broadcast_to(samples[..., None], shown.shape)
    assert np.abs(shown.astype(int) - expected).max() < 24
    assert np.abs(shown.astype(int) - libtiff(path)).max() <= 2


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "options",
    [{"compression": "zlib"}, {"compression": "lzw"}, {"compression": "zstd"}, {"compression": "packbits"},
     {"compression": "jpeg", "photometric": "ycbcr"}, {"compression": "lzma", "tile": (16, 16)}],
)  # fmt: skip
def test_segments_cut_short_are_refused(tmp_path, share, options):
    """The directory stays whole: only the data of the last strip or tile shrinks."""
    path = tmp_path / "a.tif"
    samples = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, samples, **{"photometric": "rgb", **options})
    read_picture(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        tag = page.tags[325 if page.is_tiled else 279]
        code = {3: "H", 4: "I"}[int(tag.dtype)]
        at = tag.valueoffset + (tag.count - 1) * struct.calcsize(code)
        length = page.databytecounts[-1]
        order = file.byteorder
    data = bytearray(path.read_bytes())
    struct.pack_into(order + code, data, at, int(length * share))
    path.write_bytes(data)
    with pytest.raises(ClearpaneError, match="damaged"):
        read_picture(path)


def test_segments_that_are_missing_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", rowsperstrip=8, compression="zlib")
    with tifffile.TiffFile(path) as file:
        tag, order = file.pages[0].tags[279], file.byteorder
    data = bytearray(path.read_bytes())
    struct.pack_into(order + {3: "H", 4: "I"}[int(tag.dtype)], data, tag.valueoffset, 0)
    path.write_bytes(data)
    with pytest.raises(ClearpaneError, match="parts of it are missing"):
        read_picture(path)


@pytest.mark.parametrize(
    ("photometric", "channels", "dtype", "message"),
    [("separated", 4, "uint8", "CMYK"), ("separated", 5, "uint16", "CMYK"), ("cielab", 3, "uint8", "CIELAB"),
     ("cielab", 3, "uint16", "CIELAB"), ("icclab", 3, "uint16", "ICCLAB"), ("itulab", 3, "uint8", "ITULAB"),
     ("logluv", 3, "uint16", "LOGLUV"), ("logl", 1, "uint16", "LOGL"), ("minisblack", 1, "int16", "signed"),
     ("minisblack", 1, "complex64", "complex"), ("miniswhite", 1, "float32", "inverted")],
)  # fmt: skip
def test_other_colours_are_refused_in_one_line(tmp_path, photometric, channels, dtype, message):
    shape = (24, 40, channels) if channels > 1 else (24, 40)
    stored = {"logluv": "rgb", "icclab": "rgb", "itulab": "rgb", "cielab": "rgb", "logl": "minisblack"}
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones(shape, dtype), photometric=stored.get(photometric, photometric),
        **({"planarconfig": "contig"} if channels > 1 else {}),
    )  # fmt: skip
    if photometric in stored:
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
            file.pages[0].tags[262].overwrite(int(tifffile.PHOTOMETRIC[photometric.upper()]))
    with pytest.raises(ClearpaneError, match=message) as caught:
        read_picture(tmp_path / "a.tif")
    assert "convert it" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "name"), [(32809, "THUNDERSCAN"), (34676, "SGILOG"), (32909, "PIXARLOG"), (6, "OJPEG")]
)
def test_a_compression_that_is_not_read_is_named(tmp_path, code, name):
    tifffile.imwrite(tmp_path / "a.tif", smooth(), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags[259].overwrite(code)
    with pytest.raises(ClearpaneError, match=f"compression {name} is not supported"):
        read_picture(tmp_path / "a.tif")


def test_a_thumbnail_before_the_picture_is_skipped():
    path = CASES / "t_thumbfirst.tif"
    picture = read_picture(path)
    assert np.array_equal(eight_bits(picture), tifffile.imread(path, key=1)) and picture.warnings == ()


@pytest.mark.parametrize("flag", [{"subfiletype": 1}, {}])
def test_small_pages_and_sub_pages_before_the_picture(tmp_path, flag):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(smooth(10, 14), photometric="rgb", **flag)
        file.write(smooth(), photometric="rgb")
    assert np.array_equal(eight_bits(read_picture(tmp_path / "a.tif")), smooth())
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(smooth(10, 14), photometric="rgb", subifds=1, **flag)
        file.write(smooth(), photometric="rgb", subfiletype=0)
    assert np.array_equal(eight_bits(read_picture(tmp_path / "b.tif")), smooth())


def test_smaller_copies_after_the_picture_go_without_a_word(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(smooth(), photometric="rgb", subifds=1)
        file.write(smooth(20, 28), photometric="rgb", subfiletype=1)
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(eight_bits(picture), smooth()) and picture.warnings == ()


@pytest.mark.parametrize(
    "compression",
    ["lzw", "zlib", "packbits", "lzma", "zstd", "lerc", "webp", "jpeg2000", "jpegxl", "jpegxr", "png"],
)
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_every_compression_that_is_said_to_be_read(tmp_path, compression, tile):
    path = tmp_path / "a.tif"
    samples = smooth(48, 64)
    tifffile.imwrite(path, samples, photometric="rgb", compression=compression, tile=tile)
    shown = eight_bits(read_picture(path)).astype(int)
    assert np.array_equal(shown, tifffile.imread(path))
    assert np.abs(shown - samples).max() <= 24  # some of them are lossy


@pytest.mark.parametrize("compression", [2, 3, 4])
def test_fax_compressions_agree_with_libtiff(tmp_path, compression):
    from PIL import Image

    name = {2: "tiff_ccitt", 3: "group3", 4: "group4"}[compression]
    page = RNG.random((40, 64)) > 0.5
    Image.fromarray(page).save(tmp_path / "a.tif", compression=name)
    assert np.array_equal(eight_bits(read_picture(tmp_path / "a.tif"))[..., 0], page * 255)
