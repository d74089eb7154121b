"""Read the pictures that the embedded separator trains on, and align its real pairs."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.images.formats import PICTURE_SUFFIXES
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, Pictures, Sources
from clearpane.training.pictures import Pair, load_pairs, load_picture, natural_paths

# Share of the names that are held out; of natural_more's 946 house_* it takes 100.
HELD_OUT_SHARE = 0.115
# Environments that are never trained with, by name: later additions move nothing.
HELD_OUT_ENVIRONMENTS = frozenset({"venice_sunset_1k.hdr", "vestibule_1k.hdr"})
_SUFFIXES = frozenset({".webp", ".jpg", ".png"})
_PAIR_SETS = ("real_pairs", "real_pairs_rooms")
# Search range of the alignment, and the largest error that still counts as aligned; pixels.
_REACH, _EXACT = 4, 0.15


def is_held_out(name: str, share: float = HELD_OUT_SHARE) -> bool:
    """Return True for a picture held out of training, by the first 32 bits of its file name's SHA-256."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def room_paths(folder: Path, *, held_out: bool = False) -> list[Path]:
    """List the rooms and house fronts (``house_*``) of a folder in order, or those held out of training.

    Raises:
        ClearpaneError: there are none.
    """
    paths = sorted(p for p in folder.glob("house_*") if p.suffix in _SUFFIXES)
    if not paths:
        raise ClearpaneError(f"{folder}: no pictures named house_* (webp, jpg, png)")
    return [path for path in paths if is_held_out(path.name) == held_out]


def load_pictures(paths: Sequence[Path]) -> list[Tensor]:
    """Read pictures, [3, H, W] uint8."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(load_picture, paths))


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """Real pair whose truth was shifted to fit; both pictures are cropped to their overlap.

    Attributes:
        pair: Pictures of the pair.
        exact: True if the remaining shift is below a sixth of a pixel.
    """

    pair: Pair
    exact: bool


def align(pair: Pair) -> AlignedPair:
    """Shift a pair's truth by whole pixels to where its edges correlate best with the photograph's.

    Up to three pixels are found; beyond that a pair stays as it is. What is left of the shift is read off a
    parabola through the correlation's peak.
    """
    photo, truth = (_edges(picture) for picture in (pair.input, pair.truth))
    height, width = photo.shape[-2:]
    if min(height, width) <= 4 * _REACH:
        return AlignedPair(pair, exact=False)
    inner = photo[:, _REACH : height - _REACH, _REACH : width - _REACH]
    places = range(2 * _REACH + 1)
    scores = torch.stack(
        [torch.stack([_correlation(inner, truth, down, right) for right in places]) for down in places]
    )
    row, column = divmod(int(scores.argmax()), len(places))
    if {row, column} & {0, places[-1]}:
        return AlignedPair(pair, exact=False)
    rest = _peak(scores[row - 1 : row + 2, column]), _peak(scores[row, column - 1 : column + 2])
    moved = _moved(pair, row - _REACH, column - _REACH)
    return AlignedPair(moved, exact=rest[0] ** 2 + rest[1] ** 2 < _EXACT**2)


def _edges(picture: Tensor) -> Tensor:
    """Return the mean channel's differences to the right and downwards, capped, [2, H - 1, W - 1]."""
    grey = picture.float().mean(0) / 255
    differences = grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1]
    return torch.stack(differences).clamp(-0.1, 0.1)


def _correlation(inner: Tensor, edges: Tensor, down: int, right: int) -> Tensor:
    height, width = inner.shape[-2:]
    window = edges[:, down : down + height, right : right + width]
    return (inner * window).sum() / (window.square().sum() * inner.square().sum()).sqrt().clamp(min=1e-6)


def _peak(values: Tensor) -> float:
    """Return where the parabola through three values has its peak, from the middle one."""
    before, here, after = values.tolist()
    curvature = before - 2 * here + after
    return 0.5 * (before - after) / curvature if curvature < -1e-9 else 0.0


def _moved(pair: Pair, down: int, right: int) -> Pair:
    """Cut a pair to where ``input[y, x]`` belongs to ``truth[y + down, x + right]``."""
    height, width = (n - abs(d) for n, d in zip(pair.input.shape[-2:], (down, right), strict=True))
    top, left = max(0, -down), max(0, -right)
    photo = pair.input[:, top : top + height, left : left + width]
    truth = pair.truth[:, top + down :, left + right :][:, :height, :width]
    return Pair(pair.name, photo.contiguous(), truth.contiguous())


def by_scene(pairs: Sequence[AlignedPair]) -> list[list[AlignedPair]]:
    """Group pairs named SSS-KK by their scene SSS, in order; a name without a dash is a scene of its own."""
    scenes: dict[str, list[AlignedPair]] = {}
    for aligned in pairs:
        scenes.setdefault(aligned.pair.name.partition("-")[0], []).append(aligned)
    return [scenes[name] for name in sorted(scenes)]


def load_pair_sets(data: Path) -> list[list[list[AlignedPair]]]:
    """Read and align the real pairs of a folder: real_pairs/train and, if there, real_pairs_rooms/train.

    Returns:
        The sets, each a list of scenes, each a list of pairs.

    Raises:
        ClearpaneError: there are no pairs, or one cannot be read.
    """
    first, *others = (data / name / "train" for name in _PAIR_SETS)
    folders = [first, *(folder for folder in others if folder.is_dir())]
    return [by_scene([align(pair) for pair in load_pairs(folder)]) for folder in folders]


def open_glass_sources(data: Path) -> Sources:
    """Open what glass scenes are rendered from, without the pictures and environments held out.

    Raises:
        ClearpaneError: there is no folder natural with pictures.
    """
    held_out = [path.name for path in natural_paths(data / "natural", held_out=True)]
    maps = data / "environments"
    environments = None
    if maps.is_dir():
        environments = Pictures(maps, ENVIRONMENT_SUFFIXES, longest=2048, leave_out=HELD_OUT_ENVIRONMENTS)
    return Sources(Pictures(data / "natural", PICTURE_SUFFIXES, leave_out=held_out), environments)
