"""Write the embedded separator for other programs, in the layout of the model hub: ``onnx/*.onnx``."""

import shutil
from pathlib import Path

from clearpane.errors import MissingExtraError
from clearpane.separation.compact.runtime import WEIGHTS_FILE

FLOAT32, FLOAT16, EIGHT_BITS = "model.onnx", "model_fp16.onnx", "model_quantized.onnx"
"""File names as Optimum and Transformers.js give them."""


def write_onnx_files(folder: Path) -> None:
    """Add the network in three forms, with the inputs and outputs of ``compact.onnx``, to its directory.

    - ``onnx/model.onnx``: weights and arithmetic in float32.
    - ``onnx/model_fp16.onnx``: both in float16; inputs and outputs stay float32.
    - ``onnx/model_quantized.onnx``: ``compact.onnx`` itself, whose large weights have 8 bits and whose
      arithmetic is float32. Activations of 8 bits would ruin the picture (docs/figures/onnx_files.md).

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ModuleNotFoundError as error:
        raise MissingExtraError("exporting the network", "train") from error

    place = folder / "onnx"
    place.mkdir(exist_ok=True)
    shutil.copyfile(folder / WEIGHTS_FILE, place / EIGHT_BITS)
    expand_weights(folder / WEIGHTS_FILE, place / FLOAT32)
    half = convert_float_to_float16(onnx.load(place / FLOAT32), keep_io_types=True)
    OnnxModel(half).topological_sort()
    onnx.checker.check_model(half)
    onnx.save(half, place / FLOAT16)


def expand_weights(source: Path, target: Path) -> None:
    """Write an ONNX model with its stored weights dequantised: ONNX Runtime folds the constants."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Further optimisations would use operators that only ONNX Runtime has.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
