"""A run for tests of interruptions; a module of its own, so that a process that is spawned can import it."""

import signal
import time
from pathlib import Path


def save_when_asked(folder: Path, name: str, patience: float) -> None:
    """Wait, and end in order when told to, as training does."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    (folder / f"{name} began").touch()
    end = time.monotonic() + patience
    while not asked and time.monotonic() < end:
        time.sleep(0.05)
    (folder / f"{name} saved").touch()
    signal.signal(signal.SIGTERM, before)
    if asked:
        raise KeyboardInterrupt
