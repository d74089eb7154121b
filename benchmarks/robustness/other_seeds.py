"""Small intact views, assets, weights, shards and checkpoints, to be damaged."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from benchmarks.robustness.picture_seeds import pixels
from clearpane.reconstruction.asset.asset import Asset, save_asset
from clearpane.reconstruction.lirm.model import Lirm, LirmConfig
from clearpane.reconstruction.lirm.weights_file import save_lirm
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.synthesis.dataset.shards import (
    EncodedSample,
    StoredSample,
    encode_sample,
    sample_key,
    write_shard,
)
from clearpane.synthesis.glass.scene import Background, GlassScene, ReflectedWorld
from clearpane.training.loop import AveragedWeights, TrainingState

_LIRM = LirmConfig(
    blocks=1,
    width=24,
    heads=2,
    patch=8,
    plane_side=2,
    plane_stride=2,
    channels=4,
    panoramas=1,
    panorama_side=2,
)


def make_glb(folder: Path) -> None:
    """Our own, one of strips and fans with colours of vertices, one with sparse values."""
    from clearpane.geometry.mesh import Mesh

    random = np.random.default_rng(0)
    vertices = random.normal(size=(6, 3))
    flat = np.repeat([[0.0, 0.0, 1.0]], 6, axis=0)
    texture = random.random((4, 4))
    asset = Asset(
        Mesh(vertices, np.asarray([[0, 1, 2], [3, 4, 5]])),
        random.random((6, 2)),
        flat,
        random.random((4, 4, 3)),
        texture,
        texture,
        np.tile(np.asarray([0.0, 0, 1]), (4, 4, 1)),
        texture,
    )
    save_asset(asset, folder / "a.glb")
    for name, mode in (("b", 5), ("c", 6)):
        (folder / f"{name}.glb").write_bytes(_glb(mode))


def _glb(mode: int) -> bytes:
    corners = np.asarray([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]], "<f4")
    colours = np.full((5, 4), 30000, "<u2")
    order = np.arange(5, dtype="<u2")
    places, values = np.asarray([1], "<u2"), np.asarray([[2, 0, 0]], "<f4")
    parts = (corners, colours, order, places, values)
    binary, views = b"", []
    for part in parts:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": part.nbytes})
        binary += part.tobytes() + bytes(-part.nbytes % 4)
    sparse = {
        "count": 1,
        "indices": {"bufferView": 3, "componentType": 5123},
        "values": {"bufferView": 4},
    }
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [0, 1, 0]}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "mode": mode}]}
        ],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3", "sparse": sparse},
            {"bufferView": 1, "componentType": 5123, "normalized": True, "count": 5, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5123, "count": 5, "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    total = 28 + len(text) + len(binary)
    head = struct.pack("<4s4I", b"glTF", 2, total, len(text), 0x4E4F534A)
    return head + text + struct.pack("<2I", len(binary), 0x004E4942) + binary


def _pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(pixels(3)).save(folder / name)


def make_transforms(folder: Path) -> None:
    """Cameras at the top and at frames, masks, distortion."""
    _pictures(folder / "images", "0.png", "1.png", "2.png")
    _pictures(folder / "cut", "0.png")
    frames: list[dict[str, Any]] = [
        {"file_path": f"images/{k}.png", "transform_matrix": np.eye(4).tolist()} for k in range(3)
    ]
    frames[0]["mask_path"] = "cut/0.png"
    shared = {"fl_x": 30.0, "fl_y": 30.0, "cx": 12.0, "cy": 8.0, "w": 24, "h": 16, "k1": 0.01, "p1": 0.001}
    (folder / "a.json").write_text(json.dumps({**shared, "up": [0, 0, 1], "frames": frames}))
    (folder / "b.json").write_text(
        json.dumps({"frames": [{**frame, "camera_angle_x": 0.7} for frame in frames]})
    )


def make_colmap(folder: Path, *, binary: bool) -> None:
    """Write a model of four photographs, beside them."""
    import pycolmap

    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, 4, 8
    options.camera_width, options.camera_height = 24, 16
    options.camera_model_id, options.camera_params = (
        pycolmap.CameraModelId.OPENCV,
        [20.0, 20, 12, 8, 0, 0, 0, 0],
    )
    made = pycolmap.synthesize_dataset(options)
    for index, image in enumerate(made.images.values()):
        image.name = f"{index}.png"
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (made.write_binary if binary else made.write_text)(str(model))
    _pictures(folder / "images", *(image.name for image in made.images.values()))


def make_safetensors(folder: Path) -> None:
    """LIRM's weights, a task embedding, and a random object's sample."""
    torch.manual_seed(0)
    save_lirm(folder / "lirm.safetensors", _LIRM, Lirm(_LIRM).state_dict(), ("a.hdr",))
    TaskEmbedding(torch.randn(1, 3, 8), torch.randn(1, 8)).save(folder / "task.safetensors")
    views, side = 2, 4
    levels = {name: torch.zeros(views, 3, side, side, dtype=torch.uint8) for name in ("colour", "albedo")}
    single = ("mask", "metallic", "roughness")
    levels |= {name: torch.zeros(views, 1, side, side, dtype=torch.uint8) for name in single}
    levels["background"] = torch.zeros(views, 3, side, side, dtype=torch.uint8)
    floats = {
        "depth": torch.ones(views, 1, side, side).half(),
        "normal": torch.ones(views, 3, side, side).half(),
    }
    cameras = {
        "camera_to_world": torch.eye(4).repeat(views, 1, 1),
        "intrinsics": torch.eye(3).repeat(views, 1, 1),
    }
    points = {"points": torch.zeros(5, 3).half(), "distances": torch.zeros(5).half()}
    save_file({**levels, **floats, **cameras, **points}, folder / "object.safetensors")


def make_onnx(folder: Path) -> None:
    """A network with the embedded separator's inputs and outputs."""
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(0)
    weights = random.normal(size=(6, 3, 3, 3)).astype(np.float32)
    size = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights", "bias"], ["both"], pads=[1, 1, 1, 1]),
            helper.make_node("Split", ["both", "parts"], ["transmission", "reflection"], axis=1),
        ],
        "separator",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, size) for n in ("transmission", "reflection")],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.zeros(6, np.float32), "bias"),
            numpy_helper.from_array(np.asarray([3, 3], np.int64), "parts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"multiple": "8"})
    save(model, folder / "a.onnx")


def make_shards(folder: Path) -> None:
    """Shards of two samples each, one for each format of layers."""
    scene = GlassScene(Background("a.png"), ReflectedWorld("b.png"))
    for name in ("png16", "exr"):
        samples = [_sample(index, scene, name) for index in range(2)]
        write_shard(folder / f"{name}.tar", samples)


def _sample(index: int, scene: GlassScene, form: Any) -> EncodedSample:
    layers: Mapping[str, np.ndarray] = {n: pixels(3, np.float32, 8, 8) for n in ("T", "R", "B", "MR")}
    photograph = pixels(3, np.float32, 8, 8).clip(0, 1)
    return encode_sample(StoredSample(sample_key(index), scene, photograph, layers, "a caption"), form)


def new_state() -> TrainingState:
    """Return a small training run, always the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    return TrainingState(model, AveragedWeights(model), optimizer, recipe={"steps": 10, "name": "a"})


def make_checkpoints(folder: Path) -> None:
    """A run after two steps."""
    state = new_state()
    for _ in range(2):
        state.optimizer.zero_grad()
        state.model(torch.ones(2, 3)).square().mean().backward()
        state.optimizer.step()
        state.average.update(state.model)
        state.step += 1
    state.save(folder / "checkpoint.safetensors")


def make_torch_files(folder: Path) -> None:
    """Files of `torch.save`, laid out as GenSIRR's checkpoint: of the newer kind (zip) and the older."""
    tensors = {f"net_g.transformer.{k}": torch.randn(4, 3) for k in range(3)}
    torch.save({"module": tensors}, folder / "a.pt")
    torch.save({"module": tensors}, folder / "b.pt", _use_new_zipfile_serialization=False)
