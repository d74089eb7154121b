"""EXR files of several parts, layers and windows, compared with OpenImageIO and the arrays that they hold."""

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.optics.color import linear_to_srgb

CASES = Path(__file__).parents[1] / "data" / "cases"
RNG = np.random.default_rng(0)


def write_parts(path, parts):
    """Write parts of (name, channel names, samples [H, W, C])."""
    specs = []
    for name, channels, samples in parts:
        spec = oiio.ImageSpec(samples.shape[1], samples.shape[0], samples.shape[2], "float")
        spec.channelnames = channels
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    output = oiio.ImageOutput.create("openexr")
    assert output.open(str(path), tuple(specs) if len(specs) > 1 else specs[0])
    for k, (_, _, samples) in enumerate(parts):
        assert k == 0 or output.open(str(path), specs[k], "AppendSubimage")
        assert output.write_image(np.ascontiguousarray(samples))
    assert output.close()


def light(channels):
    return RNG.random((20, 30, channels)).astype(np.float32)


def test_a_data_window_keeps_its_place(tmp_path):
    source = oiio.ImageBuf(str(CASES / "datawindow.exr"))
    picture = read_picture(CASES / "datawindow.exr")
    np.testing.assert_allclose(picture.pixels, linear_to_srgb(source.get_pixels("float")), atol=1e-6)
    written = oiio.ImageBuf(str(write_picture(tmp_path / "a.exr", picture)))
    for name in ("x", "y", "width", "height", "full_x", "full_y", "full_width", "full_height"):
        assert getattr(written.spec(), name) == getattr(source.spec(), name)
    np.testing.assert_allclose(written.get_pixels("float"), source.get_pixels("float"), atol=1e-5)


@pytest.mark.parametrize(("name", "part", "first"), [("multilayer", 0, 0), ("depth_part_first", 1, 0)])
def test_the_colours_of_the_cases(name, part, first):
    source = oiio.ImageBuf(str(CASES / f"{name}.exr"), part, 0)
    expected = source.get_pixels("float")[..., first : first + 3]
    np.testing.assert_allclose(
        read_picture(CASES / f"{name}.exr").pixels, linear_to_srgb(expected), atol=1e-6
    )


def test_deep_data_is_refused_in_one_line():
    with pytest.raises(ClearpaneError, match=r"deep data.*flatten it first"):
        read_picture(CASES / "deep.exr")


@pytest.mark.parametrize(
    ("channels", "picked"),
    [
        (("A", "B", "G", "R"), (3, 2, 1, 0)),
        (("Z", "R", "G", "B"), (1, 2, 3)),
        (("diffuse.R", "diffuse.G", "diffuse.B", "R", "G", "B", "A"), (3, 4, 5, 6)),
        (
            ("diffuse.R", "diffuse.G", "diffuse.B", "View.Combined.R", "View.Combined.G", "View.Combined.B"),
            (3, 4, 5),
        ),
        (("left.R", "left.G", "left.B", "right.R", "right.G", "right.B"), (0, 1, 2)),
        (("red", "green", "blue"), (0, 1, 2)),
        (("beauty.Y", "depth.Z"), (0,)),
        (("Y",), (0,)),
        (("luma",), (0,)),
    ],
)
def test_the_colours_of_several_layers(tmp_path, channels, picked):
    samples = light(len(channels))
    if "A" in channels:
        samples[..., channels.index("A")] = 1
    write_parts(tmp_path / "a.exr", [("", channels, samples)])
    picture = read_picture(tmp_path / "a.exr")
    colour = samples[..., list(picked[:3])]
    expected = linear_to_srgb(np.broadcast_to(colour, (20, 30, 3)))
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)
    assert (picture.alpha is not None) == ("A" in channels)


def test_the_colour_part_wherever_it_is(tmp_path):
    depth, colour, other = light(1), light(3), light(3)
    parts = [("depth", ("Z",), depth), ("diffuse", ("diffuse.R", "diffuse.G", "diffuse.B"), other),
             ("beauty", ("R", "G", "B"), colour)]  # fmt: skip
    write_parts(tmp_path / "a.exr", parts)
    picture = read_picture(tmp_path / "a.exr")
    np.testing.assert_allclose(picture.pixels, linear_to_srgb(colour), atol=1e-6)


@pytest.mark.parametrize("channels", [("Z",), ("normal.X", "normal.Y2", "normal.Z"), ("Y", "RY", "BY")])
def test_files_without_colours_are_refused(tmp_path, channels):
    write_parts(tmp_path / "a.exr", [("", channels, light(len(channels)))])
    with pytest.raises(ClearpaneError, match="R, G, B or Y are needed"):
        read_picture(tmp_path / "a.exr")


def test_the_time_of_capture_is_kept(tmp_path):
    path = tmp_path / "a.exr"
    spec = oiio.ImageSpec(8, 6, 3, "half")
    spec.attribute("DateTime", "2001:02:03 04:05:06")
    target = oiio.ImageOutput.create(str(path))
    assert (
        target.open(str(path), spec) and target.write_image(np.ones((6, 8, 3), np.float32)) and target.close()
    )
    again = write_picture(tmp_path / "b.exr", read_picture(path))
    source = oiio.ImageInput.open(str(again))
    assert source.spec().get_string_attribute("DateTime") == "2001:02:03 04:05:06"
    source.close()
