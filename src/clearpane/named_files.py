"""Files that other files name: they must not lead out of the folders that the user gave."""

from collections.abc import Iterable
from pathlib import Path


def lies_in(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a file, its links followed, lies in one of some folders; it need not exist.

    >>> lies_in(Path("a/../../b.png"), [Path(".")]), lies_in(Path("a/b.png"), [Path(".")])
    (False, True)
    """
    try:
        there = path.resolve()
        return any(there.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that cannot be one
        return False
