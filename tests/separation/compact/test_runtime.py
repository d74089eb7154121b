import os

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearpane.errors import ClearpaneError
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator


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


def test_best_is_the_mean_over_the_picture_and_its_mirror_image(separator):
    image = picture(64, 96)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    best = separator.separate(image, quality="best").transmission
    np.testing.assert_allclose(
        best, separator.separate(mirrored, quality="best").transmission[:, ::-1], atol=1e-4
    )
    plain = separator._network(image).transmission
    flipped = separator._network(mirrored).transmission[:, ::-1]
    np.testing.assert_allclose(best, np.clip((plain + flipped) / 2, 0, 1), atol=1e-4)


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


def test_a_reflection_is_weakened_and_a_clean_picture_left_alone(separator):
    """The model's purpose, at its least: a bright blob added in linear light goes, what is clean stays."""
    from clearpane.optics.color import linear_to_srgb, srgb_to_linear

    clean = picture(256, 256, seed=3) * 0.5
    y, x = np.mgrid[0:256, 0:256]
    blob = 0.25 * np.exp(-((x - 90.0) ** 2 + (y - 150.0) ** 2) / (2 * 30.0**2))[..., None]
    mixed = linear_to_srgb(np.clip(srgb_to_linear(clean) + blob, 0, 1)).astype(np.float32)

    def error(image: np.ndarray) -> float:
        return float(np.abs(image - clean).mean())

    assert error(separator.separate(mixed).transmission) < 0.8 * error(mixed)
    assert error(separator.separate(clean).transmission) < 0.03
