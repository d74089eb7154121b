"""Batches of photographs or captures that are spread over a Ray cluster."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from clearpane.app.progress import BatchProgress, PictureFacts
from clearpane.cluster.addresses import files_below, shown
from clearpane.cluster.ray_work import cluster, map_on_cluster
from clearpane.errors import ClearpaneError


@dataclass(frozen=True)
class Task:
    """Name what a worker reads and writes, local paths or addresses.

    Attributes:
        source: Photograph, or folder of a capture.
        outputs: Files to write, by kind.
    """

    source: Path
    outputs: Mapping[str, Path]

    def to_json(self) -> str:
        """Return the task as text, an item of `map_on_cluster`."""
        outputs = {kind: str(path) for kind, path in self.outputs.items()}
        return json.dumps({"source": str(self.source), "outputs": outputs})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read the task of a row that a worker got."""
        item = json.loads(row["item"])
        return cls(Path(item["source"]), {kind: Path(path) for kind, path in item["outputs"].items()})

    @property
    def shown_outputs(self) -> dict[str, str]:
        """Outputs as users write them."""
        return {kind: shown(path) for kind, path in self.outputs.items()}

    def answer(self, facts: PictureFacts) -> dict[str, str]:
        """Return the row with which a worker reports the task."""
        facts.input = shown(self.source)
        if (
            facts.status == "skipped"
        ):  # by a worker that died after writing; it was missing when the run began
            facts.status = "done"
        if facts.status == "done":
            facts.outputs = self.shown_outputs
        return {"source": str(self.source), "facts": json.dumps(asdict(facts))}


def work_through(
    tasks: Sequence[Task],
    work: Callable[..., Mapping[str, Any]],
    job: object,
    address: str,
    progress: BatchProgress,
) -> None:
    """Do tasks on a cluster, and report each, also those whose workers died.

    Args:
        tasks: Tasks, each with a source of its own.
        work: Function of a task's row and of ``job`` that returns `Task.answer`.
        job: What all tasks share.
        address: Address of the cluster.
        progress: Reporter of the batch.

    Raises:
        ClearpaneError: The cluster cannot be used.
    """
    waiting = {str(task.source) for task in tasks}
    if tasks:
        with cluster(address):
            for row in map_on_cluster(work, [task.to_json() for task in tasks], job):
                waiting.discard(row["source"])
                progress.end(PictureFacts(**json.loads(row["facts"])))
    for source in sorted(waiting):
        name = shown(Path(source))
        error = f"{name}: its worker was ended each time, perhaps for lack of memory"
        progress.end(PictureFacts(name, "failed", error=error))


def listed(output: Path) -> set[Path]:
    """List the files at an address in one request, instead of asking for each; empty if there are none."""
    try:
        return set(files_below(output))
    except ClearpaneError:  # reported when something is written
        return set()
