"""Find the masks of photographs: in files, in the pictures' alpha, or with the user's own program."""

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.files import temporary_folder
from clearpane.images.formats import PICTURE_SUFFIXES
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.reconstruction.capture.orientation import as_stored, stored_shape
from clearpane.reconstruction.capture.photographs import PhotographSet

Segmenter = Callable[[np.ndarray], np.ndarray]
"""Function from a photograph [H, W, 3], sRGB in [0, 1], to the object's coverage [H, W], in [0, 1].

It raises ClearpaneError, without the picture's name, where it finds no object.
"""

# Largest number of names in one message.
_NAMED = 8


class NoObjectError(ClearpaneError):
    """A photograph does not show the object: its mask is empty or full, or the object was not found.

    Args:
        path: Photograph or mask that is named in the message.
        reason: Rest of the message.
        given: True if the mask came with the photograph.
    """

    def __init__(self, path: Path, reason: str, given: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason, self.given = reason, given


def given_mask(picture: Picture, mask: Path | None, orientation: int = 1) -> np.ndarray | None:
    """Return the mask that comes with a picture, [H, W] in [0, 1]: from a file, else its alpha, or None.

    The mask of a file is its alpha, or the mean of its channels; where its only levels are 0 and 1, they
    stand for black and white. Alpha that is 1 everywhere is ignored.

    Args:
        picture: Photograph, oriented as its camera describes it.
        mask: File of the mask, or None.
        orientation: EXIF orientation that was undone on reading the photograph; undone for a mask that has it
            in its own file, and for one of the upright photograph's size.

    Raises:
        ClearpaneError: The file cannot be read or differs in size.
    """
    if mask is None:
        return _alpha(picture)
    read = read_picture(mask)
    alpha = _alpha(read)
    values = _spread(read) if alpha is None else alpha
    if orientation != 1:
        stored, own = stored_shape(mask)
        if own == orientation or (own == 1 and stored != picture.pixels.shape[:2]):
            values = as_stored(values, orientation)
    if values.shape != picture.pixels.shape[:2]:
        height, width = picture.pixels.shape[:2]
        raise ClearpaneError(
            f"{mask}: the mask is {values.shape[1]} x {values.shape[0]}, but its photograph is "
            f"{width} x {height}; give masks of the photographs' size"
        )
    result: np.ndarray | None = np.clip(values, 0, 1)
    return result


def find_object(pixels: np.ndarray, segmenter: Segmenter, path: Path) -> np.ndarray:
    """Call a segmenter and check its mask: [H, W] float32 in [0, 1].

    Raises:
        NoObjectError: The segmenter failed.
        ClearpaneError: Its result is not a mask. All messages name the picture.
    """
    try:
        answer = segmenter(pixels)
    except MissingExtraError:
        raise
    except ClearpaneError as error:
        raise NoObjectError(path, str(error)) from error
    try:
        found = np.asarray(answer, np.float32)
    except (TypeError, ValueError) as error:
        raise ClearpaneError(f"{path}: the segmenter gave no array of numbers ({error})") from error
    if found.shape != pixels.shape[:2] or not np.isfinite(found).all():
        raise ClearpaneError(
            f"{path}: the segmenter gave values of shape {list(found.shape)}, where numbers from 0 to 1 of "
            f"shape {list(pixels.shape[:2])} are needed"
        )
    return found.clip(0, 1)


def command_segmenter(template: str) -> Segmenter:
    """Make a segmenter from a program that is run once for each picture, without a shell.

    It reads the picture, an 8-bit PNG, and writes its mask, or the picture with the mask as its alpha, at the
    same size.

    Args:
        template: Command in which ``{input}`` and ``{output}`` stand for the paths of the two files.

    Raises:
        ClearpaneError: The command cannot be parsed.

    >>> segment = command_segmenter("rembg i {input} {output}")
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise ClearpaneError(f"the command {template!r} cannot be split into words ({error})") from error
    for place in ("{input}", "{output}"):
        if not any(place in word for word in words[1:]):
            raise ClearpaneError(
                f"the command {template!r} lacks {place}; write it as in: rembg i {{input}} {{output}}"
            )

    def segment(pixels: np.ndarray) -> np.ndarray:
        with temporary_folder() as folder:
            source, result = folder / "picture.png", folder / "mask.png"
            picture = Picture(pixels, "png", "uint8")
            write_picture(source, picture)
            places = {"{input}": str(source), "{output}": str(result)}
            _run([_filled(word, places) for word in words])
            if not result.is_file():
                raise ClearpaneError(f"the program {words[0]} succeeded but wrote no mask to {{output}}")
            try:
                mask = given_mask(picture, result)
            except ClearpaneError as error:
                raise ClearpaneError(f"the program {words[0]} wrote no mask: {error}") from error
        assert mask is not None  # a file was given
        return mask

    return segment


def find_masks(folder: Path, pictures: Sequence[Path]) -> tuple[list[Path | None], tuple[str, ...]]:
    """Find the masks of pictures in a folder by name, and return a warning if some have none.

    The mask of ``IMG_1.jpg`` is ``IMG_1.jpg.png``, as in COLMAP, or ``IMG_1`` or ``IMG_1_mask`` in any
    format, in a sub-folder named as the picture's own, or in the folder itself.

    Raises:
        ClearpaneError: The folder does not exist, or holds no mask of any of the pictures.
    """
    if not folder.is_dir():
        raise ClearpaneError(f"{folder}: is not a folder of masks; name one")
    found = [_find_mask(folder, picture) for picture in pictures]
    missing = [picture.name for picture, mask in zip(pictures, found, strict=True) if mask is None]
    if pictures and len(missing) == len(pictures):
        raise ClearpaneError(
            f"{folder}: holds no mask of any photograph; name masks after their photographs, such as "
            f"{pictures[0].stem}.png"
        )
    warning = f"{folder} holds no mask of {named(missing)}"
    return found, (warning,) if missing else ()


def with_masks(photographs: PhotographSet, folder: Path) -> PhotographSet:
    """Give photographs the masks in a folder; those without one there keep their mask.

    Raises:
        ClearpaneError: See `find_masks`.
    """
    found, warnings = find_masks(folder, [p.path for p in photographs.photographs])
    masked = tuple(
        replace(photograph, mask=mask or photograph.mask)
        for photograph, mask in zip(photographs.photographs, found, strict=True)
    )
    return replace(photographs, photographs=masked, warnings=photographs.warnings + warnings)


def named(names: Sequence[str]) -> str:
    """List names in one line, abbreviated where there are many.

    >>> named(["a.jpg", "b.jpg"]), named([str(n) for n in range(10)])
    ('a.jpg, b.jpg', '0, 1, 2, 3, 4, 5, 6, 7 and 2 more')
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _spread(picture: Picture) -> np.ndarray:
    """Average the channels; stretch the levels 0 and 1 of an integer file to the full range."""
    values = picture.pixels.mean(-1)
    level = {"uint8": 1 / 255, "uint16": 1 / 65535}.get(picture.sample_type)
    if level is not None and 0 < values.max() <= 1.01 * level:
        return np.asarray(values / values.max())
    return np.asarray(values)


def _alpha(picture: Picture) -> np.ndarray | None:
    return None if picture.alpha is None or (picture.alpha == 1).all() else picture.alpha


def _filled(word: str, places: dict[str, str]) -> str:
    for place, path in places.items():
        word = word.replace(place, path)
    return word


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ClearpaneError(
            f"the program {words[0]} cannot be run ({error.strerror}); is it installed?"
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = f": {said[-1].strip()[:200]}" if said else ""
        raise ClearpaneError(f"the program {words[0]} failed with status {done.returncode}{reason}")


def _find_mask(folder: Path, picture: Path) -> Path | None:
    for place in (folder / picture.parent.name, folder):
        colmaps = place / f"{picture.name}.png"
        if colmaps.is_file():
            return colmaps
        for stem in (picture.stem, f"{picture.stem}_mask"):
            for suffix in sorted(PICTURE_SUFFIXES):
                candidate = place / f"{stem}{suffix}"
                if candidate.is_file() and candidate != picture:
                    return candidate
    return None
