"""Calculate the cost of FLUX.1 Kontext at its real size, without weights, checked on small models.

    python -m benchmarks.flux.flux_cost

Counts the floating-point operations of the exact configuration on tensors without data, and memory by the
estimate of separation/flux/memory.py; tracks every tensor of small transformers of the same class to check
that estimate. Writes docs/figures/flux_cost.md and flux_cost.json. Needs the extra [flux].
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
import tyro
from diffusers import FluxTransformer2DModel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.peak_memory import PeakMemory
from benchmarks.flux.cuda_autocast import layer_norm_in_float32, quantise
from clearpane.evaluation.tables import write_text
from clearpane.separation.flux.lora import add_lora, train_in_float32
from clearpane.separation.flux.memory import (
    NORMALISING,
    PREDICTION,
    TRAINING,
    BackboneSize,
    removal_bytes,
    training_bytes,
)
from clearpane.separation.flux.options import Precision

SIDES = (512, 1024)
_STEPS, _RANK, _TEXT = 28, 16, 512
# Width over 64, double blocks, single blocks, tokens of the picture.
SMALL = ((2, 1, 2, 500), (4, 1, 2, 1000), (4, 2, 6, 1000), (8, 1, 1, 2000))


@dataclass(frozen=True)
class Options:
    """Calculate the cost of FLUX.1 Kontext."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of flux_cost.md and flux_cost.json."""


def new_transformer(width: int, double: int, single: int, text: int) -> FluxTransformer2DModel:
    """Make a transformer of FLUX.1's class in bfloat16; ``width`` in heads of 128, or of 64 below 24."""
    head = 128 if width == 24 else 64
    axes = (16, 56, 56) if head == 128 else (16, 24, 24)
    transformer = FluxTransformer2DModel(
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=head,
        num_attention_heads=width,
        joint_attention_dim=text,
        guidance_embeds=True,
        axes_dims_rope=axes,
    )
    return transformer.to(torch.bfloat16).requires_grad_(False)


def predict(transformer: FluxTransformer2DModel, tokens: int) -> torch.Tensor:
    """Run one prediction on zeros."""
    kind = {"dtype": torch.bfloat16, "device": transformer.device}
    config = transformer.config
    return transformer(
        hidden_states=torch.zeros(1, tokens, config.in_channels, **kind),
        encoder_hidden_states=torch.zeros(1, _TEXT, config.joint_attention_dim, **kind),
        pooled_projections=torch.zeros(1, config.pooled_projection_dim, **kind),
        timestep=torch.zeros(1, **kind),
        guidance=torch.zeros(1, **kind),
        img_ids=torch.zeros(tokens, 3, device=transformer.device),
        txt_ids=torch.zeros(_TEXT, 3, device=transformer.device),
        return_dict=False,
    )[0]


def measure_peaks() -> list[dict[str, float]]:
    """Measure the peak bytes over tokens, width and bytes per number: c of the estimate."""
    rows = []
    for width, double, single, tokens in SMALL:
        transformer = new_transformer(width, double, single, 64)
        unit = (tokens + _TEXT) * transformer.inner_dim * 2
        with torch.no_grad(), PeakMemory(transformer) as predicting:
            predict(transformer, tokens)
        quantised = new_transformer(width, double, single, 64)
        quantise(quantised)
        trained = [measure_training(x, tokens) for x in (transformer, quantised)]
        rows.append(
            {
                "width": transformer.inner_dim,
                "blocks": double + single,
                "tokens": tokens + _TEXT,
                "prediction": predicting.peak / unit,
                "training": trained[0] / unit - double - single,
                "training_nf4": trained[1] / unit - double - single,
            }
        )
    return rows


def measure_training(transformer: FluxTransformer2DModel, tokens: int) -> int:
    """Measure the peak bytes of a training step of a LoRA, with CUDA's autocast."""
    add_lora(transformer, _RANK, "all")
    train_in_float32(transformer)
    transformer.enable_gradient_checkpointing()
    with (
        PeakMemory(transformer) as training,
        layer_norm_in_float32(),
        torch.autocast("cpu", torch.bfloat16),
    ):
        predict(transformer, tokens).float().square().mean().backward()
    return training.peak


def count_operations(tokens: int) -> dict[str, float]:
    """Count the operations of a prediction and of a training step of FLUX.1 Kontext with a LoRA."""
    with torch.device("meta"):
        transformer = new_transformer(24, 19, 38, 4096)
    with torch.no_grad(), FlopCounterMode(display=False) as predicting:
        predict(transformer, tokens)
    add_lora(transformer, _RANK, "all")
    transformer.enable_gradient_checkpointing()
    with FlopCounterMode(display=False) as training:
        predict(transformer, tokens).float().square().mean().backward()
    return {"prediction": predicting.get_total_flops(), "training": training.get_total_flops()}


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    memory = []
    for side in SIDES:
        for precision in get_args(Precision):
            size = BackboneSize()
            offloaded = (
                ""
                if precision in ("8bit", "nf4")
                else f"{removal_bytes(size, precision, side, True) / 1e9:.1f}"
            )
            memory.append(
                [
                    f"{side} x {side}, {precision}",
                    f"{removal_bytes(size, precision, side) / 1e9:.1f}",
                    offloaded,
                    f"{training_bytes(size, precision, side, _RANK) / 1e9:.1f}",
                ]
            )
    operations = [
        [
            f"{side} x {side}",
            str(row["tokens"]),
            f"{row['prediction'] / 1e12:.0f}",
            f"{_STEPS * row['prediction'] / 1e15:.2f}",
            f"{row['training'] / 1e12:.0f}",
        ]
        for side, row in zip(SIDES, document["operations"], strict=True)
    ]
    checks = [
        [
            f"width {row['width']}, {row['blocks']} blocks, {row['tokens']} tokens",
            f"{row['prediction']:.1f}",
            f"{row['training']:.1f}",
            f"{row['training_nf4']:.1f}",
        ]
        for row in document["peaks"]
    ]
    return (
        "# FLUX.1 Kontext as a panel, calculated\n\n"
        "No GPU was available: nothing here is a measurement on one. Three pictures side by side and as many "
        f"in the reference, {_TEXT} tokens of text; 11.90 billion parameters and 0.08 of the VAE.\n\n"
        "## Memory of the GPU, GB\n\n"
        f"Training: a LoRA of rank {_RANK}, one panel per step, gradient checkpointing, no text encoder.\n\n"
        + table(["each picture, weights", "remove", "remove --offload", "train"], memory)
        + "\nSo a panel of 512 x 512 pictures can be trained in 24 GB with weights of 8 or 4 bits, but not "
        "in bfloat16, whose weights alone are 24 GB.\n\n"
        "## Floating-point operations\n\n"
        + table(
            [
                "each picture",
                "tokens",
                "one step, TFLOP",
                f"a photograph in {_STEPS} steps, PFLOP",
                "one training step, TFLOP",
            ],
            operations,
        )
        + "\n### The memory estimate on small models\n\n"
        "The largest sum of tensors alive at once, as a multiple of tokens x width x bytes; for training, "
        f"minus the number of blocks. The estimate uses {PREDICTION} and {TRAINING + NORMALISING}. As on a "
        "GPU, layers are normalised in float32; the layers of 4 bits are bitsandbytes', their input is cast "
        "to bfloat16.\n\n"
        + table(["transformer", "prediction", "training", "training, nf4"], checks)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Calculate everything."""
    document = {
        "operations": [
            {"tokens": BackboneSize().tokens(side), **count_operations(BackboneSize().tokens(side) - _TEXT)}
            for side in SIDES
        ],
        "peaks": measure_peaks(),
        "machine": describe_machine(),
    }
    write_text(options.output / "flux_cost.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "flux_cost.md", render(document), __spec__.name)
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
