"""Find the pictures of a batch and name the files to write for each."""

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.images.formats import HEADER_SIZE, foreign_kind, is_picture_name, sniff

# File types that nobody expects to be read as a photograph.
_NO_STILLS = ("a PDF", "a film or another kind of media file")
_RESULT_NAME = re.compile(r"(?P<original>.+)_(transmission|reflection|confidence|compare)")


class UsageError(ClearpaneError):
    """The command line is wrong; nothing was done."""


@dataclass(frozen=True)
class Found:
    """A picture and the subfolder of the output that its results go to."""

    source: Path
    subfolder: Path = Path()


@dataclass
class Inputs:
    """Pictures of a batch, and what was left out.

    Attributes:
        pictures: Each picture once, in the order named; those of a folder sorted by name.
        problems: (name, one-line message) of each input that could not be found or opened.
        results_left_out: Number of earlier results in the folders that were left out.
        not_taken: Files in the folders that are pictures by content but have another file extension or an
        unsupported format.
    """

    pictures: list[Found] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    results_left_out: int = 0
    not_taken: list[Path] = field(default_factory=list)


def find_inputs(places: Sequence[Path], output: Path, *, recursive: bool) -> Inputs:
    """Collect the pictures named by ``places``, files and folders.

    A named file is always taken. In a folder, only files with a picture's extension are. Hidden files are
    left out, and so are files that look like results: ``X_transmission``, ``X_reflection``, ``X_confidence``
    or ``X_compare`` beside a picture ``X``, or beside an ``X_input``, as pairs for evaluation are named. An
    output folder inside an input folder is not searched.
    """
    inputs = Inputs()
    seen: set[str] = set()
    for place in _expanded(places):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except OSError as error:
            reason = "no such file or folder" if isinstance(error, FileNotFoundError) else error.strerror
            inputs.problems.append((place, f"{place}: {reason}"))
            continue
        if is_folder:
            found = list(_search(place, output, recursive, inputs))
            if not found:
                hint = "" if recursive else "; --recursive searches its subfolders too"
                inputs.problems.append((place, f"{place}: no pictures in this folder{hint}"))
        else:
            found = [Found(place)]
        for picture in found:
            real = os.path.realpath(picture.source)
            if real not in seen:
                seen.add(real)
                inputs.pictures.append(picture)
    return inputs


def output_paths(found: Found, output: Path, suffix: str, kinds: Sequence[str]) -> dict[str, Path]:
    """Name the result files of a picture, by kind; ``suffix`` is that of the layers."""
    folder = output / found.subfolder
    suffixes = {"compare": ".jpg", "confidence": ".png"}
    return {kind: folder / f"{found.source.stem}_{kind}{suffixes.get(kind, suffix)}" for kind in kinds}


def keep_apart(plans: Sequence[tuple[Found, dict[str, Path]]]) -> list[tuple[Found, dict[str, Path]]]:
    """Rename results of pictures that share a stem, such as a camera's IMG_1.DNG and IMG_1.HEIC.

    Each result is named after the picture's whole name, as in ``IMG_1.DNG_transmission.png``.
    """
    owners: dict[str, list[str]] = {}
    for found, outputs in plans:
        for path in outputs.values():
            owners.setdefault(_key(path), []).append(found.source.name.casefold())
    shared = {key for key, names in owners.items() if 1 < len(names) == len(set(names))}
    return [
        (
            found,
            {
                kind: path.with_name(f"{found.source.name}_{kind}{path.suffix}")
                if _key(path) in shared
                else path
                for kind, path in outputs.items()
            },
        )
        for found, outputs in plans
    ]


def check_collisions(plans: Sequence[tuple[Found, dict[str, Path]]]) -> None:
    """Raise UsageError if two results would share a file, or a result would replace an input."""
    sources = {_key(found.source) for found, _ in plans}
    owners: dict[str, Path] = {}
    for found, outputs in plans:
        for path in outputs.values():
            key = _key(path)
            if key in sources:
                raise UsageError(
                    f"the result of {found.source} would replace the picture {path}: choose another --output"
                )
            if key in owners:
                raise UsageError(
                    f"{owners[key]} and {found.source} would both be written to {path}: "
                    "rename one, or run them with different --output folders"
                )
            owners[key] = found.source


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))  # Path.resolve raises where links form a loop


def _expanded(places: Sequence[Path]) -> Iterator[Path]:
    """Expand patterns such as ``*.jpg``, which a Windows shell passes on unexpanded."""
    for place in places:
        matches = [] if os.path.lexists(place) or not glob.has_magic(str(place)) else glob.glob(str(place))  # noqa: PTH207 (absolute ones too)
        yield from (Path(match) for match in sorted(matches)) if matches else (place,)


def _is_missed(path: Path) -> bool:
    """Return True for a still picture, judged by content, whose name lacks a picture's extension."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            header = file.read(HEADER_SIZE)
    except OSError:
        return False
    kind = foreign_kind(header)
    return sniff(header, path.suffix) is not None or (kind is not None and kind not in _NO_STILLS)


def _search(folder: Path, output: Path, recursive: bool, inputs: Inputs) -> Iterator[Found]:
    def note(error: OSError) -> None:
        inputs.problems.append((Path(error.filename), f"{error.filename}: {error.strerror or error}"))

    real_output = os.path.realpath(output)
    for place, subfolders, names in os.walk(folder, onerror=note):
        here = Path(place)
        subfolders[:] = sorted(
            name
            for name in subfolders
            if recursive and not name.startswith(".") and os.path.realpath(here / name) != real_output
        )
        pictures = sorted(
            here / name for name in names if is_picture_name(here / name) and not name.startswith(".")
        )
        stems = {name for picture in pictures for name in (picture.stem, picture.name)}
        inputs.not_taken += sorted(
            here / name
            for name in names
            if not name.startswith(".") and not is_picture_name(here / name) and _is_missed(here / name)
        )
        for picture in pictures:
            if is_result_name(picture.stem, stems):
                inputs.results_left_out += 1
            else:
                yield Found(picture, here.relative_to(folder))


def is_result_name(stem: str, stems: set[str]) -> bool:
    """Return True if a picture's stem is that of an earlier result beside its original.

    >>> is_result_name("a_transmission", {"a", "a_transmission"}), is_result_name("a_compare", {"a_compare"})
    (True, False)
    """
    match = _RESULT_NAME.fullmatch(stem)
    return match is not None and not stems.isdisjoint({match["original"], f"{match['original']}_input"})
