"""``clearpane remove --ray``: photographs spread over a Ray cluster, at local paths or addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from clearpane.app.inputs import Found, Inputs, check_collisions, find_inputs, is_result_name
from clearpane.app.progress import BatchProgress, PictureFacts
from clearpane.app.ray_batch import Task, listed, work_through
from clearpane.app.remove_options import Remove
from clearpane.app.remove_pictures import (
    is_finished,
    load_chosen_separator,
    make_folder,
    plan_outputs,
    process,
)
from clearpane.app.summary import summarize, summarize_interrupted
from clearpane.cluster.addresses import exists, fetch, files_below, is_remote, send, shown
from clearpane.errors import ClearpaneError
from clearpane.images.formats import is_picture_name
from clearpane.separation.separator import Separator


@dataclass(frozen=True)
class RemoveJob:
    """Hold what all workers share: the options, and the mask [H, W] float32 in [0, 1] if there is one."""

    options: Remove
    mask: np.ndarray | None


def remove_on_ray(options: Remove, mask: np.ndarray | None) -> int:
    """Process all pictures on a cluster; a failure does not stop the others.

    Returns:
        0 if all went well, 1 if a picture failed, 130 if interrupted.

    Raises:
        ClearpaneError: The cluster or a named address cannot be used; nothing was done.
    """
    inputs = _find(options)
    plans = plan_outputs(inputs.pictures, options)
    check_collisions(plans)
    kept = set() if options.overwrite else _kept(plans, options)
    todo = [Task(found.source, outputs) for found, outputs in plans if found not in kept]
    if todo and not is_remote(options.output):
        make_folder(options.output)
    with BatchProgress(len(todo), options.json) as progress:
        for place, problem in inputs.problems:
            progress.end(PictureFacts(shown(place), "failed", error=problem))
        for found, outputs in plans:
            if found in kept:
                task = Task(found.source, outputs)
                progress.end(PictureFacts(shown(found.source), "skipped", task.shown_outputs))
        try:
            work_through(todo, remove_one, RemoveJob(options, mask), options.ray or "auto", progress)
        except KeyboardInterrupt:
            summarize_interrupted(progress.counts["done"], len(todo), options.overwrite)
            return 130
    summarize(progress.counts, inputs)
    return 1 if progress.counts["failed"] else 0


def remove_one(row: Mapping[str, Any], job: RemoveJob) -> dict[str, str]:
    """Process one picture on a worker: fetch it, write its results, send them.

    Args:
        row: The picture's task.
        job: What all pictures share.

    Returns:
        The answer, see `Task.answer`.
    """
    task = Task.from_row(row)
    with TemporaryDirectory(prefix="clearpane-") as folder:
        return task.answer(_process(task.source, task.outputs, job, Path(folder)))


def _process(source: Path, outputs: Mapping[str, Path], job: RemoveJob, folder: Path) -> PictureFacts:
    options = job.options
    try:
        if is_remote(options.output) and not options.overwrite and all(map(exists, outputs.values())):
            return PictureFacts(shown(source), "skipped")
        local = {kind: folder / path.name if is_remote(path) else path for kind, path in outputs.items()}
        place = fetch(source, folder) if is_remote(source) else source
        output = folder if is_remote(options.output) else options.output
        facts = process(place, local, _separator(options), job.mask, replace(options, output=output))
        if facts.status == "done":
            for kind, path in outputs.items():
                if is_remote(path):
                    send(local[kind], path)
    except ClearpaneError as error:
        return PictureFacts(shown(source), "failed", error=str(error))
    if facts.error is not None:
        facts.error = facts.error.replace(str(place), shown(source))
    return facts


@lru_cache(maxsize=1)
def _separator(options: Remove) -> Separator | None:
    """Load the model once in each worker process."""
    return load_chosen_separator(options)


def _find(options: Remove) -> Inputs:
    """Collect the pictures at local paths and at addresses."""
    local = [place for place in options.pictures if not is_remote(place)]
    inputs = find_inputs(local, options.output, recursive=options.recursive)
    for place in options.pictures:
        if is_remote(place):
            try:
                inputs.pictures += _search(place, options, inputs)
            except ClearpaneError as error:
                inputs.problems.append((place, str(error)))
    inputs.pictures = list(dict.fromkeys(inputs.pictures))
    return inputs


def _search(place: Path, options: Remove, inputs: Inputs) -> list[Found]:
    """Find the pictures below an address, without hidden files, earlier results and the output folder."""
    files = files_below(place, recursive=options.recursive)
    if files == [place]:
        return [Found(place)]
    pictures = [
        path
        for path in files
        if is_picture_name(path)
        and not any(part.startswith(".") for part in path.relative_to(place).parts)
        and not path.is_relative_to(options.output)
    ]
    stems: dict[Path, set[str]] = {}
    for path in pictures:
        stems.setdefault(path.parent, set()).update((path.stem, path.name))
    originals = [path for path in pictures if not is_result_name(path.stem, stems[path.parent])]
    inputs.results_left_out += len(pictures) - len(originals)
    if not originals:
        hint = "" if options.recursive else "; --recursive searches its subfolders too"
        inputs.problems.append((place, f"{shown(place)}: no pictures in this folder{hint}"))
    return [Found(path, path.parent.relative_to(place)) for path in originals]


def _kept(plans: list[tuple[Found, dict[str, Path]]], options: Remove) -> set[Found]:
    """Return the pictures whose results all exist; an address is listed once, not asked for each file."""
    if not is_remote(options.output):
        return {found for found, outputs in plans if is_finished(outputs, options)}
    there = listed(options.output)
    return {found for found, outputs in plans if there.issuperset(outputs.values())}
