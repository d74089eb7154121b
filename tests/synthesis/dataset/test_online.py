"""Samples made while a network trains: the same whatever the number of workers."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from clearpane.errors import ClearpaneError
from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.dataset.online import GlassSceneDataset, SampleStream, draw_sample
from clearpane.synthesis.dataset.samples import SampleOptions, render_sample
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.ranges import SceneRanges
from clearpane.synthesis.glass.scene import GlassScene

# Closed form only: quick.
RANGES = SceneRanges(wedged_chance=0, double_chance=0, bent_chance=0, lens_chance=0, noise_chance=1)
STREAM = SampleStream(seed=3, ranges=RANGES, options=SampleOptions(24, 32))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((60, 40), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return Sources.open(folder)


def batches(sources: Sources, start: int, count: int, workers: int) -> list[dict[str, Any]]:
    loader = DataLoader(
        GlassSceneDataset(sources, STREAM),
        batch_size=2,
        sampler=itertools.count(start),  # type: ignore[arg-type]
        num_workers=workers,
    )
    return list(itertools.islice(loader, count))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a loader's workers have: sums over several threads differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_workers_and_starts_change_nothing(sources: Sources) -> None:
    alone = batches(sources, 0, 4, 0)
    shared = batches(sources, 0, 4, 2)
    resumed = batches(sources, 4, 2, 0)
    for expected, found in [*zip(alone, shared, strict=True), *zip(alone[2:], resumed, strict=True)]:
        assert found["index"].tolist() == expected["index"].tolist()
        assert found["scene"] == expected["scene"]
        for letter in ("I", "T", "R", "B", "MR"):
            assert torch.equal(found[letter], expected[letter])
    assert torch.cat([b["index"] for b in alone]).tolist() == list(range(8))


def test_samples_are_pictures(sources: Sources) -> None:
    sample = GlassSceneDataset(sources, STREAM)[5]
    assert set(sample) == {"I", "T", "R", "B", "MR", "scene", "index"}
    for letter in ("I", "T", "R", "B", "MR"):
        picture = sample[letter]
        assert isinstance(picture, torch.Tensor)
        assert picture.shape == (3, 24, 32) and picture.dtype == torch.float32
        assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0
    assert not torch.equal(sample["I"], GlassSceneDataset(sources, STREAM)[6]["I"])


def test_a_sample_is_made_again_from_its_scene(sources: Sources) -> None:
    """What is written beside a sample is all that is needed: the noise's seed is in it."""
    sample = draw_sample(2, sources, STREAM)
    again = render_sample(GlassScene.from_json(sample.scene.to_json()), sources, STREAM.options)
    assert torch.equal(again.photograph, sample.photograph)
    assert torch.equal(again.layers.reflection, sample.layers.reflection)


def test_light_adds_up_and_glass_dims(sources: Sources) -> None:
    for index in range(6):
        layers = draw_sample(index, sources, STREAM).layers
        assert torch.equal(layers.input, layers.transmission + layers.reflection)
        assert layers.transmission.mean() < layers.background.mean()
        assert layers.reflection.mean() < layers.mirror_reflection.mean()


def test_the_photograph_is_of_the_input(sources: Sources) -> None:
    """Without noise, tone and compression it is I in sRGB."""
    ranges = SceneRanges(
        wedged_chance=0,
        double_chance=0,
        bent_chance=0,
        lens_chance=0,
        noise_chance=0,
        tone_chance=0,
        jpeg_chance=0,
    )
    sample = draw_sample(0, sources, SampleStream(ranges=ranges, options=SampleOptions(24, 32)))
    light = srgb_to_linear(sample.photograph)
    torch.testing.assert_close(light, sample.layers.input[0].clamp(max=1), atol=1e-5, rtol=1e-4)


def test_seeds_make_other_streams(sources: Sources) -> None:
    other = SampleStream(seed=4, ranges=RANGES, options=STREAM.options)
    assert draw_sample(0, sources, other).scene != draw_sample(0, sources, STREAM).scene


def test_no_samples_before_the_first(sources: Sources) -> None:
    with pytest.raises(ClearpaneError, match="-1"):
        GlassSceneDataset(sources, STREAM)[-1]
