"""Estimate the memory that WindowSeat needs, before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.json_files import read_object
from clearpane.separation.flux.folders import count_parameters
from clearpane.separation.flux.memory import PREDICTION, WEIGHT_BYTES
from clearpane.separation.flux.options import Precision

TILE = 768
"""Side of a tile in pixels in the published repository."""

# Side of a token in pixels, and tokens of the prompt at most.
_TOKEN, _TEXT_TOKENS = 16, 1024


@dataclass(frozen=True)
class QwenSize:
    """Quantities that memory depends on; the defaults are those of Qwen-Image-Edit-2509.

    Attributes:
        transformer, vae: Number of parameters.
        width: Width of the transformer.
    """

    transformer: int = 20_430_401_088
    vae: int = 126_892_531
    width: int = 3072


def qwen_size(base: Path) -> QwenSize:
    """Return the size of a base model in a directory, from its configuration and the headers of its files.

    Raises:
        ClearpaneError: A file is damaged.
    """
    config = read_object(base / "transformer" / "config.json")
    try:
        width = config["num_attention_heads"] * config["attention_head_dim"]
    except (KeyError, TypeError) as error:
        raise ClearpaneError(f"{base}: transformer/config.json is damaged ({error!r})") from error
    return QwenSize(count_parameters(base / "transformer"), count_parameters(base / "vae"), width)


def removal_bytes(size: QwenSize, precision: Precision, side: int, on_cpu: bool) -> int:
    """Estimate the bytes for tiles of ``side * side`` pixels: weights, and the tensors of one prediction.

    The tensors are estimated as in `clearpane.separation.flux.memory`.

    Args:
        on_cpu: True if the layers are stored in 4 bits on a CPU, where all are loaded before.
    """
    number = 4 if precision == "float32" else 2
    loaded: Precision = "bfloat16" if on_cpu and precision == "nf4" else precision
    tokens = (side // _TOKEN) ** 2 + _TEXT_TOKENS
    weights = size.transformer * WEIGHT_BYTES[loaded] + size.vae * number
    return round(weights + PREDICTION * tokens * size.width * number)
