import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator
from clearpane.separation.resolution import separate_at_resolution, separate_enlarged, shrink

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def separator():
    return CompactSeparator()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture with some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 40.0
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-2, 2, (3, 3))]
    return np.clip(
        0.5 + 0.3 * np.stack(waves, -1) + 0.02 * rng.standard_normal((height, width, 3)), 0, 1
    ).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90))
def test_any_size_keeps_its_size_and_range(separator, height, width):
    layers = separator.separate(picture(height, width))
    for layer in (layers.transmission, layers.reflection):
        assert layer.shape == (height, width, 3)
        assert layer.dtype == np.float32
        assert 0 <= layer.min() <= layer.max() <= 1


def test_the_same_picture_gives_the_same_layers(separator):
    image = picture(64, 96)
    first, second = separator.separate(image), CompactSeparator().separate(image)
    assert np.array_equal(first.transmission, second.transmission)


def test_the_number_of_threads_changes_nothing(separator):
    image = picture(200, 300)
    one = CompactSeparator(threads=1).separate(image)
    two = CompactSeparator(threads=2).separate(image)
    np.testing.assert_allclose(one.transmission, two.transmission, atol=1e-3)
    np.testing.assert_allclose(one.reflection, two.reflection, atol=1e-3)


@pytest.mark.parametrize(("usable", "threads"), [({2}, 1), ({0, 1, 2}, 3), (set(range(8)), 0)])
def test_a_process_held_to_some_cores_starts_no_more_threads(monkeypatch, usable, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: usable, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert CompactSeparator()._session.get_session_options().intra_op_num_threads == threads


def test_best_is_the_median_of_the_picture_its_mirror_image_a_smaller_and_a_larger_one(separator):
    image = picture(64, 96)
    best = separator.separate(image, quality="best").transmission
    plain = separator._network(image).transmission
    flipped = separator._network(np.ascontiguousarray(image[:, ::-1])).transmission[:, ::-1]
    smaller = separate_at_resolution(image, separator._network, 48 * 72).transmission
    larger = separate_enlarged(image, separator._network, 1.25).transmission
    looks = np.clip([plain, flipped, smaller, larger], 0, 1)
    np.testing.assert_allclose(best, np.sort(looks, axis=0)[1:3].mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_a_confidence_comes_with_the_same_layers(separator, quality):
    image = picture(64, 96)
    plain, confident = (
        separator.separate(image, quality=quality, confidence=asked) for asked in (False, True)
    )
    assert plain.confidence is None
    np.testing.assert_array_equal(confident.transmission, plain.transmission)
    assert confident.confidence.shape == (64, 96) and confident.confidence.dtype == np.float32
    assert 0 < confident.confidence.min() < confident.confidence.max() < 1


def test_the_confidence_of_a_large_picture_has_its_size(separator, monkeypatch):
    monkeypatch.setattr("clearpane.separation.compact.runtime.WORKING_PIXELS", 48 * 64)
    image = picture(96, 128)
    large = separator.separate(image, confidence=True).confidence
    small = separator.separate(shrink(image, 48, 64), confidence=True).confidence
    assert large.shape == (96, 128) and large.flags.writeable
    np.testing.assert_allclose(
        large.reshape(48, 2, 64, 2).mean((1, 3))[2:-2, 2:-2], small[2:-2, 2:-2], atol=0.03
    )


def test_too_small_a_picture_is_refused(separator):
    with pytest.raises(ClearpaneError, match="40 x 15 pixels; the smallest"):
        separator.separate(picture(15, 40))


def test_grey_or_batched_arrays_are_refused(separator):
    with pytest.raises(ValueError, match="H x W x 3"):
        separator.separate(np.zeros((32, 32), np.float32))


def test_missing_and_damaged_weights_say_so(tmp_path):
    with pytest.raises(ClearpaneError, match="missing"):
        CompactSeparator(tmp_path / "none.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(WEIGHTS.read_bytes()[:5000])
    with pytest.raises(ClearpaneError, match=r"damaged\.onnx: .* cannot be loaded"):
        CompactSeparator(damaged)


def test_the_shipped_weights_are_small_and_need_no_network():
    assert WEIGHTS.stat().st_size <= 12e6
    session = onnxruntime.InferenceSession(str(WEIGHTS))
    assert [node.name for node in session.get_inputs()] == ["image"]
    assert [node.name for node in session.get_outputs()] == ["transmission", "reflection"]


@pytest.fixture(scope="module")
def examples():
    """The example pictures: (through glass, truth)."""

    def load(name: str) -> np.ndarray:
        with Image.open(EXAMPLES / name) as picture:
            return np.asarray(picture, np.float32) / 255

    names = sorted(path.name for path in EXAMPLES.glob("*_input.jpg"))
    assert len(names) == 4
    return [(load(name), load(name.replace("_input", "_transmission"))) for name in names]


def test_the_examples_come_nearer_to_their_truth(separator, examples):
    before = [psnr(photo, truth) for photo, truth in examples]
    after = [psnr(separator.separate(photo).transmission, truth) for photo, truth in examples]
    assert np.mean(after) > np.mean(before) + 2


def test_a_picture_without_glass_comes_back_much_as_it_was(separator, examples):
    unchanged = [psnr(separator.separate(clean).transmission, clean) for _, clean in examples]
    assert np.mean(unchanged) > 40


def model(path: Path, location: str | None = None, multiple: str = "8", outputs: int = 3) -> Path:
    """A network with the separator's names, whose weights may lie in another file."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((outputs, 3, 1, 1), np.float32), "w")
    if location is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", location
    size = ["n", "c", "h", "w"]
    names = ("transmission", "reflection")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], [name]) for name in names],
        "separator",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in names],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {"multiple": multiple})
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret.bin", "{}/secret.bin", "link.bin"])
def test_weights_cannot_lie_outside_the_models_folder(tmp_path, location):
    np.ones((3, 3), np.float32).tofile(tmp_path / "secret.bin")
    path = model(tmp_path / "model" / "a.onnx", location.format(tmp_path))
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ClearpaneError, match=r"a\.onnx: the separator's weights cannot be loaded"):
        CompactSeparator(path)


@pytest.mark.parametrize("multiple", ["0", "-8", "1000000000", "x"])
def test_an_impossible_multiple_is_refused(tmp_path, multiple):
    with pytest.raises(ClearpaneError, match="weights cannot be loaded"):
        CompactSeparator(model(tmp_path / "a.onnx", multiple=multiple))


def test_a_network_of_other_outputs_is_none_of_ours(tmp_path):
    whole = CompactSeparator(model(tmp_path / "a.onnx")).separate(np.full((16, 20, 3), 0.25, np.float32))
    assert whole.transmission == pytest.approx(0.75)
    with pytest.raises(ClearpaneError, match="not a separator's weights"):
        CompactSeparator(model(tmp_path / "b.onnx", outputs=4)).separate(np.zeros((16, 20, 3), np.float32))
    four = CompactSeparator(model(tmp_path / "a.onnx"))
    four._session = onnxruntime.InferenceSession(
        model(tmp_path / "c.onnx").read_bytes().replace(b"image", b"imago"),
        providers=["CPUExecutionProvider"],
    )
    with pytest.raises(ClearpaneError, match="cannot be run on 20 x 16 pixels"):
        four.separate(np.zeros((16, 20, 3), np.float32))
