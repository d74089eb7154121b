"""Estimate the memory that a base model needs, before anything is loaded.

The largest sum of tensors alive at once in the transformer is ``c N w b``: N tokens, w its width, b bytes a
number. Measured on small transformers of the same class by tracking every tensor
(``benchmarks/flux/flux_cost.py``), c is 20 for a prediction; a training step that keeps each block's input
and recomputes the rest needs 34, plus one for each block, and in bfloat16 another 4, since CUDA's autocast
normalises in float32.
"""

from dataclasses import dataclass
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.json_files import read_object
from clearpane.separation.flux.folders import TEXT_PARTS, count_parameters
from clearpane.separation.flux.options import Precision

PREDICTION, TRAINING, NORMALISING = 20, 34, 4
"""c in a prediction, in a training step without the one for each block, and what bfloat16 adds to that."""

WEIGHT_BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "8bit": 1, "nf4": 0.5 + 4 / 64}
"""Bytes per weight; bitsandbytes keeps a float32 scale for each 64 weights of four bits."""

# Tensors of the VAE at the picture's own size that are alive at once: input, output and one between.
_VAE_TENSORS = 3
# Bytes per LoRA parameter in training: weight, gradient, two moments and average in float32, autocast's copy.
_LORA_BYTES = 5 * 4 + 2
_TEXT_TOKENS = 512


@dataclass(frozen=True)
class BackboneSize:
    """Quantities that memory depends on; the defaults are those of FLUX.1 Kontext.

    Attributes:
        transformer, vae, text: Number of parameters; text counts both text encoders, needed only in training.
        width: Width of the transformer.
        double_blocks, single_blocks: Number of blocks in the transformer.
        multiple: Side of a token in pixels.
        vae_channels: Largest number of channels of the VAE's tensors at the picture's own size.
    """

    transformer: int = 11_901_408_320
    vae: int = 83_819_683
    text: int = 4_885_371_136
    width: int = 3072
    double_blocks: int = 19
    single_blocks: int = 38
    multiple: int = 16
    vae_channels: int = 256

    def tokens(self, side: int, pictures: int = 3) -> int:
        """Count the tokens of the text, of pictures of ``side * side`` pixels, and of their reference.

        A panel has three pictures, an edited photograph is one.
        """
        return 2 * pictures * (side // self.multiple) ** 2 + _TEXT_TOKENS

    def lora_parameters(self, rank: int) -> int:
        """Count the parameters of a LoRA on all layers of the blocks: ``rank (inputs + outputs)`` of each.

        A double block has eight layers w -> w and two each of w -> 4 w and back; a single one three of
        w -> w, one w -> 4 w and one 5 w -> w.
        """
        double, single = 8 * 2 + 4 * 5, 3 * 2 + 5 + 6
        return rank * self.width * (double * self.double_blocks + single * self.single_blocks)


def backbone_size(base: Path) -> BackboneSize:
    """Read the size of a base model from its configuration and the headers of its files.

    Raises:
        ClearpaneError: A file is damaged.
    """
    transformer, vae = (read_object(base / part / "config.json") for part in ("transformer", "vae"))
    try:
        channels = vae["block_out_channels"]
        return BackboneSize(
            count_parameters(base / "transformer"),
            count_parameters(base / "vae"),
            sum(count_parameters(base / part) for part in TEXT_PARTS),
            transformer["num_attention_heads"] * transformer["attention_head_dim"],
            transformer["num_layers"],
            transformer["num_single_layers"],
            2 * 2 ** (len(channels) - 1),
            channels[min(1, len(channels) - 1)],
        )
    except (KeyError, TypeError) as error:
        raise ClearpaneError(f"{base}: a config.json is damaged ({error!r})") from error


def removal_bytes(
    size: BackboneSize,
    precision: Precision,
    side: int,
    offload: bool = False,
    pictures: int = 3,
    candidates: int = 1,
) -> int:
    """Estimate the device memory for separating a photograph at ``side * side`` pixels, in bytes.

    Args:
        pictures: Number of pictures made side by side: three for a panel, one for an edited photograph.
        candidates: Number of them made at once.
    """
    number = 4 if precision == "float32" else 2
    transformer = size.transformer * WEIGHT_BYTES[precision]
    predicting = PREDICTION * candidates * size.tokens(side, pictures) * size.width * number
    vae, decoding = size.vae * number, _vae_bytes(size, side, number, pictures * candidates)
    if offload:  # two blocks: one in use, one being copied
        transformer *= 2 / (size.double_blocks + size.single_blocks)
    return round(transformer + vae + max(predicting, decoding))


def training_bytes(
    size: BackboneSize, precision: Precision, side: int, rank: int, pictures: int = 3, batch: int = 1
) -> int:
    """Estimate the device memory for training a LoRA with gradient checkpointing, in bytes.

    Args:
        pictures: Number of pictures side by side: three for a panel, one for an edited photograph.
        batch: Number of them per step.
    """
    number = 4 if precision == "float32" else 2
    lora = size.lora_parameters(rank) * _LORA_BYTES
    weights = size.transformer * WEIGHT_BYTES[precision] + size.vae * number + lora
    return round(weights + _step_bytes(size, side, number, pictures, batch))


def full_training_bytes(
    size: BackboneSize, precision: Precision, side: int, batch: int, *, moments: int = 8, devices: int = 1
) -> int:
    """Estimate the memory of each device for training the whole transformer on single pictures, in bytes.

    Gradient checkpointing is on. Weights, gradient and average are float32, whatever the compute type; each
    device holds all weights before they are sharded.

    Args:
        batch: Pictures per step on each device.
        moments: Bytes of optimiser state per parameter: 8, or 2 with 8-bit moments.
        devices: Number of devices that weights, gradients and optimiser state are sharded over.
    """
    number = 4 if precision == "float32" else 2
    spread = size.transformer * (3 * 4 + moments) / devices
    at_work = spread + _step_bytes(size, side, number, 1, batch)
    return round(size.vae * 4 + max(at_work, size.transformer * 4))


def _step_bytes(size: BackboneSize, side: int, number: int, pictures: int, batch: int) -> int:
    blocks = size.double_blocks + size.single_blocks
    factor = TRAINING + blocks + (NORMALISING if number == 2 else 0)
    step = factor * batch * size.tokens(side, pictures) * size.width * number
    return max(step, _vae_bytes(size, side, number, pictures * batch))


def _vae_bytes(size: BackboneSize, side: int, number: int, pictures: int) -> int:
    return _VAE_TENSORS * pictures * side**2 * size.vae_channels * number
