"""Safetensors files that are the same whenever their content is."""

import json
import struct

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402

from clearpane.tensor_files import save_tensors  # noqa: E402


def test_equal_content_gives_equal_files_that_others_read(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    facts = {name: f'"{name}" é \n\t/' for name in "qwertyuiop"}
    paths = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for path in paths:
        save_tensors(path, tensors, facts)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], "pt") as file:
        assert file.metadata() == facts
        assert all(torch.equal(file.get_tensor(name), value) for name, value in tensors.items())
    (size,) = struct.unpack("<Q", paths[0].read_bytes()[:8])
    header = json.loads(paths[0].read_bytes()[8 : 8 + size])
    assert list(header["__metadata__"]) == sorted(facts)


def test_tied_weights_are_each_written_whole(tmp_path):
    weight = torch.arange(4.0)
    save_tensors(
        tmp_path / "a.safetensors", {"one": weight, "other": weight, "part": weight[1:3]}, {"a": "b"}
    )
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            "one": [0, 1, 2, 3],
            "other": [0, 1, 2, 3],
            "part": [1, 2],
        }
