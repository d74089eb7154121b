"""``clearpane reconstruct --ray``: each object of a folder of captures is one task of a Ray cluster."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clearpane.app.inputs import Inputs, UsageError
from clearpane.app.progress import BatchProgress, PictureFacts, describe_unexpected
from clearpane.app.ray_batch import Task, listed, work_through
from clearpane.app.reconstruct_object import make_object, write_object, write_poses
from clearpane.app.reconstruct_options import Reconstruct, beside
from clearpane.app.remove_pictures import make_folder
from clearpane.app.summary import summarize, summarize_interrupted
from clearpane.cluster.addresses import exists, fetch_folder, files_below, is_remote, place_to_write, shown
from clearpane.errors import ClearpaneError
from clearpane.images.formats import is_picture_name
from clearpane.reconstruction.capture.transforms import TRANSFORMS_FILES

_OF_ONE_OBJECT = {"images", "sparse", *TRANSFORMS_FILES}


def reconstruct_on_ray(options: Reconstruct) -> int:
    """Reconstruct all objects on a cluster; a failure does not stop the others.

    Returns:
        0 if all went well, 1 if an object failed, 130 if interrupted.

    Raises:
        ClearpaneError: The cluster or the folder of captures cannot be used; nothing was done.
    """
    tasks = [_task(capture, options.output) for capture in _find_captures(options)]
    kept = [] if options.overwrite else _kept(tasks, options)
    todo = [task for task in tasks if task not in kept]
    if todo and not is_remote(options.output):
        make_folder(options.output)
    with BatchProgress(len(todo), as_json=False) as progress:
        for task in kept:
            progress.end(PictureFacts(shown(task.source), "skipped", task.shown_outputs))
        try:
            work_through(todo, reconstruct_one, options, options.ray or "auto", progress)
        except KeyboardInterrupt:
            summarize_interrupted(progress.counts["done"], len(todo), options.overwrite)
            return 130
    summarize(progress.counts, Inputs())
    return 1 if progress.counts["failed"] else 0


def reconstruct_one(row: Mapping[str, Any], options: Reconstruct) -> dict[str, str]:
    """Reconstruct one object on a worker: fetch its photographs, write its files, send them.

    Args:
        row: The object's task.
        options: Options of the command, the same for all objects.

    Returns:
        The answer, see `Task.answer`.
    """
    task = Task.from_row(row)
    with TemporaryDirectory(prefix="clearpane-") as folder:
        return task.answer(_process(task, options, Path(folder)))


def _process(task: Task, options: Reconstruct, folder: Path) -> PictureFacts:
    facts, started = PictureFacts(shown(task.source)), time.monotonic()
    views = folder / task.source.name if is_remote(task.source) else task.source
    asset = task.outputs["asset"]
    try:
        if is_remote(asset) and not options.overwrite and all(map(exists, task.outputs.values())):
            return facts
        if is_remote(task.source):
            fetch_folder(task.source, views)
        if not is_remote(asset):
            make_folder(asset.parent)
        with place_to_write(asset) as output:
            own = replace(options, views=views, output=output, overwrite=True)
            made = make_object(own, lambda report: write_poses(report, own))
            write_object(made, own)
        facts.warnings = list(made.reconstruction.warnings)
    except ClearpaneError as error:
        facts.status, facts.error = "failed", str(error).replace(str(views), shown(task.source))
    except Exception as error:
        facts.status, facts.error = "failed", f"{shown(task.source)}: {describe_unexpected(error)}"
    facts.seconds = time.monotonic() - started
    return facts


def _task(capture: Path, output: Path) -> Task:
    """Plan the files of an object in a folder of its own."""
    asset = output / capture.name / f"{capture.name}.glb"
    return Task(capture, {"asset": asset, "views": beside(asset, "views.jpg")})


def _kept(tasks: list[Task], options: Reconstruct) -> list[Task]:
    """Return the objects whose files all exist."""
    if is_remote(options.output):
        there = listed(options.output)
        return [task for task in tasks if there.issuperset(task.outputs.values())]
    return [task for task in tasks if all(map(os.path.lexists, task.outputs.values()))]


def _find_captures(options: Reconstruct) -> list[Path]:
    """List the folders of captures, sorted, without hidden ones and the output folder.

    Raises:
        UsageError: The folder holds one object's photographs itself.
        ClearpaneError: There are none, or they cannot be listed.
    """
    place = options.views
    files, folders = _entries(place)
    if _OF_ONE_OBJECT & (files | folders) or any(is_picture_name(Path(name)) for name in files):
        raise UsageError(
            f"{shown(place)}: holds the photographs of one object; with --ray, name a folder with a folder "
            "for each object"
        )
    captures = [place / name for name in sorted(folders) if not name.startswith(".")]
    captures = [capture for capture in captures if not options.output.is_relative_to(capture)]
    if options.output == place:
        raise UsageError(f"--output {shown(place)}: is the folder of the captures; choose another")
    if not captures:
        raise ClearpaneError(f"{shown(place)}: holds no folders; each object needs a folder of photographs")
    return captures


def _entries(place: Path) -> tuple[set[str], set[str]]:
    """Return the names of the files and of the folders in a folder."""
    if is_remote(place):
        parts = [file.relative_to(place).parts for file in files_below(place)]
        return {part[0] for part in parts if len(part) == 1}, {part[0] for part in parts if len(part) > 1}
    try:
        entries = list(os.scandir(place))
    except OSError as error:
        raise ClearpaneError(f"{place}: cannot be read as a folder ({error.strerror})") from error
    folders = {entry.name for entry in entries if entry.is_dir()}
    return {entry.name for entry in entries} - folders, folders
