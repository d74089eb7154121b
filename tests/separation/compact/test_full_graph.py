"""The whole road as one ONNX graph, compared with the NumPy code that it repeats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402

from clearpane.errors import ClearpaneError  # noqa: E402
from clearpane.separation.compact.full_graph import export_full_graph  # noqa: E402
from clearpane.separation.compact.runtime import CompactSeparator  # noqa: E402
from clearpane.separation.strength import apply_strength  # noqa: E402


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = export_full_graph(tmp_path_factory.mktemp("graph") / "compact-full.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options)


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 90
    waves = np.stack(
        [0.5 + 0.5 * np.sin(3 * x + y), 0.5 + 0.4 * np.cos(x * y), 0.3 + 0.2 * np.sin(7 * y)], -1
    )
    noise = np.random.default_rng(0).standard_normal(waves.shape)
    return np.clip(waves + 0.02 * noise, 0, 1).astype(np.float32)


def run(graph: Any, image: np.ndarray, strength: float, confidence: bool) -> list[np.ndarray]:
    feed = {
        "photograph": image.transpose(2, 0, 1)[None],
        "strength": np.array([strength], np.float32),
        "with_confidence": np.array(confidence),
    }
    names = ["result", "transmission", "reflection", "confidence"]
    return [value[0].transpose(1, 2, 0) for value in graph.run(names, feed)]


@pytest.mark.parametrize("size", [(16, 45), (230, 317), (800, 1500)])
def test_it_gives_what_the_program_gives(graph: Any, size: tuple[int, int]) -> None:
    image = picture(*size)
    layers = CompactSeparator(threads=1).separate(image, confidence=True)
    result, transmission, reflection, confidence = run(graph, image, 1, True)
    assert np.abs(transmission - layers.transmission).max() < 1e-3
    assert np.abs(reflection - layers.reflection).max() < 1e-3
    assert np.abs(confidence[..., 0] - layers.confidence).max() < 1e-3
    assert (result == transmission).all()


@pytest.mark.parametrize("strength", [-1, -0.3, 0, 0.6])
def test_strength_mixes_in_linear_light(graph: Any, strength: float) -> None:
    image = picture(64, 96)
    layers = CompactSeparator(threads=1).separate(image)
    result = run(graph, image, strength, False)[0]
    assert np.abs(result - apply_strength(image, layers, strength)).max() < 1e-3


def test_no_confidence_costs_nothing(graph: Any) -> None:
    assert run(graph, picture(64, 96), 1, False)[3].size == 0


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    with pytest.raises(ClearpaneError, match=r"damaged\.onnx: not an ONNX model"):
        export_full_graph(tmp_path / "full.onnx", damaged)
    assert not (tmp_path / "full.onnx").exists()
