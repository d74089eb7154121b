"""Store a transformer's linear layers in 8 or 4 bits with bitsandbytes."""

import torch
from diffusers import BitsAndBytesConfig, ModelMixin
from torch import nn

from clearpane.separation.flux.options import Precision


def quantisation_config(precision: Precision, in_full: tuple[str, ...] = ()) -> BitsAndBytesConfig | None:
    """Return what diffusers needs to quantise while it loads, which it does on a GPU alone.

    Args:
        precision: Number format; None is returned for those that are not quantised.
        in_full: Beginnings of the names of layers that keep their format.
    """
    skipped = list(in_full) or None
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=skipped,
        )
    if precision == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return None


def quantise_on_cpu(transformer: ModelMixin, in_full: tuple[str, ...] = ()) -> None:
    """Store the linear layers in 4 bits (nf4) on a CPU, as diffusers does on a GPU.

    Raises:
        ImportError: bitsandbytes is not installed.
    """
    from bitsandbytes.nn import Linear4bit

    for name in [name for name, _ in transformer.named_modules()]:  # each layer is freed when it is replaced
        layer = transformer.get_submodule(name)
        if isinstance(layer, nn.Linear) and not name.startswith(in_full):
            small = Linear4bit(
                layer.in_features,
                layer.out_features,
                layer.bias is not None,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
            )
            small.load_state_dict(layer.state_dict())
            transformer.set_submodule(name, small.to("cpu"))
    transformer.is_loaded_in_4bit = True
