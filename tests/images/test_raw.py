"""Camera RAW files built tag by tag, compared with the light that they were made from."""

import numpy as np
import pytest
import tifffile

from clearpane.errors import ClearpaneError
from clearpane.images.formats import RAW_SUFFIXES, is_picture_name
from clearpane.images.reading import picture_format, read_picture
from clearpane.optics.color import srgb_to_linear

from .dng import write_dng

pytest.importorskip("rawpy")


def grey(path):
    return float(np.median(srgb_to_linear(read_picture(path).pixels)))


@pytest.mark.parametrize("light", [0.4, 0.04, 0.004])
@pytest.mark.parametrize("bigendian", [False, True])
def test_exposures_stay_apart(tmp_path, light, bigendian):
    write_dng(tmp_path / "a.dng", light, bigendian=bigendian)
    assert grey(tmp_path / "a.dng") == pytest.approx(light, rel=0.01)


def test_the_baseline_exposure_of_a_dng_is_applied(tmp_path):
    write_dng(tmp_path / "a.dng", 0.1, baseline=1)
    assert grey(tmp_path / "a.dng") == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("name", ["a.nrw", "a.3fr", "a.xyz", "a.tif", "a.tiff", "a"])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_sensor_samples_are_told_by_the_content(tmp_path, name, thumbnail):
    write_dng(tmp_path / name, 0.3, thumbnail)
    assert picture_format(tmp_path / name) == "raw"
    picture = read_picture(tmp_path / name)
    assert picture.pixels.shape == (384, 512, 3) and grey(tmp_path / name) == pytest.approx(0.3, rel=0.01)
    assert b"Maker" in picture.exif


def test_a_raw_file_that_libraw_does_not_know_is_said_to_be_one(tmp_path):
    tifffile.imwrite(tmp_path / "a.nef", np.zeros((20, 30), np.uint16), photometric="cfa", metadata=None)
    with pytest.raises(ClearpaneError, match="RAW"):
        read_picture(tmp_path / "a.nef")


def test_every_raw_ending_is_a_picture():
    known = (
        "3fr arw bay cap cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx raf"
    )
    assert {f".{ending}" for ending in known.split()} <= RAW_SUFFIXES
    assert all(is_picture_name(f"a{ending.upper()}") for ending in RAW_SUFFIXES)
