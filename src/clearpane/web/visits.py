"""Temporary files of the page: a folder for each visit, gone when the visit ends."""

import contextlib
import math
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.files import temporary_folder
from clearpane.web.names import safe_name
from clearpane.web.photograph import Photograph

_SWEEP_SECONDS = 60.0
# An upload that no visit has claimed may still be on its way to one.
_UNCLAIMED_SECONDS = 600.0
_SHARED_SECONDS = 60.0
_LONGEST_VISIT_SECONDS = 24 * 3600.0
_LONGEST_CALL_SECONDS = 3600.0


@dataclass(eq=False)
class Visit:
    """One open page, or one client of the API.

    Attributes:
        folder: Files of the visit.
        cancelled: Event that is set when the visitor cancels a job or leaves.
        uploads: Files that Gradio stored for the visit.
        photograph: Photograph on the first tab.
        seen: Time of the last job, seconds on the monotonic clock.
        has_page: True if a page is open, which reports when it is left; clients of the API may not.
        running: Jobs of the visit at work.
    """

    folder: Path
    cancelled: threading.Event = field(default_factory=threading.Event)
    uploads: set[Path] = field(default_factory=set)
    photograph: Photograph | None = None
    seen: float = field(default_factory=time.monotonic)
    has_page: bool = False
    running: int = 0

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for one job."""
        folder = self.folder / f"{name}-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder


class Visits:
    """The visits, by session, and the folder that holds all temporary files.

    The folder is removed by `close`, or, if the page was killed, when Clearpane next starts.

    Gradio puts uploads into the folder, each named by its content: two visits may share one.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.root = self._stack.enter_context(temporary_folder()).resolve()
        self._visits: dict[str, Visit] = {}
        self._own: set[Path] = set()
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def start(self) -> None:
        """Keep what is in the folder by now, which is the page's own, and begin to sweep."""
        self._own = {path for path in self.root.rglob("*") if path.is_file()}
        threading.Thread(target=self._sweep_regularly, name="sweep", daemon=True).start()

    def of(self, session: str | None) -> Visit:
        """Return the visit of a session; a new one has an empty folder."""
        with self._lock:
            key = session or secrets.token_hex(8)
            if key not in self._visits:
                folder = self.root / "visits" / secrets.token_hex(16)
                folder.mkdir(parents=True)
                self._visits[key] = Visit(folder)
            visit = self._visits[key]
            visit.seen = time.monotonic()
            return visit

    def __len__(self) -> int:
        return len(self._visits)

    def claim(self, visit: Visit, path: str | Path) -> Path:
        """Note that a visit uses an uploaded file, so that it is kept as long as the visit.

        Raises:
            ClearpaneError: the path is not that of an upload.
        """
        real = Path(path).resolve()
        if not real.is_relative_to(self.root) or not real.is_file():
            raise ClearpaneError(f"{safe_name(str(path))}: is not a file that was uploaded here")
        with self._lock:
            visit.uploads.add(real)
        return real

    def end(self, session: str | None) -> None:
        """Cancel a visit's jobs and remove its files.

        The job of a program goes on: its client may still wait, but ends its heartbeat for good where one
        comes late, as during long computations. When it hangs up, `leave` is called.
        """
        with self._lock:
            visit = self._visits.get(session or "")
            if visit is None or (visit.running and not visit.has_page):
                return
            del self._visits[session or ""]
            visit.cancelled.set()
            shutil.rmtree(visit.folder, ignore_errors=True)
            for path in visit.uploads - self._claimed():
                if _age(path) > _SHARED_SECONDS:
                    _remove(path)

    def leave(self, session: str) -> None:
        """Cancel the jobs of a program that no longer waits for them, and remove its files when they end."""
        with self._lock:
            visit = self._visits.get(session)
            if visit is None or visit.has_page:
                return
            visit.cancelled.set()
        self.end(session)

    def finish(self, visit: Visit) -> None:
        """Note that a job has ended, and remove the files of a program that has left."""
        with self._lock:
            visit.running -= 1
            visit.seen = time.monotonic()
            if visit.running or visit.has_page or not visit.cancelled.is_set():
                return
            for session in [key for key, value in self._visits.items() if value is visit]:
                self.end(session)

    def sweep(self, ahead: float = 0.0) -> None:
        """Remove uploads that no visit uses, and visits that were forgotten, as seen some seconds ahead."""
        now = time.monotonic() + ahead
        with self._lock:
            for session, visit in list(self._visits.items()):
                longest = _LONGEST_VISIT_SECONDS if visit.has_page else _LONGEST_CALL_SECONDS
                if now - visit.seen > longest and not visit.running:
                    self.end(session)
            keep = self._claimed() | self._own
            folders = self.root / "visits"
            for path in list(self.root.rglob("*")):
                unclaimed = path.is_file() and path not in keep and not path.is_relative_to(folders)
                if unclaimed and _age(path) + ahead > _UNCLAIMED_SECONDS:
                    _remove(path)

    def close(self) -> None:
        """Remove everything."""
        self._closed.set()
        self._stack.close()

    def _claimed(self) -> set[Path]:
        return {path for visit in self._visits.values() for path in visit.uploads}

    def _sweep_regularly(self) -> None:
        while not self._closed.wait(_SWEEP_SECONDS):
            self.sweep()


def _age(path: Path) -> float:
    """Return the seconds since a file was written, by the clock of the file system."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # gone meanwhile
        return math.inf


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()
