"""From the trained network to the ONNX file that ships: fp16 storage, fp32 arithmetic."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from clearpane.errors import ClearpaneError
from clearpane.images.writing import atomic_path
from clearpane.separation.compact.network import CompactNetwork

# Smaller tensors (norms, biases, scales) gain nothing and keep their precision.
_SMALLEST_HALVED = 1024
_HALF = ".half"


def store_as_half(model: onnx.ModelProto) -> None:
    """Store the large fp32 weights of ``model`` as fp16, in place, each followed by a cast back to fp32.

    The runtime folds the casts when it loads the model, so that it computes in fp32 at full speed.
    """
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALLEST_HALVED:
            continue
        name = weight.name
        half = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, name + _HALF))
        casts.append(helper.make_node("Cast", [name + _HALF], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def drop_notes(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about where each node came from (source lines, paths), in place."""
    for part in (model, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    model.graph.ClearField("value_info")


def export_onnx(network: CompactNetwork, path: Path, facts: dict[str, str] | None = None) -> Path:
    """Write ``network`` as an ONNX model with fp16 weights.

    Input ``image``: 1 x 3 x H x W, sRGB in [0, 1], H and W multiples of the metadata entry ``multiple``.
    Outputs ``transmission`` and ``reflection``: 1 x 3 x H x W.

    Args:
        network: the trained network.
        path: the file to write, replaced in one go.
        facts: written into the model's metadata (training run, scores).
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
    store_as_half(model)
    for key, value in {"multiple": str(multiple), **(facts or {})}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_bytes(model.SerializeToString())
    return path


def import_onnx(network: CompactNetwork, path: Path) -> None:
    """Load the weights of a file written by :func:`export_onnx` into ``network``, to train on from them.

    Raises:
        ClearpaneError: the file is damaged or of another network.
    """
    try:
        stored = {
            weight.name.removesuffix(_HALF): torch.from_numpy(
                numpy_helper.to_array(weight).astype(np.float32)
            )
            for weight in onnx.load(path).graph.initializer
        }
        network.load_state_dict({name: stored[name] for name in network.state_dict()})
    except Exception as error:  # protobuf's own, and those of names and shapes that do not fit
        reason = str(error).splitlines()[0]
        raise ClearpaneError(f"{path}: not the weights of this network ({reason})") from error
