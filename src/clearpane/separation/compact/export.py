"""Export the trained network to the ONNX file that ships: 8- and 16-bit storage, fp32 arithmetic."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.separation.compact.network import CompactNetwork

# Weights with at least this many elements are stored in 8 bits, others in 16: small ones (norms, biases,
# scales) would save nothing and keep their precision.
_SMALLEST_EIGHTH = 40_000
_SMALLEST_HALVED = 1024
_HALF, _INTEGER, _SCALE = ".half", ".int8", ".scale"


def store_small(model: onnx.ModelProto) -> None:
    """Store the large fp32 weights of ``model`` with fewer bits, in place, each followed by a dequantisation.

    8 bits: ``w = s q``, q from -127 to 127, s the largest ``|w| / 127`` of each output channel.
    The runtime folds these nodes when it loads the model, so that it computes in fp32 at full speed.
    """
    graph = model.graph
    nodes, weights = [], []
    for weight in graph.initializer:
        name, values, size = weight.name, numpy_helper.to_array(weight), int(np.prod(weight.dims))
        if weight.data_type != onnx.TensorProto.FLOAT or size < _SMALLEST_HALVED:
            weights.append(weight)
        elif size < _SMALLEST_EIGHTH:
            weights.append(numpy_helper.from_array(values.astype(np.float16), name + _HALF))
            nodes.append(helper.make_node("Cast", [name + _HALF], [name], to=onnx.TensorProto.FLOAT))
        else:
            scale = abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(127)
            integers = np.round(values / np.maximum(scale, 1e-30)).astype(np.int8)
            weights.append(numpy_helper.from_array(integers, name + _INTEGER))
            weights.append(numpy_helper.from_array(scale, name + _SCALE))
            cast = name + ".float"
            nodes.append(helper.make_node("Cast", [name + _INTEGER], [cast], to=onnx.TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [cast, name + _SCALE], [name]))
    nodes.extend(graph.node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)


def stored_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the weights of a model written by :func:`store_small`, by their original names, as fp32."""
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    weights = {}
    for name, values in stored.items():
        if name.endswith(_INTEGER):
            own = name.removesuffix(_INTEGER)
            weights[own] = values.astype(np.float32) * stored[own + _SCALE]
        else:
            weights[name.removesuffix(_HALF)] = values.astype(np.float32)
    return weights


def drop_notes(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on each node's origin (source lines, paths), in place."""
    for part in (model, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    model.graph.ClearField("value_info")


def export_onnx(network: CompactNetwork, path: Path, facts: dict[str, str] | None = None) -> Path:
    """Write ``network`` as an ONNX model with weights of 8 and 16 bits.

    Input ``image``: [1, 3, H, W], sRGB in [0, 1], H and W multiples of the metadata entry ``multiple``.
    Outputs ``transmission`` and ``reflection``: [1, 3, H, W].

    Args:
        network: The trained network.
        path: File to write, replaced atomically.
        facts: Entries for the model's metadata (training run, scores).
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    multiple = network.config.multiple
    example = torch.rand(1, 3, 4 * multiple, 5 * multiple)
    rows, columns = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=["transmission", "reflection"],
            dynamic_shapes=({2: multiple * rows, 3: multiple * columns},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    drop_notes(model)
    store_small(model)
    for key, value in {"multiple": str(multiple), **(facts or {})}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_bytes(model.SerializeToString())
    return path


def import_onnx(network: CompactNetwork, path: Path) -> None:
    """Load the weights of a file written by :func:`export_onnx` into ``network``, to continue training.

    Raises:
        ClearpaneError: The file is damaged or belongs to another network.
    """
    try:
        stored = stored_weights(onnx.load(path))
        network.load_state_dict({name: torch.from_numpy(stored[name]) for name in network.state_dict()})
    except Exception as error:  # protobuf's errors, and wrong names or shapes
        reason = str(error).splitlines()[0]
        raise ClearpaneError(f"{path}: not the weights of this network ({reason})") from error
