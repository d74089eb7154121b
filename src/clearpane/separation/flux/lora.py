"""Low-rank adapters (LoRA, arXiv 2106.09685) of the transformer, in diffusers' file format.

``W' = W + (alpha / rank) B A``; B starts at 0, so an untrained adapter changes nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import parse_untyped

LORA_FILE = "pytorch_lora_weights.safetensors"
"""File name that diffusers looks for in a directory."""

ADAPTER = "default"

TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "all": (
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
    ),
}
"""Patterns of the layers that an adapter may change, by the choice's name."""


def add_lora(transformer: FluxTransformer2DModel, rank: int, targets: str) -> dict[str, nn.Parameter]:
    """Freeze a transformer and add an adapter to it.

    Args:
        rank: Rank of the adapter; alpha equals it, so that their quotient is 1.
        targets: Key of :data:`TARGETS`.

    Returns:
        The adapter's parameters by their names in the transformer.
    """
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=rank,
            init_lora_weights=True,
            target_modules=_pattern(targets),
        ),
        adapter_name=ADAPTER,
    )
    return {name: p for name, p in transformer.named_parameters() if p.requires_grad}


def train_in_float32(transformer: FluxTransformer2DModel) -> None:
    """Keep an adapter in float32; run the transformer under autocast unless it is itself float32.

    The adapter's layers then take their input as it is. As peft makes them, each would convert its input to
    float32 and keep that for the backward pass: half as much memory again, with no effect under autocast.

    Layers of 8 and 4 bits get their input in bfloat16. They return the type of their input, and autocast
    normalises in float32 on CUDA: without this, everything between the blocks would be float32.
    """
    for layer in transformer.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.cast_input_dtype_enabled = False
        if type(layer).__module__.startswith("bitsandbytes."):
            layer.register_forward_pre_hook(_in_bfloat16)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _in_bfloat16(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.to(torch.bfloat16) for value in inputs)


def _pattern(targets: str) -> str:
    """Return a regular expression of the layers' names; the transformer's last layer belongs to no block."""
    names = "|".join(re.escape(name) for name in TARGETS[targets])
    return rf"(single_)?transformer_blocks\.\d+\.(attn\.)?({names})"


def save_lora(path: Path, weights: Mapping[str, Tensor], transformer: FluxTransformer2DModel) -> None:
    """Write an adapter as diffusers does, whole or not at all.

    Args:
        path: :data:`LORA_FILE` in some folder.
        weights: Weights by their names in the transformer, as from :func:`add_lora`, or averaged ones.
        transformer: Transformer that the adapter belongs to.
    """
    state = get_peft_model_state_dict(transformer, state_dict=dict(weights), adapter_name=ADAPTER)
    with atomic_path(path, overwrite=True) as temporary:
        FluxKontextPipeline.save_lora_weights(
            temporary.parent,
            transformer_lora_layers={name: x.detach().cpu().contiguous() for name, x in state.items()},
            weight_name=temporary.name,
            transformer_lora_adapter_metadata=transformer.peft_config[ADAPTER].to_dict(),
        )


def load_lora(transformer: FluxTransformer2DModel, path: Path, rank: int) -> None:
    """Load an adapter of a given rank into a transformer.

    Raises:
        ClearpaneError: The file is missing, damaged or incomplete, holds no adapter, or one of another base
            model or rank.
    """
    if not path.is_file():
        raise ClearpaneError(
            f"{path}: there is no such adapter; the folder is not what clearpane train wrote"
        )
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            stored = parse_untyped((file.metadata() or {}).get("lora_adapter_metadata", "null"))
        if not isinstance(stored, dict | None):
            raise ValueError("its description is no object of JSON")
    except (SafetensorError, OSError, ValueError) as error:
        raise ClearpaneError(f"{path}: damaged, cannot be read as an adapter ({error})") from error
    _check_adapter(transformer, tensors, path, rank)
    if stored is not None and stored.get("transformer.r") != rank:
        raise ClearpaneError(f"{path}: its metadata give rank {stored.get('transformer.r')}, not {rank}")
    transformer.load_lora_adapter(tensors, prefix="transformer", adapter_name=ADAPTER, metadata=stored)


def _check_adapter(
    transformer: FluxTransformer2DModel, tensors: dict[str, Tensor], path: Path, rank: int
) -> None:
    """Raise ClearpaneError if an adapter is incomplete, or does not fit this transformer or this rank."""
    layers = dict(transformer.named_modules())
    matrices: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        layer, found, matrix = name.removeprefix("transformer.").rpartition(".lora_")
        if found:
            matrices.setdefault(layer, {})[matrix.removesuffix(".weight")] = value
    if not matrices:
        raise ClearpaneError(f"{path}: holds no adapter (no lora_A and lora_B)")
    if not any(
        {name for name in layers if re.fullmatch(_pattern(t), name)} == set(matrices) for t in TARGETS
    ):
        missing = sorted(set(matrices) - set(layers))
        if missing:
            raise ClearpaneError(f"{path}: is of another base model, which has a layer {missing[0]}")
        raise ClearpaneError(f"{path}: is not complete, or changes other layers than ours do")
    for name, pair in matrices.items():
        inputs, outputs = layers[name].in_features, layers[name].out_features
        shapes = {key: tuple(value.shape) for key, value in pair.items()}
        if set(shapes) != {"A", "B"}:
            raise ClearpaneError(f"{path}: is not complete ({name} has only lora_{min(shapes)})")
        there = (shapes["A"][-1], shapes["B"][0])
        if there != (inputs, outputs):
            raise ClearpaneError(
                f"{path}: is of another base model, whose {name} has {there[0]} inputs and {there[1]} "
                f"outputs; this one's has {inputs} and {outputs}"
            )
        if not shapes["A"][0] == shapes["B"][-1] == rank:
            raise ClearpaneError(
                f"{path}: {name} has rank {shapes['A'][0]} and {shapes['B'][-1]}; rank {rank} is expected"
            )
