"""Share settings, texts, visits, separators and the job queue between the tabs of the page."""

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import gradio as gr

from clearpane.errors import ClearpaneError
from clearpane.web.settings import PageSettings
from clearpane.web.texts import Texts
from clearpane.web.visits import Visit, Visits
from clearpane.web.work import Cancelled, Gate, Separators

_FIELD = re.compile(r"`([a-z_]+)(?:=[^`]*)?`")

PROGRESS = gr.Progress()
"""Default of the argument by which Gradio hands a function its progress bar."""


class Studio:
    """State shared by all tabs.

    Attributes:
        settings: Settings of the page.
        texts: Words of the page.
        visits: Open visits and their files.
        gate: Running jobs.
        separators: Models, loaded on first use.
    """

    def __init__(self, settings: PageSettings) -> None:
        self.settings = settings
        self.texts = Texts()
        self.visits = Visits()
        self.gate = Gate()
        self.separators = Separators(settings.models)

    @contextlib.contextmanager
    def job(self, request: gr.Request | None, from_page: bool = True) -> Iterator[Visit]:
        """Run a visitor's job, and report an error in one line, as Gradio shows it."""
        try:
            with self.gate.job():
                visit = self.visits.of(None if request is None else request.session_hash)
                visit.has_page = visit.has_page or from_page
                if not visit.running:
                    visit.cancelled.clear()
                visit.running += 1
                try:
                    yield visit
                finally:
                    self.visits.finish(visit)
        except Cancelled:
            raise gr.Error(self.texts.say(request, "cancelled"), duration=6, print_exception=False) from None
        except ClearpaneError as error:
            raise gr.Error(self.plain(str(error)), duration=None, print_exception=False) from None
        except MemoryError:
            raise gr.Error(self.texts.say(request, "no_memory"), print_exception=False) from None
        except gr.Error:
            raise
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            raise gr.Error(
                self.texts.say(request, "unexpected", kind=type(error).__name__), print_exception=False
            ) from None

    def plain(self, message: str) -> str:
        """Take the temporary folders out of a message, and the marks of fields."""
        pattern = re.escape(str(self.visits.root)) + r"(?:/[^\s:,;]*)?/"
        return _FIELD.sub(r"\1", re.sub(pattern, "", message))

    def cancel(self, request: gr.Request) -> None:
        """Cancel the visit's jobs."""
        self.visits.of(request.session_hash).cancelled.set()

    def keep(self, files: str | Sequence[str] | None, request: gr.Request) -> None:
        """Keep uploads while the visit lasts."""
        with self.job(request) as visit:
            self.claim_all(visit, files)

    def claim_all(self, visit: Visit, files: str | Sequence[str] | None) -> list[Path]:
        """Return a component's uploads as paths, kept while the visit lasts.

        Raises:
            ClearpaneError: one is not an upload.
        """
        named = [files] if isinstance(files, str) else list(files or [])
        return [self.visits.claim(visit, file) for file in named]
