"""Write FLUX.1 Kontext's exact configuration with random weights, and load it in 4 bits on a CPU.

Neither ever holds all weights in memory: files are written and read one block at a time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.folders import KONTEXT_PIPELINE, PICTURE_PARTS

_INDEX = "diffusion_pytorch_model.safetensors.index.json"
# Random matrices are uniform in 8 bits between plus and minus this, so that 57 blocks stay finite.
_SPREAD = 2**-5
# bitsandbytes compares each weight with all 16 levels in float32 at once on a CPU: as many weights at a time.
_AT_ONCE = 2**18
_BLOCK = 64


@dataclass(frozen=True)
class TransformerSize:
    """Numbers that a transformer's size depends on; the defaults are FLUX.1 Kontext's.

    Attributes:
        double_blocks, single_blocks: Numbers of blocks.
        heads: Number of attention heads, of 128 channels each.
    """

    double_blocks: int = 19
    single_blocks: int = 38
    heads: int = 24


def new_transformer(size: TransformerSize) -> FluxTransformer2DModel:
    """Make a transformer without data, on the device "meta"."""
    with torch.device("meta"):
        return FluxTransformer2DModel(
            num_layers=size.double_blocks,
            num_single_layers=size.single_blocks,
            num_attention_heads=size.heads,
            guidance_embeds=True,
        )


def new_vae() -> AutoencoderKL:
    """Make FLUX.1's VAE, untrained."""
    levels = (128, 256, 512, 512)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(levels),
        up_block_types=("UpDecoderBlock2D",) * len(levels),
        block_out_channels=levels,
        layers_per_block=2,
        latent_channels=16,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def write_base(folder: Path, size: TransformerSize) -> Path:
    """Write the parts that process pictures, in bfloat16, as diffusers stores them; return the directory."""
    generator = np.random.Generator(np.random.SFC64(0))
    transformer = new_transformer(size)
    place = folder / "transformer"
    transformer.save_config(place)
    names: dict[str, str] = {}
    shards = list(_shards(transformer))
    for number, shapes in enumerate(shards, 1):
        name = f"diffusion_pytorch_model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({key: _draw(key, shape, generator) for key, shape in shapes.items()}, place / name)
        names |= dict.fromkeys(shapes, name)
    (place / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    torch.manual_seed(0)
    new_vae().to(torch.bfloat16).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, max_image_seq_len=4096
    ).save_pretrained(folder / "scheduler")
    index = {"_class_name": KONTEXT_PIPELINE} | {part: ["diffusers", None] for part in PICTURE_PARTS}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _shards(transformer: FluxTransformer2DModel) -> Iterator[dict[str, torch.Size]]:
    """Yield the names and shapes of each shard: one of what belongs to no block, and one for each block."""
    groups: dict[str, dict[str, torch.Size]] = {}
    for name, value in transformer.state_dict().items():
        kind, number, *_ = name.split(".")
        block = f"{kind}.{number}" if kind.endswith("transformer_blocks") else ""
        groups.setdefault(block, {})[name] = value.shape
    yield from groups.values()


def _draw(name: str, shape: torch.Size, generator: np.random.Generator) -> Tensor:
    """Draw a matrix; vectors are those of an untrained layer."""
    if len(shape) > 1:
        numbers = torch.from_numpy(generator.integers(-128, 128, shape, dtype=np.int8))
        return numbers.to(torch.bfloat16).mul_(_SPREAD / 128)
    return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)


def load_in_4_bits(base: Path, kind: torch.dtype) -> Backbone:
    """Load a directory of `write_base` on the CPU with all linear layers in 4 bits (nf4).

    Args:
        kind: Data type of the computation and of everything else.

    Raises:
        ImportError: bitsandbytes is not installed.
    """
    from bitsandbytes.nn import Linear4bit

    place = base / "transformer"
    config = FluxTransformer2DModel.load_config(place)
    with torch.device("meta"):
        transformer = FluxTransformer2DModel.from_config(config)
        for name, layer in list(transformer.named_modules()):
            if isinstance(layer, nn.Linear):
                sizes = layer.in_features, layer.out_features, layer.bias is not None
                transformer.set_submodule(name, Linear4bit(*sizes, compute_dtype=kind, quant_type="nf4"))
    for path in sorted(place.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                owner, _, attribute = name.rpartition(".")
                layer, value = transformer.get_submodule(owner), file.get_tensor(name)
                made = (
                    quantised(value, kind)
                    if isinstance(layer, Linear4bit) and attribute == "weight"
                    else nn.Parameter(value.to(kind, copy=True))
                )
                setattr(layer, attribute, made)
    transformer.is_loaded_in_4bit = True
    vae = AutoencoderKL.from_pretrained(base / "vae", dtype=kind, local_files_only=True)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(base / "scheduler", local_files_only=True)
    vae.requires_grad_(False).eval()
    # In evaluation bitsandbytes would pack the weights for processors with bfloat16, once and for all.
    transformer.requires_grad_(False).train()
    return Backbone(transformer, vae, scheduler, torch.device("cpu"))


def quantised(weight: Tensor, kind: torch.dtype) -> nn.Parameter:
    """Quantise a matrix [outputs, inputs] a few rows at a time; inputs is a multiple of 64."""
    from bitsandbytes.functional import QuantState, quantize_4bit
    from bitsandbytes.nn import Params4bit

    parts = [
        quantize_4bit(rows, blocksize=_BLOCK, quant_type="nf4")
        for rows in weight.split(max(1, _AT_ONCE // weight.shape[1]))
    ]
    state = QuantState(
        absmax=torch.cat([part.absmax for _, part in parts]).float(),
        shape=weight.shape,
        code=parts[0][1].code,
        blocksize=_BLOCK,
        quant_type="nf4",
        dtype=kind,
    )
    result: nn.Parameter = Params4bit(
        torch.cat([packed for packed, _ in parts]),
        requires_grad=False,
        quant_state=state,
        blocksize=_BLOCK,
        quant_type="nf4",
        bnb_quantized=True,
    )
    return result
