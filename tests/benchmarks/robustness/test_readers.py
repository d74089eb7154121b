"""The readers that watch over killed runs notice a file that is cut short."""

import json
import tarfile
from pathlib import Path

import av
import imagecodecs
import numpy as np
import onnx
import pytest
import tifffile
import trimesh
from safetensors.numpy import save_file

from benchmarks.robustness.readers import READERS, broken_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole file of every kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="zlib")
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "a.md").write_text("text\n")
    save_file({"a": np.zeros(9, np.float32)}, tmp_path / "a.safetensors")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])])  # fmt: skip
    onnx.save(onnx.helper.make_model(graph), tmp_path / "a.onnx")
    trimesh.creation.box().export(tmp_path / "a.glb")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return tmp_path


def test_whole_files_pass_and_logs_and_hidden_ones_are_left_out(folder: Path) -> None:
    assert {path.suffix for path in folder.iterdir()} == READERS.keys()
    (folder / ".clearpane-1").mkdir()
    (folder / ".clearpane-1" / "new.png").write_bytes(b"half")
    (folder / "log.jsonl").write_text('{"step": ')
    assert broken_files(folder) == {}


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_cut_short_is_noticed(folder: Path, suffix: str) -> None:
    path = folder / f"a{suffix}"
    data = path.read_bytes()
    content = len(data.rstrip(b"\0"))  # tar pads with zeros
    path.write_bytes(data[: content - max(1, content // 3)])
    assert list(broken_files(folder)) == [path.name]
    path.write_bytes(b"")
    assert list(broken_files(folder)) == [path.name]
