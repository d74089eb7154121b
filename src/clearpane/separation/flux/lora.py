"""Low-rank adapters (LoRA, arXiv 2106.09685) of the transformer, in the files that diffusers reads.

``W' = W + (alpha / rank) B A``; B starts at 0, so an untrained adapter changes nothing.
"""

import json
from pathlib import Path

from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from clearpane.errors import ClearpaneError

LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls it, and looks for in a directory."""

ADAPTER = "default"

TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "all": (
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
    ),
}
"""The layers that an adapter may change, by the name of the choice."""


def add_lora(transformer: FluxTransformer2DModel, rank: int, targets: str) -> dict[str, nn.Parameter]:
    """Freeze a transformer and add an adapter to it.

    Args:
        rank: of the adapter; alpha is the same, so that their quotient is 1.
        targets: a key of :data:`TARGETS`.

    Returns:
        The adapter's parameters by their names in the transformer.
    """
    transformer.requires_grad_(False)
    # The transformer's own last layer is called proj_out too; only those of blocks are meant.
    names = "|".join(name.replace(".", r"\.") for name in TARGETS[targets])
    transformer.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=rank,
            init_lora_weights=True,
            target_modules=rf".*transformer_blocks\.\d+\.(attn\.)?({names})",
        ),
        adapter_name=ADAPTER,
    )
    return {name: p for name, p in transformer.named_parameters() if p.requires_grad}


def lora_tensors(transformer: FluxTransformer2DModel) -> dict[str, Tensor]:
    """The adapter's tensors under the names that diffusers stores them by."""
    state = get_peft_model_state_dict(transformer, adapter_name=ADAPTER)
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def save_lora(folder: Path, tensors: dict[str, Tensor], transformer: FluxTransformer2DModel) -> None:
    """Write an adapter as diffusers does: :data:`LORA_FILE` in ``folder``.

    Args:
        tensors: from :func:`lora_tensors`, or averaged ones of the same names.
        transformer: whose adapter it is.
    """
    FluxKontextPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=tensors,
        transformer_lora_adapter_metadata=transformer.peft_config[ADAPTER].to_dict(),
    )


def load_lora(transformer: FluxTransformer2DModel, path: Path) -> None:
    """Put an adapter into a transformer.

    Raises:
        ClearpaneError: the file is missing, damaged, holds no adapter, or one of another base.
    """
    if not path.is_file():
        raise ClearpaneError(f"{path}: there is no such adapter; train one with clearpane train panel")
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ClearpaneError(f"{path}: damaged, cannot be read as an adapter ({error})") from error
    _check_base(transformer, tensors, path)
    transformer.load_lora_adapter(tensors, prefix="transformer", adapter_name=ADAPTER, metadata=stored)


def _check_base(transformer: FluxTransformer2DModel, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise ClearpaneError where an adapter's tensors are not of this transformer's sizes."""
    layers = dict(transformer.named_modules())
    parts = [name.removeprefix("transformer.").rpartition(".lora_") for name in tensors]
    if not any(found for _, found, _ in parts):
        raise ClearpaneError(f"{path}: holds no adapter (no lora_A and lora_B)")
    for (name, found, matrix), value in zip(parts, tensors.values(), strict=True):
        if not found:
            continue
        if name not in layers:
            raise ClearpaneError(f"{path}: is of another base model, which has a layer {name}")
        # A is rank x inputs, B outputs x rank.
        if matrix.startswith("A"):
            what, there, here = "inputs", value.shape[-1], layers[name].in_features
        else:
            what, there, here = "outputs", value.shape[0], layers[name].out_features
        if there != here:
            raise ClearpaneError(
                f"{path}: is of another base model, whose {name} has {there} {what}; this one's has {here}"
            )
