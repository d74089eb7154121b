"""``clearpane remove``: remove the reflection from photographs, one or many."""

import os
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from clearpane.app.compare import draw_comparison
from clearpane.app.inputs import Found, UsageError, check_collisions, find_inputs, keep_apart, output_paths
from clearpane.app.pipe import STREAM, edit_in_pipe
from clearpane.app.progress import BatchProgress, PictureFacts, describe_unexpected
from clearpane.app.remove_options import DESCRIPTION, Remove, check_options
from clearpane.app.summary import summarize, summarize_interrupted, summarize_watch
from clearpane.app.watch import Arrivals
from clearpane.errors import ClearpaneError
from clearpane.files import ExistsError, remove_leftovers
from clearpane.images.formats import SUFFIXES
from clearpane.images.masks import read_mask
from clearpane.images.picture import BandedPicture, Picture
from clearpane.images.reading import open_picture, picture_format
from clearpane.images.writing import WriteOptions, losses, output_suffix, write_picture
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.separator import Separator, load_separator

__all__ = ["DESCRIPTION", "Remove", "run"]

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}
_TITLES = {"transmission": "After", "reflection": "Reflection"}


def run(options: Remove) -> int:
    """Process all pictures; a failure does not stop the others.

    Returns:
        0 if all went well, 1 if a picture failed, 130 if interrupted, as the watching of a folder always is.

    Raises:
        UsageError: The options are invalid; nothing was done.
    """
    check_options(options)
    mask = None if options.mask is None else _load_mask(options.mask)
    if options.output == STREAM:
        edit_in_pipe(options.pictures[0], lambda picture: _edit(picture, mask, options), options.format)
        return 0
    arrivals = options.watch and Arrivals(options.watch, options.output, recursive=options.recursive)
    inputs = find_inputs(options.pictures, options.output, recursive=options.recursive)
    plans = _plan(inputs.pictures, options)
    check_collisions(plans)
    for folder in {path.parent for _, outputs in plans for path in outputs.values()}:
        remove_leftovers(folder)
    todo = [plan for plan in plans if not _is_finished(plan[1], options)]

    with BatchProgress(0 if arrivals else len(todo), options.json) as progress:
        try:
            for place, problem in inputs.problems:
                progress.end(PictureFacts(str(place), "failed", error=problem))
            for found, outputs in plans:
                if _is_finished(outputs, options):
                    progress.end(PictureFacts(str(found.source), "skipped", _strings(outputs)))
            if todo or arrivals:
                _make_folder(options.output)
                separator = _load_separator(options, progress)
            for found, outputs in todo:
                progress.begin(str(found.source))
                progress.end(_process(found.source, outputs, separator, mask, options))
            if arrivals:
                print(f"watching {options.watch} for new pictures; Ctrl-C stops it", file=sys.stderr)
                _process_arrivals(arrivals, separator, mask, options, progress)
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
    counts = progress.counts
    if options.watch is not None:
        summarize_watch(counts, inputs, options.watch)
    elif interrupted:
        summarize_interrupted(counts["done"], len(todo), options.overwrite)
    else:
        summarize(counts, inputs)
    if interrupted:
        return 130
    return 1 if counts["failed"] else 0


def _plan(pictures: Collection[Found], options: Remove) -> list[tuple[Found, dict[str, Path]]]:
    """Name the files to write for each picture, by kind."""
    return keep_apart(
        [
            (found, output_paths(found, options.output, _suffix(found.source, options), options.kinds))
            for found in pictures
        ]
    )


def _load_separator(options: Remove, progress: BatchProgress | None = None) -> Separator | None:
    if not options.needs_layers:
        return None
    choice = options.choice
    return load_separator(choice.name, choice.make_options(None if progress is None else progress.step))


def _edit(
    picture: BandedPicture, mask: np.ndarray | None, options: Remove
) -> tuple[BandedPicture, list[str]]:
    """Make the transmission of one picture, with the separator's notes."""
    results, notes = _results(picture, ["transmission"], _load_separator(options), mask, options)
    return results["transmission"], notes


def _process_arrivals(
    arrivals: Arrivals,
    separator: Separator | None,
    mask: np.ndarray | None,
    options: Remove,
    progress: BatchProgress,
) -> None:
    """Process pictures as they come, until an interruption; the results of one that changed are replaced."""
    made: set[Found] = set()
    for pictures in arrivals:
        plans = [plan for plan in _plan(arrivals.same_stem(pictures), options) if plan[0] in pictures]
        for found, outputs in plans:
            renewed = replace(options, overwrite=options.overwrite or found in made)
            facts = _process(found.source, outputs, separator, mask, renewed)
            if facts.status == "failed" and arrivals.is_changing(found):
                continue  # it was not complete yet, and comes again
            if facts.status == "done":
                made.add(found)
            progress.end(facts)


def _load_mask(path: Path) -> np.ndarray:
    """Read a mask as [H, W] float32 in [0, 1], and print how it was interpreted.

    Raises:
        UsageError: The mask cannot be read, or selects nothing.
    """
    try:
        mask = read_mask(path)
    except ClearpaneError as error:
        raise UsageError(f"the mask cannot be used: {error}") from error
    print(f"{path}: {mask.reading}", file=sys.stderr)
    return mask.weights


def _suffix(source: Path, options: Remove) -> str:
    """Return the suffix of a picture's layers; a file's name does not always show its format."""
    if options.format:
        return _SUFFIXES[options.format]
    try:
        return output_suffix(picture_format(source))
    except ClearpaneError:  # reported when the picture is read
        return output_suffix(SUFFIXES.get(source.suffix.lower(), ""))


def _make_folder(folder: Path) -> None:
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


def _process(
    source: Path,
    outputs: dict[str, Path],
    separator: Separator | None,
    mask: np.ndarray | None,
    options: Remove,
) -> PictureFacts:
    started = time.perf_counter()
    facts = PictureFacts(str(source))
    try:
        missing = {kind: path for kind, path in outputs.items() if options.overwrite or not _exists(path)}
        facts.outputs = _strings(outputs)
        if not missing:  # another process finished it meanwhile
            facts.status = "skipped"
            return facts
        _check_folder(options.output)
        picture = open_picture(source)
        facts.height, facts.width = picture.pixels.shape[:2]
        facts.warnings = list(picture.warnings)
        results, notes = _results(picture, missing, separator, mask, options)
        facts.warnings += notes
        if "transmission" in missing:
            facts.warnings += losses(picture, missing["transmission"])
        del picture  # a large one, which the results may not need
        for kind, path in missing.items():
            _check_folder(options.output)
            _make_folder(path.parent)
            write_picture(path, results.pop(kind), WriteOptions(overwrite=options.overwrite))
    except ClearpaneError as error:
        if isinstance(error, ExistsError) and _is_finished(outputs, options):  # as above, meanwhile
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


def _results(
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


def _is_finished(outputs: dict[str, Path], options: Remove) -> bool:
    return not options.overwrite and all(_exists(path) for path in outputs.values())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, or no permission: reported when it is written
        return False


def _strings(outputs: dict[str, Path]) -> dict[str, str]:
    return {kind: str(path) for kind, path in outputs.items()}
