"""A data set as a folder: shards, a manifest with their checksums, and a data card.

The manifest is rewritten after every shard, and both are written atomically. Whatever interrupts a run, the
next one finds which shards are complete and makes the rest.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path, remove_leftovers
from clearpane.json_files import parse_json
from clearpane.synthesis.dataset.shards import EncodedSample, write_shard

MANIFEST = "manifest.json"
CARD = "DATASET.md"
_SHARDS = "shard-*.tar"


@dataclass(frozen=True)
class Shard:
    """A shard to be written: its file name and the samples in it."""

    name: str
    samples: range


@dataclass(frozen=True)
class ShardEntry:
    """A shard that has been written.

    Attributes:
        name: File name.
        samples: Number of samples.
        bytes, sha256: Size and checksum of the file.
        panes, worlds: Number of scenes with each shape of pane and of reflected world.
        light: Mean linear light by layer.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    panes: Mapping[str, int]
    worlds: Mapping[str, int]
    light: Mapping[str, float]


@dataclass(frozen=True)
class _Manifest:
    """Contents of a manifest; the attributes are those of `DataSet`."""

    count: int
    recipe: dict[str, Any]
    shards: tuple[ShardEntry, ...]


def planned_shards(count: int, samples_per_shard: int) -> list[Shard]:
    """Plan the shards of a data set of ``count`` samples; the last one may be smaller.

    >>> planned_shards(5, 3)
    [Shard(name='shard-000000.tar', samples=range(0, 3)), Shard(name='shard-000001.tar', samples=range(3, 5))]
    """
    starts = range(0, count, samples_per_shard)
    return [
        Shard(f"shard-{number:06d}.tar", range(start, min(start + samples_per_shard, count)))
        for number, start in enumerate(starts)
    ]


@dataclass
class DataSet:
    """A data set on disk.

    Attributes:
        folder: Folder of the data set.
        recipe: Everything that the samples depend on, as JSON values, including ``samples_per_shard``.
        count: Number of samples in the finished data set.
        entries: Written shards by name.
    """

    folder: Path
    recipe: dict[str, Any]
    count: int
    entries: dict[str, ShardEntry]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the data set in a folder, finished or not.

        Raises:
            ClearpaneError: There is none, or its manifest cannot be read.
        """
        path = folder / MANIFEST
        try:
            manifest = parse_json(_Manifest, path.read_bytes())
        except FileNotFoundError as error:
            raise ClearpaneError(f"{folder}: no data set here (no {MANIFEST})") from error
        except OSError as error:
            raise ClearpaneError(f"{path}: cannot be read ({error.strerror})") from error
        except ClearpaneError as error:
            raise ClearpaneError(
                f"{path}: damaged ({error}); make the data set again with `overwrite`"
            ) from error
        return cls(folder, manifest.recipe, manifest.count, {entry.name: entry for entry in manifest.shards})

    @classmethod
    def prepare(
        cls,
        folder: Path,
        recipe: dict[str, Any],
        count: int,
        *,
        overwrite: bool = False,
        is_whole: Callable[[ShardEntry], bool] | None = None,
    ) -> Self:
        """Open a folder for a data set: to start, resume or extend one.

        Shards of the same recipe are kept if their checksums match; unfinished files of an interrupted run
        are removed.

        Args:
            folder: Folder, created if missing.
            recipe: Recipe as decoded from JSON (lists, no tuples).
            count: Number of samples.
            overwrite: True to remove an existing data set, whatever its recipe.
            is_whole: Function that tells whether an entry's shard is undamaged; by default the shards lie in
                the folder and are read.

        Raises:
            ClearpaneError: The folder cannot be used, or holds data of another recipe or more samples.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            if overwrite:
                (folder / MANIFEST).unlink(missing_ok=True)
                for shard in folder.glob(_SHARDS):
                    shard.unlink()
            data_set = cls(folder, recipe, count, cls._kept(folder, recipe, count, is_whole))
            for shard in folder.glob(_SHARDS):  # damaged, or written just before a run was stopped
                if shard.name not in data_set.entries:
                    shard.unlink()
            if data_set.missing():
                (folder / CARD).unlink(missing_ok=True)
        except FileExistsError as error:
            raise ClearpaneError(f"{folder}: is a file; name a folder for the data set") from error
        except OSError as error:
            raise ClearpaneError(f"{folder}: cannot be used for a data set ({error.strerror})") from error
        data_set._write_manifest()
        return data_set

    @classmethod
    def _kept(
        cls,
        folder: Path,
        recipe: dict[str, Any],
        count: int,
        is_whole: Callable[[ShardEntry], bool] | None,
    ) -> dict[str, ShardEntry]:
        if not (folder / MANIFEST).exists():
            if any(folder.glob(_SHARDS)):
                raise ClearpaneError(
                    f"{folder}: holds shards but no {MANIFEST}; choose another folder, "
                    "or `overwrite` to remove them"
                )
            return {}
        there = cls.load(folder)
        different = [key for key in {**recipe, **there.recipe} if recipe.get(key) != there.recipe.get(key)]
        if different:
            raise ClearpaneError(
                f"{folder}: holds a data set made otherwise "
                f"({_difference(different[0], there.recipe, recipe)}); "
                "choose another folder, or `overwrite` to replace it"
            )
        if there.held > count:
            raise ClearpaneError(
                f"{folder}: holds {there.held} samples already; ask for at least as many, "
                "or `overwrite` to start again"
            )
        plan = {shard.name: shard for shard in planned_shards(count, recipe["samples_per_shard"])}
        return {
            name: entry
            for name, entry in there.entries.items()
            if name in plan
            and len(plan[name].samples) == entry.samples
            and (is_whole(entry) if is_whole else _is_whole(folder / name, entry))
        }

    @property
    def held(self) -> int:
        """Number of samples written so far."""
        return sum(entry.samples for entry in self.entries.values())

    def missing(self) -> list[Shard]:
        """Return the shards still to be written."""
        return [shard for shard in self._planned() if shard.name not in self.entries]

    def finished(self) -> list[Shard]:
        """Return the written shards, in order."""
        return [shard for shard in self._planned() if shard.name in self.entries]

    def _planned(self) -> list[Shard]:
        return planned_shards(self.count, self.recipe["samples_per_shard"])

    def write(self, shard: Shard, samples: Iterable[EncodedSample]) -> ShardEntry:
        """Write a shard atomically, then the manifest.

        Raises:
            ClearpaneError: Writing failed; the manifest is unchanged and the shard is absent.
        """
        entry = make_shard(self.folder / shard.name, samples)
        self.add(entry)
        return entry

    def add(self, entry: ShardEntry) -> None:
        """Enter a shard that lies in the folder into the manifest.

        Raises:
            ClearpaneError: The manifest cannot be written; it is unchanged and the shard is absent.
        """
        self.entries[entry.name] = entry
        try:
            self._write_manifest()
        except BaseException:  # including Ctrl-C, which may arrive just after the manifest was written
            if entry.name not in self.load(self.folder).entries:
                del self.entries[entry.name]
                (self.folder / entry.name).unlink(missing_ok=True)
            raise

    def write_card(self, text: str) -> None:
        """Write the data card of the finished data set."""
        with atomic_path(self.folder / CARD, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def checksum(self) -> str:
        """Compute the SHA-256 of the manifest, which contains those of the shards."""
        return _sha256(self.folder / MANIFEST)

    def _write_manifest(self) -> None:
        shards = tuple(self.entries[name] for name in sorted(self.entries))
        data = asdict(_Manifest(self.count, self.recipe, shards))
        with atomic_path(self.folder / MANIFEST, overwrite=True) as temporary:
            temporary.write_text(f"{json.dumps(data, indent=1)}\n", encoding="utf-8")


def make_shard(path: Path, samples: Iterable[EncodedSample]) -> ShardEntry:
    """Write a shard atomically and describe it; a file with its name is replaced.

    Raises:
        ClearpaneError: Writing failed; the shard is absent.
    """
    count = 0
    panes: Counter[str] = Counter()
    worlds: Counter[str] = Counter()
    light: Counter[str] = Counter()

    def counted() -> Iterator[EncodedSample]:
        nonlocal count
        for sample in samples:
            count += 1
            panes[sample.pane] += 1
            worlds[sample.world] += 1
            light.update(sample.light)
            yield sample

    with atomic_path(path, overwrite=True) as temporary:
        write_shard(temporary, counted())
        size, checksum = temporary.stat().st_size, _sha256(temporary)
    return ShardEntry(
        path.name,
        count,
        size,
        checksum,
        dict(sorted(panes.items())),
        dict(sorted(worlds.items())),
        {letter: round(total / count, 6) for letter, total in light.items()},
    )


def _is_whole(path: Path, entry: ShardEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and _sha256(path) == entry.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _difference(key: str, there: dict[str, Any], asked: dict[str, Any]) -> str:
    """Describe an entry in which two recipes differ; for nested entries, the first inner one."""
    old, new = there.get(key), asked.get(key)
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(name for name in {**old, **new} if old.get(name) != new.get(name))
        return _difference(inner, old, new)
    return f"{key}: {old} there, {new} requested"
