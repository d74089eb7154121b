"""Glass scenes drawn and rendered while a network trains."""

from dataclasses import dataclass, field

from torch import Tensor
from torch.utils.data import Dataset

from clearpane.synthesis.dataset.samples import Sample, SampleOptions, render_sample
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.ranges import SceneRanges
from clearpane.synthesis.glass.sampling import sample_scene, scene_seed


@dataclass(frozen=True)
class SampleStream:
    """An endless sequence of random samples; sample k depends on these numbers and on k alone.

    Attributes:
        seed: of the sequence.
        ranges: what scenes are drawn from.
        options: how they are rendered.
    """

    seed: int = 0
    ranges: SceneRanges = field(default_factory=SceneRanges)
    options: SampleOptions = field(default_factory=SampleOptions)


def draw_sample(index: int, sources: Sources, stream: SampleStream) -> Sample:
    """Sample ``index`` of a stream.

    Raises:
        ClearpaneError: an index below 0, ranges that allow no scene, a picture that cannot be read.
    """
    options = stream.options
    seed = scene_seed(stream.seed, index)
    scene = sample_scene(seed, sources.names, stream.ranges, options.height, options.width)
    return render_sample(scene, sources, options)


class GlassSceneDataset(Dataset[dict[str, Tensor | str | int]]):
    """A stream of samples as a data set for `torch.utils.data.DataLoader`, endless, rendered when asked for.

    ``dataset[k]`` is sample k, for any k >= 0: I (as the camera saves it), T, R, B and MR, each 3 x H x W
    sRGB in [0, 1], ``scene``, its JSON, and ``index``. A loader given the indices keeps to their order,
    whatever the number of its workers, and the samples are the same, but for the last bit where this process
    renders them with several threads. To go on with sample n, start there::

        sources.backgrounds.preload()
        loader = DataLoader(dataset, batch_size=8, sampler=itertools.count(n), num_workers=2)

    Args:
        sources: pictures; preloaded before workers are forked, they are shared.
        stream: which samples.
    """

    def __init__(self, sources: Sources, stream: SampleStream) -> None:
        self.sources, self.stream = sources, stream

    def __getitem__(self, index: int) -> dict[str, Tensor | str | int]:
        sample = draw_sample(index, self.sources, self.stream)
        return {**sample.pictures(), "scene": sample.scene.to_json(), "index": index}
