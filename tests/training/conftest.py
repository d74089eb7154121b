import numpy as np
import pytest
from PIL import Image

from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.dataset.shards import StoredSample, encode_sample, write_shard
from clearpane.synthesis.glass.scene import Background, GlassScene, ReflectedWorld

HEIGHT, WIDTH = 40, 56


@pytest.fixture
def glass(tmp_path):
    """A data set of four scenes, T and R below one half, B a quarter brighter than T."""
    random = np.random.default_rng(0)
    samples = []
    for index in range(4):
        layers = {letter: random.random((HEIGHT, WIDTH, 3), dtype=np.float32) / 2 for letter in "TR"}
        layers["B"] = layers["T"] / np.float32(0.8)
        photo = linear_to_srgb(layers["T"] + layers["R"])
        scene = GlassScene(Background("a"), ReflectedWorld("b"))
        samples.append(encode_sample(StoredSample(f"{index:08d}", scene, photo, layers, None), "png16"))
    folder = tmp_path / "glass"
    folder.mkdir()
    write_shard(folder / "shard-000000.tar", samples)
    return folder


@pytest.fixture
def real(tmp_path):
    """A folder with one real pair."""
    folder = tmp_path / "real"
    folder.mkdir()
    for kind, value in (("input", 180), ("transmission", 90)):
        Image.new("RGB", (WIDTH, HEIGHT), (value,) * 3).save(folder / f"000_{kind}.jpg")
    return folder
