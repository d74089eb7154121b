"""Wait for pictures that come into a folder, each until it is completely written."""

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from clearpane.app.inputs import Found, UsageError, find_inputs
from clearpane.errors import ClearpaneError, MissingExtraError

_SETTLED = 2.0  # seconds
_INTERVAL = 0.25 * _SETTLED

# What changes when a file is written to or replaced: its number, size and time of change.
_Version = tuple[int, int, int]


class Arrivals:
    """Pictures that are new in a folder, or change in it, in groups.

    No system tells portably when a program has finished writing a file. A picture counts as complete when its
    size and time of change have been the same for two seconds; one that changes later comes again.

    Pictures that are there when the object is made, and do not change, are left alone.

    Args:
        folder: Folder to watch.
        output: Folder of the results, which is not searched.
        recursive: True to watch the subfolders too.

    Raises:
        MissingExtraError: Watchfiles is not installed.
        UsageError: There is no such folder, or the results would go into it.
    """

    def __init__(self, folder: Path, output: Path, *, recursive: bool) -> None:
        if find_spec("watchfiles") is None:
            raise MissingExtraError("clearpane remove --watch", "watch")
        if not folder.is_dir():
            raise UsageError(f"--watch {folder}: there is no such folder; make it first")
        if os.path.realpath(folder) == os.path.realpath(output):
            raise UsageError(f"--output {output} is the folder that is watched; choose another")
        self._folder, self._output, self._recursive = folder, output, recursive
        self._known = self._versions()
        self._pending: dict[Found, tuple[_Version, float]] = {}

    def __iter__(self) -> Iterator[list[Found]]:
        """Yield complete pictures as they come, without end; an interruption raises KeyboardInterrupt.

        Raises:
            ClearpaneError: The folder cannot be watched, or has gone.
        """
        from watchfiles import watch

        changes = watch(
            self._folder, watch_filter=None, recursive=self._recursive, ignore_permission_denied=True,
            rust_timeout=round(1000 * _INTERVAL), yield_on_timeout=True, raise_interrupt=True,
        )  # fmt: skip
        try:
            searched = False  # since the system has been asked to report changes
            for changed in changes:
                if changed or self._pending or not searched:
                    searched = True
                    complete = self._complete()
                    if complete:
                        yield complete
        except OSError as error:
            raise ClearpaneError(f"{self._folder}: cannot be watched ({error.strerror or error})") from error

    def same_stem(self, pictures: list[Found]) -> list[Found]:
        """Return the given pictures and those in the folder whose results would have the same names."""
        stems = {(found.subfolder, found.source.stem) for found in pictures}
        return [found for found in self._known if (found.subfolder, found.source.stem) in stems]

    def is_changing(self, found: Found) -> bool:
        """Return True if a picture has changed since it was yielded."""
        return _version(found) != self._known.get(found)

    def _complete(self) -> list[Found]:
        """Search the folder; return what is new and has settled."""
        if not self._folder.is_dir():
            raise ClearpaneError(f"{self._folder}: the folder that was watched has gone")
        now, versions = time.monotonic(), self._versions()
        before, self._pending = self._pending, {}
        complete = []
        for found, version in versions.items():
            if version == self._known.get(found):
                continue
            seen, since = before.get(found, (None, now))
            if seen == version and now - since >= _SETTLED and version[1]:
                complete.append(found)
                self._known[found] = version
            else:
                self._pending[found] = version, since if seen == version else now
        self._known = {found: version for found, version in self._known.items() if found in versions}
        return complete

    def _versions(self) -> dict[Found, _Version]:
        found = find_inputs([self._folder], self._output, recursive=self._recursive).pictures
        return {picture: version for picture in found if (version := _version(picture)) is not None}


def _version(found: Found) -> _Version | None:
    """Return the version of a picture; None if it has gone."""
    try:
        facts = found.source.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
