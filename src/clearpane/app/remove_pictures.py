"""Process single pictures for ``clearpane remove``: plan their files, edit them, write the results."""

import os
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np

from clearpane.app.compare import draw_comparison
from clearpane.app.inputs import Found, keep_apart, output_paths
from clearpane.app.progress import BatchProgress, PictureFacts, describe_unexpected
from clearpane.app.remove_options import Remove
from clearpane.errors import ClearpaneError
from clearpane.files import ExistsError
from clearpane.images.formats import SUFFIXES
from clearpane.images.picture import BandedPicture, Picture
from clearpane.images.reading import open_picture, picture_format
from clearpane.images.writing import WriteOptions, losses, output_suffix, write_picture
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.separator import Separator, load_separator

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}
_TITLES = {"transmission": "After", "reflection": "Reflection"}


def plan_outputs(pictures: Collection[Found], options: Remove) -> list[tuple[Found, dict[str, Path]]]:
    """Name the files to write for each picture, by kind."""
    return keep_apart(
        [
            (found, output_paths(found, options.output, _suffix(found.source, options), options.kinds))
            for found in pictures
        ]
    )


def load_chosen_separator(options: Remove, progress: BatchProgress | None = None) -> Separator | None:
    """Load the model that the options name; None if the requested outputs need no separation."""
    if not options.needs_layers:
        return None
    choice = options.choice
    return load_separator(choice.name, choice.make_options(None if progress is None else progress.step))


def _suffix(source: Path, options: Remove) -> str:
    """Return the suffix of a picture's layers; a file's name does not always show its format."""
    if options.format:
        return _SUFFIXES[options.format]
    try:
        return output_suffix(picture_format(source))
    except ClearpaneError:  # reported when the picture is read
        return output_suffix(SUFFIXES.get(source.suffix.lower(), ""))


def make_folder(folder: Path) -> None:
    """Make an output folder, or check that it can be written to.

    Raises:
        ClearpaneError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ClearpaneError(f"cannot make the output folder {folder}: a file has that name") from error
    except OSError as error:
        raise ClearpaneError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ClearpaneError(f"cannot write into the output folder {folder}: no permission")


def _check_folder(output: Path) -> None:
    if not output.is_dir():  # making it again would hide that results are gone
        raise ClearpaneError(f"the output folder {output} has gone; bring it back and run the command again")


def process(
    source: Path,
    outputs: dict[str, Path],
    separator: Separator | None,
    mask: np.ndarray | None,
    options: Remove,
) -> PictureFacts:
    """Process one picture and write its results; a failure is reported in the facts."""
    started = time.perf_counter()
    facts = PictureFacts(str(source))
    try:
        missing = {kind: path for kind, path in outputs.items() if options.overwrite or not _exists(path)}
        facts.outputs = as_strings(outputs)
        if not missing:  # another process finished it meanwhile
            facts.status = "skipped"
            return facts
        _check_folder(options.output)
        picture = open_picture(source)
        facts.height, facts.width = picture.pixels.shape[:2]
        facts.warnings = list(picture.warnings)
        results, notes = make_results(picture, missing, separator, mask, options)
        facts.warnings += notes
        if "transmission" in missing:
            facts.warnings += losses(picture, missing["transmission"])
        del picture  # a large one, which the results may not need
        for kind, path in missing.items():
            _check_folder(options.output)
            make_folder(path.parent)
            write_picture(path, results.pop(kind), WriteOptions(overwrite=options.overwrite))
    except ClearpaneError as error:
        if isinstance(error, ExistsError) and is_finished(outputs, options):  # as above, meanwhile
            facts.status = "skipped"
            return facts
        text = str(error)
        facts.error = text if str(source) in text else f"{source}: {text}"
    except Exception as error:
        facts.error = f"{source}: {describe_unexpected(error)}"
    if facts.error is not None:
        facts.status = "failed"
        facts.outputs = {}
    facts.seconds = round(time.perf_counter() - started, 3)
    return facts


def make_results(
    picture: BandedPicture,
    kinds: Collection[str],
    separator: Separator | None,
    mask: np.ndarray | None,
    options: Remove,
) -> tuple[dict[str, BandedPicture], list[str]]:
    """Make the pictures to write, by kind, with the separator's notes."""
    drawn = [kind for kind in options.kinds if kind in _TITLES] if "compare" in kinds else []
    edit = Edit(options.strength, mask, options.quality)
    made, notes = edit_picture(picture, separator, edit, {*kinds, *drawn})
    results = {kind: made[kind] for kind in kinds if kind in made}
    if "compare" in kinds:
        panels = {"Before": picture.pixels} | {_TITLES[kind]: made[kind].pixels for kind in drawn}
        drawing = draw_comparison(panels, gray=picture.is_gray)
        results["compare"] = Picture(drawing, "jpeg", "uint8", lossless=False)
    return results, notes


def is_finished(outputs: dict[str, Path], options: Remove) -> bool:
    """Return True if all results exist and are to be kept."""
    return not options.overwrite and all(_exists(path) for path in outputs.values())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, or no permission: reported when it is written
        return False


def as_strings(outputs: dict[str, Path]) -> dict[str, str]:
    """Return the paths of results as a report names them."""
    return {kind: str(path) for kind, path in outputs.items()}
