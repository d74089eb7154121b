"""Recipe of a data set, everything that its samples depend on, and the rendering of single samples."""

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from clearpane._version import __version__
from clearpane.synthesis.dataset.online import SampleStream, draw_sample
from clearpane.synthesis.dataset.samples import Renderer, Sample
from clearpane.synthesis.dataset.shards import (
    EncodedSample,
    Format,
    StoredSample,
    encode_sample,
    panel_caption,
    sample_key,
)
from clearpane.synthesis.dataset.sources import Pictures, Sources
from clearpane.synthesis.glass.layers import LETTERS

_PICTURE_MEMORY = 2**30  # bytes for backgrounds, and as many for environments, over all workers


@dataclass(frozen=True)
class Recipe:
    """Settings of a data set, apart from its source pictures.

    Attributes:
        stream: Stream that the samples come from.
        letters: Layers to keep, some of I, T, R, B, MR.
        format: File format of the layers.
        samples_per_shard: Number of samples in a shard.
    """

    stream: SampleStream = field(default_factory=SampleStream)
    letters: tuple[str, ...] = tuple(LETTERS)
    format: Format = "png16"
    samples_per_shard: int = 100

    def facts(self, sources: Sources) -> dict[str, Any]:
        """Return the recipe and the source pictures as JSON for the manifest, without absolute paths."""
        options = asdict(self.stream.options)
        if options["renderer"] == "analytic":  # only the path tracer uses these
            del options["samples"], options["denoise"]
        facts = {
            "version": __version__,
            **options,
            "seed": self.stream.seed,
            "layers": self.letters,
            "format": self.format,
            "samples_per_shard": self.samples_per_shard,
            "ranges": asdict(self.stream.ranges),
            "backgrounds": _folder_facts(sources.backgrounds),
            "environments": sources.environments and _folder_facts(sources.environments),
        }
        as_json: dict[str, Any] = json.loads(json.dumps(facts))
        return as_json


@dataclass(frozen=True, eq=False)
class SampleMaker:
    """Callable that makes any sample of a data set; the task of the worker processes."""

    recipe: Recipe
    sources: Sources

    def __call__(self, index: int) -> EncodedSample:
        """Make and encode sample ``index``; the result depends neither on the process nor on the order.

        Raises:
            ClearpaneError: A picture cannot be read, or the ranges allow no scene.
            ValueError: The rendered values are not finite.
        """
        with _one_thread(self.recipe.stream.options.renderer):
            sample = draw_sample(index, self.sources, self.recipe.stream)
        return encode_sample(stored_sample(index, sample, self.recipe.letters), self.recipe.format)

    def shared_by(self, workers: int) -> "SampleMaker":
        """Return a copy for one of several processes, each caching a part of the pictures in memory."""
        sources = Sources(
            _with_cache(self.sources.backgrounds, _PICTURE_MEMORY // workers),
            self.sources.environments and _with_cache(self.sources.environments, _PICTURE_MEMORY // workers),
        )
        return replace(self, sources=sources)


@contextlib.contextmanager
def _one_thread(renderer: Renderer) -> Iterator[None]:
    """Limit the path tracer to one thread: the order in which several add up light shows in the last bits."""
    if renderer != "mitsuba":
        yield
        return
    import drjit

    before = drjit.thread_count()
    drjit.set_thread_count(1)
    try:
        yield
    finally:
        drjit.set_thread_count(before)


def stored_sample(index: int, sample: Sample, letters: Iterable[str]) -> StoredSample:
    """Convert a rendered sample to the form stored in a data set, with the requested layers."""
    chosen = tuple(letters)
    layers = {
        letter: getattr(sample.layers, name)[0].permute(1, 2, 0).contiguous().numpy()
        for letter, name in LETTERS.items()
        if letter != "I" and letter in chosen
    }
    photograph = sample.photograph.permute(1, 2, 0).contiguous().numpy() if "I" in chosen else None
    return StoredSample(sample_key(index), sample.scene, photograph, layers, panel_caption(chosen))


def _with_cache(pictures: Pictures, cache_bytes: int) -> Pictures:
    same = copy.copy(pictures)
    same.cache_bytes = cache_bytes
    return same


def _folder_facts(pictures: Pictures) -> dict[str, Any]:
    names = "".join(f"{name}\n" for name in pictures.names)
    checksum = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "folder": pictures.folder.resolve().name,
        "pictures": len(pictures.names),
        "sha256": checksum,
    }
