"""Find published test sets on disk, and define the protocols under which papers score them.

A test set in a folder, or any folder below it, has one of these layouts:

1. ``NAME_input.*`` with ``NAME_transmission.*`` and perhaps ``NAME_reflection.*``;
2. twin folders of inputs and truths (:data:`TWIN_FOLDERS`), files paired by their stem: Real20, Nature and
   the prepared SIR2 of ERRNet, IBCLN, DSRNet and XReflection; in SIR2's stems the part ``m`` may become ``g``
   and ``r``;
3. SIR2 as its authors ship it: ``m``, ``g`` and ``r`` (or ``...-m-...``) side by side in one folder a scene.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.formats import is_picture_name
from clearpane.images.picture import to_8bit

ProtocolName = Literal["original", "multiple-of-32", "long-side-512"]

# The 20 pictures of the Berkeley set (Zhang, Ng, Chen, CVPR 2018) that ERRNet and all later papers test on.
REAL20 = frozenset({3, 4, 9, 12, 15, 22, 23, 25, 29, 39, 46, 47, 58, 86, 87, 89, 93, 103, 107, 110})
TWIN_FOLDERS = {
    "blended": "transmission_layer",
    "input": "gt",
    "inputs": "gt",
    "natural_I": "natural_T",
    "testB": "testA1",
}
REFLECTION_FOLDERS = ("reflection_layer", "reflection")
_SIR2_INPUT = re.compile(r"(?:^|(?<=-))m(?=-|$)")


@dataclass(frozen=True)
class Pair:
    """Name the files of a photograph through glass and its ground truth.

    Attributes:
        name: Base name of the results: the input's stem without ``_input``; for scenes in SIR2's original
            layout, the path below the set, joined by ``-``.
        dataset: Test set of the pair.
        input: Photograph through glass.
        transmission: Ground truth of the transmission.
        reflection: Ground truth of the reflection, or None.
    """

    name: str
    dataset: str
    input: Path
    transmission: Path
    reflection: Path | None = None


@dataclass(frozen=True)
class Protocol:
    """Define the size at which pictures are scored.

    Attributes:
        name: Name of the protocol.
        summary: Description in one line.
        size: Function from (height, width) of a file to the size at which it is scored. Input and truth are
            both resized to it (bicubic, antialiased, 8 bits, as Pillow does in the published code) before the
            method runs.
    """

    name: ProtocolName
    summary: str
    size: Callable[[int, int], tuple[int, int]]


def _unchanged(height: int, width: int) -> tuple[int, int]:
    return height, width


def _multiple_of_32(height: int, width: int) -> tuple[int, int]:
    return max(32, height // 32 * 32), max(32, width // 32 * 32)


def _long_side_512(height: int, width: int) -> tuple[int, int]:
    scale = 512 / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "original", "the files as they are; the truth is never resized (ERRNet, WindowSeat)", _unchanged
        ),
        Protocol(
            "multiple-of-32",
            "both sides floored to multiples of 32 (DSRNet, RDNet, XReflection)",
            _multiple_of_32,
        ),
        Protocol("long-side-512", "the longer side brought to 512 pixels, aspect ratio kept", _long_side_512),
    )
}


def find_pairs(folder: Path) -> list[Pair]:
    """Find all pairs in ``folder`` and below, sorted by set and name.

    A set in a folder named ``real20...`` is restricted to :data:`REAL20`: some copies hold more pictures.

    Raises:
        ClearpaneError: The folder does not exist, holds no pair, has an input without its truth, or has two
            pairs of one name.
    """
    if not folder.is_dir():
        raise ClearpaneError(f"{folder}: no such folder; name a folder with test pictures")
    pairs = [pair for directory in _directories(folder) for pair in _pairs_in(directory, folder)]
    if not pairs:
        raise ClearpaneError(
            f"{folder}: no pairs found; expected NAME_input.* with NAME_transmission.*, "
            "or the folders blended and transmission_layer"
        )
    pairs.sort(key=lambda p: (p.dataset, _natural(p.name)))
    for a, b in pairwise(pairs):
        if (a.dataset, a.name) == (b.dataset, b.name):
            raise ClearpaneError(f"two pairs are both named {a.name}: {a.input} and {b.input}; rename one")
    return pairs


def read_pair(pair: Pair, protocol: Protocol) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read input, transmission and reflection (or None) of a pair, uint8, at the protocol's size.

    Raises:
        ClearpaneError: A file cannot be read, or the files differ in size.
    """
    image, truth = read_8bit(pair.input), read_8bit(pair.transmission)
    reflection = read_8bit(pair.reflection) if pair.reflection else None
    _require_same_size(pair.input, image, pair.transmission, truth)
    if pair.reflection and reflection is not None:
        _require_same_size(pair.input, image, pair.reflection, reflection)
        reflection = resize(reflection, protocol)
    return resize(image, protocol), resize(truth, protocol), reflection


def read_result(path: Path, pair: Pair, shape: tuple[int, ...], protocol: Protocol) -> np.ndarray:
    """Read a finished picture of another program as a uint8 array of ``shape``.

    It may have the size of the input file or the size at which the protocol scores it.

    Raises:
        ClearpaneError: The file cannot be read, or has any other size.
    """
    result = read_8bit(path)
    if result.shape == shape:
        return result
    resized = resize(result, protocol)
    if resized.shape != shape:
        raise ClearpaneError(
            f"{path} is {_size(result)}, but {pair.input} is scored at {shape[1]} x {shape[0]} "
            f"({protocol.name}); give results the size of their inputs"
        )
    return resized


def read_8bit(path: Path) -> np.ndarray:
    """Read a picture file as [H, W, 3] uint8 sRGB, upright."""
    from clearpane.images.reading import read_picture

    return to_8bit(read_picture(path).pixels)


def resize(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Resize a uint8 picture to the protocol's size; return it unchanged if it has that size."""
    height, width = protocol.size(*image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def picture_files(directory: Path) -> dict[str, Path]:
    """Return picture files by their stem; none if the folder does not exist."""
    if not directory.is_dir():
        return {}
    return {p.stem: p for p in sorted(directory.iterdir()) if is_picture_name(p) and p.is_file()}


def _directories(folder: Path) -> Iterator[Path]:
    yield folder
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield from _directories(child)


def _pairs_in(directory: Path, root: Path) -> Iterator[Pair]:
    files = picture_files(directory)
    inputs = {stem: path for stem, path in files.items() if stem.endswith("_input")}
    for stem, path in inputs.items():
        name = stem.removesuffix("_input")
        truth = files.get(f"{name}_transmission")
        yield _pair(
            name, _set_name(directory), path, truth, files.get(f"{name}_reflection"), f"{name}_transmission.*"
        )
    for input_folder, truth_folder in TWIN_FOLDERS.items():
        if (directory / input_folder).is_dir() and (directory / truth_folder).is_dir():
            yield from _twin_folder_pairs(directory, input_folder, truth_folder)
    yield from _scene_pairs(directory, files, root)


def _twin_folder_pairs(directory: Path, input_folder: str, truth_folder: str) -> Iterator[Pair]:
    truths = picture_files(directory / truth_folder)
    reflections = next((f for name in REFLECTION_FOLDERS if (f := picture_files(directory / name))), {})
    only_real20 = directory.name.lower().startswith("real20")
    for stem, path in picture_files(directory / input_folder).items():
        if only_real20 and not (stem.isdecimal() and int(stem) in REAL20):
            continue
        truth = truths.get(stem) or truths.get(_sir2_stem(stem, "g"))
        reflection = reflections.get(stem) or reflections.get(_sir2_stem(stem, "r"))
        yield _pair(stem, _set_name(directory), path, truth, reflection, f"{truth_folder}/{stem}.*")


def _scene_pairs(directory: Path, files: dict[str, Path], root: Path) -> Iterator[Pair]:
    for stem, path in files.items():
        truth = files.get(_sir2_stem(stem, "g"))
        if truth is None or truth == path:
            continue
        within = [directory, *directory.parents]
        within = within[: within.index(root) + 1]
        top = next((d for d in within if d.name.lower().endswith("dataset")), root)
        name = "-".join([*directory.relative_to(top).parts, stem])
        yield Pair(name, _set_name(top), path, truth, files.get(_sir2_stem(stem, "r")))


def _set_name(directory: Path) -> str:
    """Return the folder's name, also for the paths ``.`` and ``..``."""
    return directory.resolve().name if directory.name in ("", "..") else directory.name


def _pair(
    name: str, dataset: str, path: Path, truth: Path | None, reflection: Path | None, wanted: str
) -> Pair:
    if truth is None:
        raise ClearpaneError(f"{path}: its truth {wanted} is missing; add it or take the input out")
    return Pair(name, dataset, path, truth, reflection)


def _sir2_stem(stem: str, layer: Literal["g", "r"]) -> str:
    """Rename ``ab-10-m-3`` to ``ab-10-g-3``; keep stems without exactly one part ``m``."""
    return _SIR2_INPUT.sub(layer, stem) if len(_SIR2_INPUT.findall(stem)) == 1 else stem


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _require_same_size(path: Path, image: np.ndarray, other_path: Path, other: np.ndarray) -> None:
    if image.shape != other.shape:
        raise ClearpaneError(
            f"{path} is {_size(image)} but {other_path} is {_size(other)}; "
            "the pictures of a pair must have the same size"
        )


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
