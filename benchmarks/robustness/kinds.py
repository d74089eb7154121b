"""List the kinds of file that are fuzzed, each with intact files, mutations and a reader."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.robustness import mutations, other_seeds, picture_seeds
from clearpane.images.reading import read_picture

Damage = Callable[[bytes, bytes, np.random.Generator], bytes]

MAX_PIXELS = 4_000_000
"""Limit that pictures are read with."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: Writes intact files into a folder.
        read: Reads one of them as the library does.
        damage: Damages a file, given another one of the kind and the source of random choices.
        targets: Patterns of the files that are damaged.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    damage: Damage
    targets: tuple[str, ...] = ("*.*",)


def _picture(path: Path) -> object:
    return read_picture(path, max_pixels=MAX_PIXELS)


def _asset(path: Path) -> object:
    from clearpane.reconstruction.asset.reading import load_asset

    return load_asset(path)


def _views(path: Path) -> object:
    from clearpane.reconstruction.capture.opening import open_views

    return open_views(path)


def _weights(path: Path) -> object:
    from clearpane.reconstruction.lirm.weights_file import load_lirm, trained_environments
    from clearpane.separation.flux.task_embedding import load_task_embedding
    from clearpane.synthesis.objects.samples import load_object_sample

    if path.stem == "lirm":
        return load_lirm(path), trained_environments(path)
    return load_task_embedding(path) if path.stem == "task" else load_object_sample(path)


def _separator(path: Path) -> object:
    from clearpane.separation.compact.runtime import CompactSeparator

    return CompactSeparator(path, threads=1).separate(np.full((16, 24, 3), 0.5, np.float32))


def _samples(path: Path) -> object:
    from clearpane.synthesis.dataset.shards import read_shards

    return list(read_shards([path]))


def _checkpoint(path: Path) -> object:
    from clearpane.training.loop import load_average

    state = other_seeds.new_state()
    load_average(state.model, path)
    state.load(path)
    return state


def _published(path: Path) -> object:
    from clearpane.separation.gensirr.published import read_checkpoint

    return read_checkpoint(path)


def _by_chunks(split: mutations.Splitter) -> Damage:
    return lambda data, other, random: mutations.mutate(data, other, random, split)


def _png(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    damaged = mutations.mutate(data, other, random, mutations.png_chunks)
    return mutations.with_png_checksums(damaged) if random.random() < 0.7 else damaged


def _tar(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    damaged = mutations.mutate(data, other, random, mutations.blocks(512))
    return mutations.with_tar_checksums(damaged) if random.random() < 0.8 else damaged


def _headed(start: int, width: int) -> Damage:
    def damage(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
        if random.random() < 0.5:
            return mutations.mutate_head(data, random, start, width)
        return mutations.mutate(data, other, random, mutations.blocks(16))

    return damage


def _json(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.8:
        return mutations.mutate_json(data, random)
    return mutations.mutate(data, other, random, mutations.lines)


def _words(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.6:
        return mutations.mutate_tokens(data, random)
    return mutations.mutate(data, other, random, mutations.lines)


def _zip(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.6:
        return mutations.mutate_zip(data, other, random)
    return mutations.mutate(data, other, random, mutations.blocks(64))


KINDS: dict[str, Kind] = {
    "jpeg": Kind(picture_seeds.make_jpeg, _picture, _by_chunks(mutations.jpeg_segments)),
    "png": Kind(picture_seeds.make_png, _picture, _png),
    "tiff": Kind(picture_seeds.make_tiff, _picture, _by_chunks(mutations.blocks(12))),
    "webp": Kind(picture_seeds.make_webp, _picture, _by_chunks(mutations.riff_chunks)),
    "exr": Kind(picture_seeds.make_exr, _picture, _by_chunks(mutations.blocks(16))),
    "hdr": Kind(picture_seeds.make_hdr, _picture, _by_chunks(mutations.lines)),
    "heic": Kind(picture_seeds.make_heic, _picture, _by_chunks(mutations.boxes)),
    "dng": Kind(picture_seeds.make_dng, _picture, _by_chunks(mutations.blocks(12))),
    "glb": Kind(other_seeds.make_glb, _asset, _headed(12, 4)),
    "transforms": Kind(other_seeds.make_transforms, _views, _json, ("*.json",)),
    "colmap text": Kind(
        partial(other_seeds.make_colmap, binary=False),
        lambda path: _views(path.parents[2]),
        _words,
        ("sparse/0/*.txt",),
    ),
    "colmap binary": Kind(
        partial(other_seeds.make_colmap, binary=True),
        lambda path: _views(path.parents[2]),
        _by_chunks(mutations.blocks(8)),
        ("sparse/0/*.bin",),
    ),
    "safetensors": Kind(other_seeds.make_safetensors, _weights, _headed(0, 8)),
    "onnx": Kind(other_seeds.make_onnx, _separator, _by_chunks(mutations.blocks(16))),
    "shard": Kind(other_seeds.make_shards, _samples, _tar),
    "checkpoint": Kind(other_seeds.make_checkpoints, _checkpoint, _headed(0, 8)),
    "torch file": Kind(other_seeds.make_torch_files, _published, _zip),
}
