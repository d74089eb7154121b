import numpy as np
import pytest
import tifffile
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.separation.layers import Layers
from clearpane.separation.strength import apply_strength
from clearpane.web.batch import BatchJob, run_batch
from clearpane.web.photograph import Edit, Wanted, open_photograph, write_result


class Counting:
    """A stand-in that counts its calls: T is 0.6 of the input, R 0.3."""

    def __init__(self):
        self.calls = 0

    def separate(self, image, *, quality="fast", confidence=False):
        self.calls += 1
        image = np.clip(image, 0, 1)
        doubt = np.full(image.shape[:2], 0.75, np.float32) if confidence else None
        return Layers(image * np.float32(0.6), image * np.float32(0.3), doubt)


@pytest.fixture
def opened(draw, tmp_path):
    separator = Counting()
    folder = tmp_path / "layers"
    folder.mkdir()
    photograph = open_photograph(draw(tmp_path / "a.png"), folder, separator, "fast", 10**6)
    return photograph, separator


def seen(path):
    return np.asarray(Image.open(path)).astype(np.float32) / 255


@pytest.mark.parametrize("strength", [1.0, 0.4, 0.0, -0.5, -1.0])
def test_the_slider_only_recombines(opened, tmp_path, strength):
    photograph, separator = opened
    shown = seen(photograph.show("result", strength, "everywhere"))
    image = read_picture(tmp_path / "a.png").pixels
    wanted = apply_strength(image, Layers(image * 0.6, image * 0.3), strength)
    assert np.abs(shown - wanted).mean() < 0.01  # a JPEG of it
    assert separator.calls == 1


@pytest.mark.parametrize("region", ["only", "except"])
def test_a_painted_region_holds_the_change(opened, tmp_path, region):
    photograph, _ = opened
    mask = np.zeros((32, 48), np.float32)
    mask[:, :24] = 1  # the left half, painted at half the size
    photograph.paint(mask)
    shown = seen(photograph.show("result", 1, region))
    change = np.abs(shown - seen(photograph.before)).mean(axis=(0, 2))
    left, right = change[:44].mean(), change[52:].mean()
    assert (left > 10 * right) if region == "only" else (right > 10 * left)
    written = photograph.write(tmp_path, Counting(), Wanted(region=region), 10**6)
    whole = read_picture(tmp_path / "a.png").pixels
    change = np.abs(read_picture(written.path).pixels - whole).mean(axis=(0, 2))
    assert (change[52:] == 0).all() if region == "only" else (change[:44] == 0).all()


def test_a_mask_file_of_another_size_is_refused(opened, tmp_path):
    photograph, _ = opened
    with pytest.raises(ClearpaneError, match="make the mask at the picture's own size"):
        Image.new("L", (20, 20), 255).save(tmp_path / "m.png")
        photograph.use_mask_file(tmp_path / "m.png")


def test_confidence_is_mapped_when_it_is_asked_for(opened):
    photograph, separator = opened
    assert not photograph.has_confidence()
    photograph.add_confidence(separator)
    assert seen(photograph.show("confidence", 1, "everywhere")).mean() == pytest.approx(0.75, abs=0.01)


def test_sixteen_bits_and_an_upright_portrait(draw, tmp_path):
    deep = tmp_path / "deep.tif"
    tifffile.imwrite(
        deep, np.random.default_rng(0).integers(0, 65536, (20, 30, 3), np.uint16), photometric="rgb"
    )
    written = write_result(deep, tmp_path, Counting(), Edit(), Wanted(), 10**6)
    assert written.path.name == "deep_transmission.tif"
    assert tifffile.imread(written.path).dtype == np.uint16
    exif = Image.Exif()
    exif[274] = 6
    portrait = draw(tmp_path / "p.jpg", (60, 40), exif=exif)
    folder = tmp_path / "p"
    folder.mkdir()
    photograph = open_photograph(portrait, folder, Counting(), "fast", 10**6)
    assert (photograph.width, photograph.height) == (40, 60)
    assert Image.open(photograph.before).size == (40, 60)


def test_a_phones_heic_becomes_a_png_of_sixteen_bits(draw, tmp_path):
    heic = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG_1.HEIC"
    heic.from_pillow(Image.open(draw(tmp_path / "a.png"))).save(path)
    written = write_result(path, tmp_path, Counting(), Edit(), Wanted(), 10**6)
    assert written.path.name == "IMG_1_transmission.png"


def test_too_many_pixels_are_refused(draw, tmp_path):
    with pytest.raises(ClearpaneError, match="megapixels"):
        open_photograph(draw(tmp_path / "a.png"), tmp_path, Counting(), "fast", 1000)


def test_a_batch_names_what_fails_and_goes_on(draw, tmp_path):
    (tmp_path / "sub").mkdir()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    photographs = [draw(tmp_path / "a.png"), bad, draw(tmp_path / "sub" / "a.png", seed=1)]
    folder = tmp_path / "results"
    folder.mkdir()
    job = BatchJob(Counting(), Edit(), Wanted(), 10**6)
    state = list(run_batch(photographs, folder, job, lambda: None))[-1]
    assert [name for name, _ in state.failed] == ["bad.png"]
    import zipfile

    with zipfile.ZipFile(state.path) as archive:
        assert archive.namelist() == ["a_transmission.png", "a_transmission-2.png"]


def test_a_cancelled_batch_stops_between_photographs(draw, tmp_path):
    from clearpane.web.work import Cancelled

    asked = []

    def check():
        asked.append(1)
        if len(asked) == 2:
            raise Cancelled

    separator = Counting()
    job = BatchJob(separator, Edit(), Wanted(), 10**6)
    photographs = [draw(tmp_path / f"{n}.png", seed=n) for n in range(3)]
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(Cancelled):
        list(run_batch(photographs, folder, job, check))
    assert separator.calls == 1
