"""``clearpane remove``: remove the reflection from photographs, one or many."""

import contextlib
import os
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from clearpane.app.compare import draw_comparison
from clearpane.app.inputs import Inputs, UsageError, check_collisions, find_inputs, keep_apart, output_paths
from clearpane.app.model_choice import ModelChoice, check_confidence
from clearpane.app.progress import BatchProgress, PictureFacts, describe_unexpected
from clearpane.errors import ClearpaneError
from clearpane.files import ExistsError, remove_leftovers
from clearpane.images.formats import SUFFIXES
from clearpane.images.masks import read_mask
from clearpane.images.picture import BandedPicture, Picture
from clearpane.images.reading import open_picture, picture_format
from clearpane.images.writing import WriteOptions, losses, output_suffix, write_picture
from clearpane.separation.interface import Quality, Separator
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.registry import load_separator
from clearpane.separation.strength import check_strength

DESCRIPTION = """\
Remove the reflection from photographs taken through glass.

The result of window.jpg is window_transmission.jpg in the output folder, in
the same format and bit depth as the photograph. Your photographs are never
changed, and existing results are kept: after an interruption, run the same
command again to resume. Earlier results that lie beside their photograph in
an input folder are skipped.

Examples:
  clearpane remove window.jpg --output clean
  clearpane remove holiday --output clean --recursive --compare
  clearpane remove window.jpg --output clean --strength 0.6 --overwrite
  clearpane remove window.jpg --output clean --mask pane.png
  clearpane remove *.tif --output clean --quality best --reflection
  clearpane remove window.jpg --output clean --model panel --weights panel
"""

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}
_TITLES = {"transmission": "After", "reflection": "Reflection"}


@dataclass(frozen=True)
class Remove:
    """Remove the reflection from photographs taken through glass."""

    pictures: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="PICTURES_OR_FOLDERS...", help_behavior_hint="")
    ]
    """Photographs, or folders of photographs."""

    output: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder for the results; created if it does not exist."""

    strength: Annotated[float, arg(metavar="NUMBER", help_behavior_hint="(default: 1)")] = 1.0
    """Share of the reflection to remove: 1 all, 0.5 half, 0 nothing. Below 0 the scene behind the glass
    fades instead; -1 shows the reflection alone."""

    mask: Annotated[Path | None, arg(metavar="MASK.png", help_behavior_hint="")] = None
    """Limit the change to a region: a picture of the photograph's size, white where the reflection is
    removed, black where nothing changes, grey in between; or the region painted in one colour on a
    transparent, black or white layer. The mask applies to all photographs of the command."""

    quality: Annotated[Quality, arg(help_behavior_hint="(default: fast)")] = "fast"
    """best takes the median of four separations of each photograph and is up to six times slower; with panel
    and gensirr it takes the mean over four random seeds."""

    reflection: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write the reflection: window_reflection.jpg. --strength and --mask do not affect it."""

    confidence: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write a confidence map: window_confidence.png, white where the result is probably right, dark
    where much had to be guessed. Each value is the estimated probability that a pixel is right to within a
    tenth of the range. --strength and --mask do not affect it."""

    compare: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write a before/after picture: window_compare.jpg."""

    recursive: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also process the subfolders; the output folder gets the same subfolders."""

    format: Annotated[
        Literal["jpeg", "png", "tiff"] | None, arg(metavar="jpeg|png|tiff", help_behavior_hint="")
    ] = None
    """File format of the results. Default: that of the photograph, or 16-bit PNG for HEIC and camera RAW."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Make results again that exist. The photographs themselves are never overwritten."""

    json: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print one line of JSON for each picture, for scripts."""

    choice: OmitArgPrefixes[Annotated[ModelChoice, arg(name="model")]] = field(default_factory=ModelChoice)
    """The model and its options."""

    @property
    def kinds(self) -> list[str]:
        """Requested kinds of output."""
        return (
            ["transmission"]
            + ["reflection"] * self.reflection
            + ["confidence"] * self.confidence
            + ["compare"] * self.compare
        )

    @property
    def needs_layers(self) -> bool:
        """True if the requested outputs need a separation."""
        return self.strength != 0 or self.reflection or self.confidence


def run(options: Remove) -> int:
    """Process all pictures; a failure does not stop the others.

    Returns:
        0 if all went well, 1 if a picture failed, 130 if interrupted.

    Raises:
        UsageError: The options are invalid; nothing was done.
    """
    _check(options)
    mask = None if options.mask is None else _load_mask(options.mask)
    inputs = find_inputs(options.pictures, options.output, recursive=options.recursive)
    plans = keep_apart(
        [
            (found, output_paths(found, options.output, _suffix(found.source, options), options.kinds))
            for found in inputs.pictures
        ]
    )
    check_collisions(plans)
    for folder in {path.parent for _, outputs in plans for path in outputs.values()}:
        remove_leftovers(folder)
    todo = [plan for plan in plans if not _is_finished(plan[1], options)]

    with BatchProgress(len(todo), options.json) as progress:
        try:
            for place, problem in inputs.problems:
                progress.end(PictureFacts(str(place), "failed", error=problem))
            for found, outputs in plans:
                if _is_finished(outputs, options):
                    progress.end(PictureFacts(str(found.source), "skipped", _strings(outputs)))
            if todo:
                _make_folder(options.output)
                choice = options.choice
                made = choice.make_options(progress.step)
                separator = load_separator(choice.model, made) if options.needs_layers else None
            for found, outputs in todo:
                progress.begin(str(found.source))
                progress.end(_process(found.source, outputs, separator, mask, options))
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
    _summarize(progress, options, inputs, len(todo) if interrupted else None)
    if interrupted:
        return 130
    return 1 if progress.counts["failed"] else 0


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


def _check(options: Remove) -> None:
    if not options.pictures:
        raise UsageError("no pictures named; clearpane remove --help shows how")
    options.choice.make_options()
    if options.confidence:
        check_confidence(options.choice.model)
    try:
        check_strength(options.strength)
    except ClearpaneError as error:
        raise UsageError(str(error)) from error
    with contextlib.suppress(OSError):  # reported when the folder is made
        if options.output.is_file():
            raise UsageError(f"--output {options.output} is a file; name a folder")


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


def _summarize(
    progress: BatchProgress, options: Remove, inputs: Inputs, interrupted_total: int | None
) -> None:
    counts = progress.counts
    parts = [f"{counts['done']} done"]
    if counts["skipped"]:
        parts.append(
            f"{counts['skipped']} skipped because their results exist (--overwrite makes them again)"
        )
    if inputs.results_left_out:
        parts.append(f"{inputs.results_left_out} earlier results in the folders left out")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if inputs.not_taken:
        named = ", ".join(str(path) for path in inputs.not_taken)
        parts.append(f"{len(inputs.not_taken)} not read because of their format or file extension: {named}")
    if interrupted_total is None:
        print("; ".join(parts), file=sys.stderr)
    else:
        again = "the same command without --overwrite" if options.overwrite else "the same command"
        print(
            f"interrupted: {counts['done']} of {interrupted_total} done; run {again} again to resume",
            file=sys.stderr,
        )
