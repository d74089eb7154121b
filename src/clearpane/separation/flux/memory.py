"""How much memory a base model needs, worked out before anything of it is loaded.

The largest sum of tensors alive at once in the transformer is ``c N w b``: N tokens, w its width, b bytes a
number. Measured on small transformers of the same class by following every tensor
(``benchmarks/flux/flux_cost.py``), c is 20 for a prediction; a training step that keeps each block's input
and computes the rest again needs 34 and one for each block.
"""

from dataclasses import dataclass
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.folders import TEXT_PARTS, count_parameters, read_object
from clearpane.separation.flux.options import Precision

PREDICTION, TRAINING = 20, 34
"""c in a prediction, and in a training step but for one of each block."""

# Bytes of a weight; bitsandbytes keeps a float32 scale for each 64 weights of four bits.
_WEIGHT_BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "8bit": 1, "nf4": 0.5 + 4 / 64}
# The VAE's widest tensors at the picture's own size: input, output and one between.
_VAE_TENSORS = 3
# A LoRA's parameters in training: themselves, gradient, two moments, average in float32, autocast's copy.
_LORA_BYTES = 5 * 4 + 2
_TEXT_TOKENS = 512


@dataclass(frozen=True)
class BackboneSize:
    """What memory depends on; the values it starts with are those of FLUX.1 Kontext.

    Attributes:
        transformer, vae, text: parameters; of both text encoders, which only training needs.
        width: of the transformer.
        double_blocks, single_blocks: of the transformer.
        multiple: the side of a token in pixels.
        vae_channels: of the VAE's tensors at the picture's own size, at most.
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
        """Tokens of the text, of pictures of ``side * side`` pixels side by side, and of their reference.

        A panel has three, an edited photograph is one.
        """
        return 2 * pictures * (side // self.multiple) ** 2 + _TEXT_TOKENS

    def lora_parameters(self, rank: int) -> int:
        """Parameters of a LoRA on all layers of the blocks: ``rank (inputs + outputs)`` of each.

        A double block has eight layers w -> w and two each of w -> 4 w and back; a single one three of
        w -> w, one w -> 4 w and one 5 w -> w.
        """
        double, single = 8 * 2 + 4 * 5, 3 * 2 + 5 + 6
        return rank * self.width * (double * self.double_blocks + single * self.single_blocks)


def backbone_size(base: Path) -> BackboneSize:
    """Read the size of a base model from its configuration and the headers of its files.

    Raises:
        ClearpaneError: a file is damaged.
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
    """Memory of the device for separating a photograph seen at ``side * side`` pixels.

    Args:
        pictures: that are made side by side: three of a panel, or the edited one alone.
        candidates: of them that are made at once.
    """
    number = 4 if precision == "float32" else 2
    transformer = size.transformer * _WEIGHT_BYTES[precision]
    predicting = PREDICTION * candidates * size.tokens(side, pictures) * size.width * number
    vae, decoding = size.vae * number, _vae_bytes(size, side, number, pictures * candidates)
    if offload:  # two blocks: one at work, the next one on its way
        transformer *= 2 / (size.double_blocks + size.single_blocks)
    return round(transformer + vae + max(predicting, decoding))


def training_bytes(
    size: BackboneSize, precision: Precision, side: int, rank: int, pictures: int = 3, batch: int = 1
) -> int:
    """Memory of the device for training a LoRA with gradient checkpointing.

    Args:
        pictures: side by side: three of a panel, or the edited one alone.
        batch: of them a step.
    """
    number = 4 if precision == "float32" else 2
    lora = size.lora_parameters(rank) * _LORA_BYTES
    weights = size.transformer * _WEIGHT_BYTES[precision] + size.vae * number + lora
    return round(weights + _step_bytes(size, side, number, pictures, batch))


def full_training_bytes(
    size: BackboneSize, precision: Precision, side: int, batch: int, *, moments: int = 8, devices: int = 1
) -> int:
    """Memory of each device for training the whole transformer on single pictures, with checkpointing.

    Weights, gradient and average are float32, whatever is computed in; each device holds all the weights
    before they are spread.

    Args:
        batch: pictures a step, on each device.
        moments: bytes of the optimiser a parameter: 8, or 2 of one that keeps them in 8 bits.
        devices: over which all that is spread.
    """
    number = 4 if precision == "float32" else 2
    spread = size.transformer * (3 * 4 + moments) / devices
    at_work = spread + _step_bytes(size, side, number, 1, batch)
    return round(size.vae * 4 + max(at_work, size.transformer * 4))


def _step_bytes(size: BackboneSize, side: int, number: int, pictures: int, batch: int) -> int:
    blocks = size.double_blocks + size.single_blocks
    step = (TRAINING + blocks) * batch * size.tokens(side, pictures) * size.width * number
    return max(step, _vae_bytes(size, side, number, pictures * batch))


def _vae_bytes(size: BackboneSize, side: int, number: int, pictures: int) -> int:
    return _VAE_TENSORS * pictures * side**2 * size.vae_channels * number
