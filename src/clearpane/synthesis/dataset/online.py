"""Glass scenes that are sampled and rendered during training."""

from dataclasses import dataclass, field

from torch import Tensor
from torch.utils.data import Dataset

from clearpane.synthesis.dataset.samples import Sample, SampleOptions, render_sample
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.ranges import SceneRanges
from clearpane.synthesis.glass.sampling import sample_scene, scene_seed


@dataclass(frozen=True)
class SampleStream:
    """An endless sequence of random samples; sample k depends only on these settings and on k.

    Attributes:
        seed: Random seed of the sequence.
        ranges: Ranges that scene parameters are drawn from.
        options: Size and renderer of the samples.
    """

    seed: int = 0
    ranges: SceneRanges = field(default_factory=SceneRanges)
    options: SampleOptions = field(default_factory=SampleOptions)


def draw_sample(index: int, sources: Sources, stream: SampleStream) -> Sample:
    """Draw and render sample ``index`` of a stream.

    Raises:
        ClearpaneError: ``index`` is negative, the ranges allow no scene, or a picture cannot be read.
    """
    options = stream.options
    seed = scene_seed(stream.seed, index)
    scene = sample_scene(seed, sources.names, stream.ranges, options.height, options.width)
    return render_sample(scene, sources, options)


class GlassSceneDataset(Dataset[dict[str, Tensor | str | int]]):
    """An endless data set for `torch.utils.data.DataLoader` whose samples are rendered on access.

    ``dataset[k]`` is sample k, for any k >= 0: I (as saved by the camera), T, R, B and MR, each [3, H, W]
    sRGB in [0, 1], ``scene``, its JSON, and ``index``. A loader returns the samples in the order of its
    sampler, whatever the number of its workers. Samples are identical, except for the last bit when this
    process renders them with several threads. To resume at sample n, start the sampler there::

        sources.backgrounds.preload()
        loader = DataLoader(dataset, batch_size=8, sampler=itertools.count(n), num_workers=2)

    Args:
        sources: Source pictures, shared by the workers if preloaded before they are forked.
        stream: Stream that the samples come from.
    """

    def __init__(self, sources: Sources, stream: SampleStream) -> None:
        self.sources, self.stream = sources, stream

    def __getitem__(self, index: int) -> dict[str, Tensor | str | int]:
        sample = draw_sample(index, self.sources, self.stream)
        return {**sample.pictures(), "scene": sample.scene.to_json(), "index": index}
