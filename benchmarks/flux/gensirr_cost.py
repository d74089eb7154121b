"""Calculate the cost of GenSIRR's early branching at FLUX.1 Kontext's real size, without weights.

    python -m benchmarks.flux.gensirr_cost

Counts the floating-point operations of a step, a decoding and a depth estimate on tensors without data, and
adds them up for 1, 4, 8 and 16 candidates and several numbers of steps. Writes docs/figures/gensirr_cost.md
and .json. Needs the extra [flux].
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.flux.flux_cost import new_transformer, predict
from clearpane.evaluation.tables import write_text
from clearpane.separation.gensirr.checkpoint import FLUX_VAE

SIDE, STEPS, CANDIDATES = 256, (28, 8, 4), (1, 4, 8, 16)
PUBLISHED = {4: 1.25, 16: 1.92}
_TOKEN, _LATENT = 16, 8
# Depth Anything takes a short side of 518 pixels, in patches of 14.
_DEPTH_SIDE = 518


@dataclass(frozen=True)
class Options:
    """Calculate the cost of early branching."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of gensirr_cost.md and gensirr_cost.json."""


def new_vae() -> AutoencoderKL:
    """Make an untrained VAE of FLUX.1's size."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **FLUX_VAE,
    )


def new_depth_estimator() -> DepthAnythingForDepthEstimation:
    """Make an untrained estimator of the size of Depth Anything V2 small, 25 M parameters."""
    backbone = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=_DEPTH_SIDE,
        patch_size=14,
        out_indices=[3, 6, 9, 12],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    return DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=384,
            neck_hidden_sizes=[48, 96, 192, 384],
            fusion_hidden_size=64,
        )
    )


@torch.no_grad()
def count_parts() -> dict[str, float]:
    """Count the operations of each part for a picture of 256 x 256 pixels."""
    with torch.device("meta"):
        transformer, vae, depth = new_transformer(24, 19, 38, 4096), new_vae(), new_depth_estimator()
        picture = torch.zeros(1, 3, SIDE, SIDE)
        latents = torch.zeros(1, 16, SIDE // _LATENT, SIDE // _LATENT)
        seen = torch.zeros(1, 3, _DEPTH_SIDE, _DEPTH_SIDE)
    calls = {
        # The edited picture and its reference.
        "step": lambda: predict(transformer, 2 * (SIDE // _TOKEN) ** 2),
        "encoding": lambda: vae.encode(picture),
        "decoding": lambda: vae.decode(latents),
        "depth": lambda: depth(seen),
    }
    counts = {}
    for name, call in calls.items():
        with FlopCounterMode(display=False) as counter:
            call()
        counts[name] = counter.get_total_flops()
    return counts


def total(parts: dict[str, float], steps: int, candidates: int) -> float:
    """Add up the operations of a photograph: a single candidate is decoded only at the end, and not
    scored."""
    branching = (candidates - 1) * parts["step"] + candidates * (parts["decoding"] + parts["depth"])
    plain = parts["encoding"] + steps * parts["step"] + parts["decoding"]
    return plain + (branching if candidates > 1 else 0)


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    parts = document["parts"]
    rows = []
    for candidates in CANDIDATES:
        ratios = [total(parts, steps, candidates) / total(parts, steps, 1) for steps in STEPS]
        published = f"{PUBLISHED[candidates]:.2f}" if candidates in PUBLISHED else ""
        rows.append([str(candidates), *(f"{ratio:.2f}" for ratio in ratios), published])
    names = {
        "step": "one step of the transformer",
        "encoding": "encoding",
        "decoding": "decoding",
        "depth": "depth",
    }
    return (
        "# The cost of early branching, calculated\n\n"
        f"FLUX.1 Kontext on a photograph of {SIDE} x {SIDE} pixels. No GPU was available: operations, not "
        "seconds. The published seconds grew by more than the operations calculated here.\n\n"
        + table(["part", "TFLOP"], [[title, f"{parts[name] / 1e12:.2f}"] for name, title in names.items()])
        + "\nOperations per photograph, decodings and depth included, relative to one candidate:\n\n"
        + table(
            ["candidates", *(f"{steps} steps" for steps in STEPS), "published, seconds at 28 steps"], rows
        )
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Calculate everything."""
    document = {"parts": count_parts(), "machine": describe_machine()}
    write_text(options.output / "gensirr_cost.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "gensirr_cost.md", render(document), __spec__.name)
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
