"""Jobs: how many run, when they are cancelled, and when the page may end."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

from clearpane.errors import ClearpaneError
from clearpane.separation.separator import Separator, load_separator
from clearpane.web.settings import OfferedModel


class Cancelled(Exception):
    """The visitor cancelled a job, or left."""


class Gate:
    """Lets jobs in until the page is to end."""

    def __init__(self) -> None:
        self.running = 0
        self.closing = threading.Event()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def job(self) -> Iterator[None]:
        """Count a job while it runs.

        Raises:
            ClearpaneError: the page is about to end.
        """
        with self._changed:
            if self.closing.is_set():
                raise ClearpaneError("the page is being closed; try again later")
            self.running += 1
        try:
            yield
        finally:
            with self._changed:
                self.running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let no more jobs in."""
        self.closing.set()

    def wait(self) -> None:
        """Wait until no job runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self.running)

    def check(self, cancelled: threading.Event) -> None:
        """Raise Cancelled where a job is to stop: between the pictures or steps of a long one."""
        if cancelled.is_set() or self.closing.is_set():
            raise Cancelled


class Separators:
    """Separators, each loaded when it is asked for, once."""

    def __init__(self, models: Sequence[OfferedModel]) -> None:
        self._models = {model.name: model for model in models}
        self._loaded: dict[str, Separator] = {}
        self._lock = threading.Lock()

    @property
    def usable(self) -> list[str]:
        """Names of those that can be used here."""
        return [name for name, model in self._models.items() if model.options is not None]

    @property
    def loaded(self) -> list[str]:
        """Names of those that have been asked for."""
        return list(self._loaded)

    def get(self, name: str) -> Separator:
        """Return a separator, loading it if need be.

        Raises:
            ClearpaneError: there is no such model, or it cannot be used here.
        """
        model = self._models.get(name)
        if model is None:
            raise ClearpaneError(f"unknown model {name!r}; known are: {', '.join(self._models)}")
        if model.options is None:
            raise ClearpaneError(f"{name} cannot be used here: {model.needs}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load_separator(name, model.options)
            return self._loaded[name]
