"""``clearpane remove``: remove the reflection from photographs, one or many."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from clearpane.app.inputs import Found, UsageError, check_collisions, find_inputs
from clearpane.app.pipe import STREAM, edit_in_pipe
from clearpane.app.places import with_local_paths
from clearpane.app.progress import BatchProgress, PictureFacts
from clearpane.app.ray_remove import remove_on_ray
from clearpane.app.remove_options import DESCRIPTION, Remove, check_options
from clearpane.app.remove_pictures import (
    as_strings,
    is_finished,
    load_chosen_separator,
    make_folder,
    make_results,
    plan_outputs,
    process,
)
from clearpane.app.summary import summarize, summarize_interrupted, summarize_watch
from clearpane.app.watch import Arrivals
from clearpane.errors import ClearpaneError
from clearpane.files import remove_leftovers
from clearpane.images.masks import read_mask
from clearpane.images.picture import BandedPicture
from clearpane.separation.separator import Separator

__all__ = ["DESCRIPTION", "Remove", "run"]


def run(options: Remove) -> int:
    """Process all pictures; a failure does not stop the others.

    Returns:
        0 if all went well, 1 if a picture failed, 130 if interrupted, as the watching of a folder always is.

    Raises:
        UsageError: The options are invalid; nothing was done.
    """
    check_options(options)
    options = with_local_paths(options, ("pictures", "output"), positional="pictures")
    mask = None if options.mask is None else _load_mask(options.mask)
    if options.output == STREAM:
        edit_in_pipe(options.pictures[0], lambda picture: _edit(picture, mask, options), options.format)
        return 0
    if options.ray is not None:
        return remove_on_ray(options, mask)
    arrivals = options.watch and Arrivals(options.watch, options.output, recursive=options.recursive)
    inputs = find_inputs(options.pictures, options.output, recursive=options.recursive)
    plans = plan_outputs(inputs.pictures, options)
    check_collisions(plans)
    for folder in {path.parent for _, outputs in plans for path in outputs.values()}:
        remove_leftovers(folder)
    todo = [plan for plan in plans if not is_finished(plan[1], options)]

    with BatchProgress(0 if arrivals else len(todo), options.json) as progress:
        try:
            for place, problem in inputs.problems:
                progress.end(PictureFacts(str(place), "failed", error=problem))
            for found, outputs in plans:
                if is_finished(outputs, options):
                    progress.end(PictureFacts(str(found.source), "skipped", as_strings(outputs)))
            if todo or arrivals:
                make_folder(options.output)
                separator = load_chosen_separator(options, progress)
            for found, outputs in todo:
                progress.begin(str(found.source))
                progress.end(process(found.source, outputs, separator, mask, options))
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


def _edit(
    picture: BandedPicture, mask: np.ndarray | None, options: Remove
) -> tuple[BandedPicture, list[str]]:
    """Make the transmission of one picture, with the separator's notes."""
    results, notes = make_results(picture, ["transmission"], load_chosen_separator(options), mask, options)
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
        plans = [plan for plan in plan_outputs(arrivals.same_stem(pictures), options) if plan[0] in pictures]
        for found, outputs in plans:
            renewed = replace(options, overwrite=options.overwrite or found in made)
            facts = process(found.source, outputs, separator, mask, renewed)
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
