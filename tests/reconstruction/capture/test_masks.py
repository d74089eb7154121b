"""Masks from files, alpha and programs of the user's own."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images.reading import read_picture
from clearpane.reconstruction.capture.masks import (
    command_segmenter,
    find_masks,
    find_object,
    given_mask,
    with_masks,
)
from clearpane.reconstruction.capture.photographs import Lens, Photograph, PhotographSet

SQUARE = np.zeros((12, 16), bool)
SQUARE[3:9, 4:11] = True
PIXELS = np.where(SQUARE[..., None], [0.9, 0.2, 0.1], 0.3).astype(np.float32)


def write(path: Path, mode: str, size: tuple[int, int] = (16, 12)) -> Path:
    """The square: as a mask (L), as alpha (RGBA), as a photograph without either (RGB)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((255 * PIXELS).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(SQUARE.astype(np.uint8) * 255))
    if mode == "L":
        image = Image.fromarray(SQUARE.astype(np.uint8) * 255)
    image.resize(size, Image.Resampling.NEAREST).save(path)
    return path


def test_a_file_goes_before_alpha_and_opaque_alpha_says_nothing(tmp_path: Path) -> None:
    plain, cut = (read_picture(write(tmp_path / f"{mode}.png", mode)) for mode in ("RGB", "RGBA"))
    inverted = tmp_path / "inverted.png"
    Image.fromarray(~SQUARE).save(inverted)
    assert given_mask(plain, None) is None
    assert (given_mask(cut, None) == SQUARE).all()
    assert (given_mask(cut, inverted) == ~SQUARE).all()
    assert (given_mask(plain, write(tmp_path / "cut.png", "RGBA")) == SQUARE).all()
    opaque = tmp_path / "opaque.png"
    Image.open(tmp_path / "RGB.png").convert("RGBA").save(opaque)
    assert given_mask(read_picture(opaque), None) is None
    with pytest.raises(ClearpaneError, match=r"small\.png: the mask is 8 x 6, but its photograph is 16 x 12"):
        given_mask(plain, write(tmp_path / "small.png", "L", (8, 6)))


SCRIPT = """
import sys
import numpy as np
from PIL import Image
source, result, wanted = sys.argv[1].removeprefix("--from="), sys.argv[2], sys.argv[3]
image = Image.open(source)
mask = Image.fromarray((np.asarray(image)[..., 0] > 127).astype(np.uint8) * 255)
if wanted == "cut":
    image.putalpha(mask)
    mask = image
if wanted == "small":
    mask = mask.resize((8, 6))
if wanted == "fail":
    sys.exit("first line\\nno model is loaded")
if wanted == "text":
    open(result, "w").write("no picture")
elif wanted != "nothing":
    mask.save(result)
"""


def program(tmp_path: Path, wanted: str) -> str:
    script = tmp_path / "a program.py"
    script.write_text(SCRIPT)
    return f"'{sys.executable}' '{script}' --from={{input}} {{output}} {wanted}"


@pytest.mark.parametrize("wanted", ["mask", "cut"])
def test_a_program_finds_the_object(tmp_path: Path, wanted: str) -> None:
    found = command_segmenter(program(tmp_path, wanted))(PIXELS)
    np.testing.assert_array_equal(found, SQUARE)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("fail", r"failed with status 1: no model is loaded$"),
        ("nothing", r"succeeded but wrote no mask to \{output\}$"),
        ("small", r"wrote no mask: .*the mask is 8 x 6, but its photograph is 16 x 12"),
        ("text", r"wrote no mask: .*is not a picture that can be read"),
    ],
)
def test_a_program_that_fails_is_named(tmp_path: Path, wanted: str, says: str) -> None:
    segment = command_segmenter(program(tmp_path, wanted))
    with pytest.raises(ClearpaneError, match=says) as error:
        find_object(PIXELS, segment, Path("view.jpg"))
    assert str(error.value).startswith("view.jpg: the program ") and "\n" not in str(error.value)


def test_commands_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ClearpaneError, match=r"lacks \{output\}"):
        command_segmenter("rembg i {input}")
    with pytest.raises(ClearpaneError, match=r"lacks \{input\}"):
        command_segmenter("{input} {output}")
    with pytest.raises(ClearpaneError, match="cannot be split into words"):
        command_segmenter("rembg '{input} {output}")
    with pytest.raises(ClearpaneError, match=r"the program no-such-thing cannot be run .*is it installed"):
        command_segmenter("no-such-thing {input} {output}")(PIXELS)


def test_a_segmenters_answer_is_checked() -> None:
    path = Path("view.jpg")
    found = find_object(PIXELS, lambda pixels: 3 * SQUARE - 1, path)
    assert found.dtype == np.float32 and (found == SQUARE).all()
    for answer in (SQUARE[1:], SQUARE[..., None], np.full(SQUARE.shape, np.nan)):
        with pytest.raises(ClearpaneError, match=r"view\.jpg: the segmenter gave values of .* \[12, 16\]"):
            find_object(PIXELS, lambda pixels, answer=answer: answer, path)
    with pytest.raises(ClearpaneError, match=r"view\.jpg: the segmenter gave no array"):
        find_object(PIXELS, lambda pixels: "mask", path)  # type: ignore[arg-type, return-value]

    def missing(pixels: np.ndarray) -> np.ndarray:
        raise MissingExtraError("it", "3d")

    with pytest.raises(MissingExtraError):
        find_object(PIXELS, missing, path)


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    pictures = [tmp_path / "left" / f"{name}.jpg" for name in "abcd"]
    masks = tmp_path / "masks"
    expected = [
        write(masks / "a.jpg.png", "L"),
        write(masks / "b.png", "L"),
        write(masks / "left" / "c_mask.tif", "L"),
        None,
    ]
    found, warnings = find_masks(masks, pictures)
    assert found == expected
    assert warnings == (f"{masks} holds no mask of d.jpg",)
    lens = Lens((1.0, 1.0), (0.5, 0.5))
    posed = tuple(Photograph(p, np.eye(4), lens, (1, 1), Path("old.png")) for p in pictures)
    masked = with_masks(PhotographSet(posed, np.zeros((0, 3)), None, ("before",)), masks)
    assert [p.mask for p in masked.photographs] == [*expected[:3], Path("old.png")]
    assert masked.warnings == ("before", *warnings)


def test_a_photograph_is_not_its_own_mask(tmp_path: Path) -> None:
    picture = write(tmp_path / "a.png", "RGB")
    with pytest.raises(ClearpaneError, match=r"holds no mask of any photograph; name masks .* as a\.png"):
        find_masks(tmp_path, [picture])
    beside = write(tmp_path / "a_mask.png", "L")
    assert find_masks(tmp_path, [picture]) == ([beside], ())
    with pytest.raises(ClearpaneError, match="none: is not a folder of masks"):
        find_masks(tmp_path / "none", [picture])
