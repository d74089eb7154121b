"""Many photographs: one after the other, each named in the end, what failed too."""

import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.separation.pictures import Edit
from clearpane.separation.separator import Separator
from clearpane.web.photograph import Wanted, Written, write_result


@dataclass
class BatchState:
    """Progress of a batch.

    Attributes:
        total: Number of photographs.
        done: Results, in order.
        failed: Names and reasons.
        seconds_left: Estimate from the photographs so far; None before the first.
        path: Zip of the results; None until it is finished.
    """

    total: int
    done: list[Written] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds_left: float | None = None
    path: Path | None = None

    @property
    def finished(self) -> int:
        """Return the number of photographs that are finished or failed."""
        return len(self.done) + len(self.failed)


@dataclass(frozen=True)
class BatchJob:
    """Settings for the results of a batch.

    Attributes:
        separator: Separator to use.
        edit: Strength and quality for each photograph; its mask is ignored.
        wanted: Requested output for each photograph.
        max_pixels: Limit on the pixels of a photograph; a larger one fails.
    """

    separator: Separator
    edit: Edit
    wanted: Wanted
    max_pixels: int


def run_batch(
    photographs: Sequence[Path], folder: Path, job: BatchJob, check: Callable[[], None]
) -> Iterator[BatchState]:
    """Work through photographs; one that fails does not stop the others.

    Args:
        photographs: Files.
        folder: Empty folder for the results and their zip.
        job: Settings for the results.
        check: Function called before each photograph; raises to stop.

    Yields:
        The state, before the first photograph and after each; at last with the zip.

    Raises:
        ClearpaneError: no photograph could be worked on.
    """
    state = BatchState(len(photographs))
    yield state
    started = time.monotonic()
    for number, source in enumerate(photographs, 1):
        check()
        own = folder / f"{number:04d}"
        own.mkdir()
        try:
            state.done.append(write_result(source, own, job.separator, job.edit, job.wanted, job.max_pixels))
        except (ClearpaneError, MemoryError) as error:
            state.failed.append((source.name, str(error) or "not enough memory"))
        elapsed = time.monotonic() - started
        state.seconds_left = elapsed / number * (len(photographs) - number)
        yield state
    if not state.done:
        raise ClearpaneError("; ".join(reason for _, reason in state.failed) or "there are no pictures")
    state.path = folder / "clearpane.zip"
    _pack(state.path, [written.path for written in state.done])
    yield state


def _pack(path: Path, results: Sequence[Path]) -> None:
    taken: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for result in results:
            name, number = result.name, 2
            while name.casefold() in taken:
                name, number = f"{result.stem}-{number}{result.suffix}", number + 1
            taken.add(name.casefold())
            archive.write(result, name)
