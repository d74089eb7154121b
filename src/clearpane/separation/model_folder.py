"""Directories of trained models: which files each model needs, whether they are there, a copy of them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, check_replaceable
from clearpane.hub.card import CARD
from clearpane.json_files import parse_untyped


@dataclass(frozen=True)
class ModelFiles:
    """Files in the directory of a model.

    Attributes:
        marker: File that no other model's directory has.
        needed: Other files that it must have.
        parts: Patterns of files that it may have.
    """

    marker: str
    needed: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[str]:
        """Patterns of all files, the model card's too."""
        return [self.marker, *self.needed, *self.parts, CARD]

    def check(self, folder: Path) -> None:
        """Raise ClearpaneError if a needed file is missing."""
        needed = (self.marker, *self.needed)
        missing = [name for name in needed if not (folder / name).is_file()]
        if missing:
            raise ClearpaneError(
                f"{folder / missing[0]}: missing; of the {len(needed)} files that this model needs "
                f"{len(needed) - len(missing)} are there; fetch or train it again"
            )


def copy_model(source: Path, target: Path, files: ModelFiles, complete: Callable[[Path], None]) -> None:
    """Copy a model's files to a new directory, all or nothing; nothing else from the source is copied.

    A base model that the settings name by its place on this computer keeps only the last part of it.

    Args:
        complete: Function called with the copy before it is put in place.

    Raises:
        ClearpaneError: A needed file is missing, the target exists, or it cannot be written.
    """
    files.check(source)
    check_replaceable(target)
    with atomic_folder(target) as folder:
        for pattern in files.patterns:
            for path in sorted(source.glob(pattern)):
                place = folder / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        if files.marker.endswith(".json"):
            _drop_local_base(folder / files.marker)
        complete(folder)


def _drop_local_base(settings: Path) -> None:
    content = parse_untyped(settings.read_text(encoding="utf-8"))
    base = content.get("base") if isinstance(content, dict) else None
    if isinstance(base, str) and PurePath(base).is_absolute():
        content["base"] = PurePath(base).name
        settings.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
