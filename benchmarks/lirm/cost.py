"""Calculate the cost of LIRM at the paper's size, without weights, checked on small models.

    python -m benchmarks.lirm.cost

Counts the floating-point operations of the exact configuration on tensors without data, by rounds of the
update, and estimates memory by a rule that is checked on small models. Writes
docs/figures/lirm_cost.{md,json}. Needs the extra [train].
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.peak_memory import PeakMemory
from clearpane.evaluation.tables import write_text
from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm, LirmConfig, Views

VIEWS, SIDE, ROUNDS = 8, 512, 3
# Peak memory of a block over tokens x width x bytes, including the residual stream; see the table of checks.
ACCOUNT = 18
# Seconds per reconstruction that the paper gives.
_TARGET = 0.3
SMALL = ((256, 4, 4, 128), (384, 6, 4, 128), (256, 12, 8, 128))


@dataclass(frozen=True)
class Options:
    """Calculate the cost of LIRM."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of lirm_cost.md and lirm_cost.json."""


def blank_views(count: int, side: int) -> Views:
    """Make empty views on the default device."""
    cameras = Cameras(torch.eye(4).expand(1, count, 4, 4), torch.ones(1, count, 4), side, side)
    return Views(torch.zeros(1, count, 3, side, side), torch.zeros(1, count, 1, side, side), cameras)


def token_count(config: LirmConfig, views: int, side: int) -> int:
    """Count the tokens of a round: of the views, the planes and the panoramas."""
    panoramas = config.panoramas * config.panorama_side**2 if config.encoding == "panoramas" else 0
    return views * (side // config.patch) ** 2 + 6 * config.plane_side**2 + panoramas


@torch.no_grad()
def count_operations(config: LirmConfig) -> dict[str, float]:
    """Count the operations of the pass over the views, and of the planes and panoramas made from it."""
    with torch.device("meta"):
        lirm, views = Lirm(config), blank_views(VIEWS, SIDE)
        with FlopCounterMode(display=False) as looking:
            memory = lirm.observe(views)
        with FlopCounterMode(display=False) as making:
            lirm.fields(memory)
    weights = sum(p.numel() for p in lirm.parameters())
    return {
        "looking": looking.get_total_flops(),
        "making": making.get_total_flops(),
        "weights": weights,
        "tokens": token_count(config, VIEWS, SIDE),
    }


@torch.no_grad()
def measure_peaks() -> list[dict[str, Any]]:
    """Measure the largest sum of tensors alive at once in each round, as a multiple of the estimate's
    unit."""
    rows = []
    for width, blocks, views, side in SMALL:
        config = replace(LIRM_SMALL, patch=8, width=width, blocks=blocks, heads=width // 64, evidence=0)
        lirm = Lirm(config).to(torch.bfloat16)
        blank = blank_views(views, side)
        blank = Views(blank.pictures.bfloat16(), blank.masks.bfloat16(), blank.cameras)
        tokens, memory = token_count(config, views, side), None
        multiples = []
        for _ in range(ROUNDS):
            with PeakMemory(lirm) as peak:
                memory = lirm.observe(blank, memory)
            multiples.append(peak.peak / (tokens * width * 2))
        rows.append({"width": width, "blocks": blocks, "tokens": tokens, "multiples": multiples})
    return rows


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    full, config = document["operations"], LirmConfig()
    operations = full["looking"] + full["making"]
    unit = full["tokens"] * config.width * 2
    planes = 6 * config.channels * (config.plane_side * config.plane_stride) ** 2 * 4
    remembered = (6 * config.plane_side**2 + config.panoramas * config.panorama_side**2) * config.width * 2
    rows = [
        [
            str(n),
            f"{n * operations / 1e12:.0f}",
            f"{(2 * full['weights'] + ACCOUNT * unit + planes) / 1e9:.2f}",
        ]
        for n in range(1, ROUNDS + 1)
    ]
    checks = [
        [
            f"width {r['width']}, {r['blocks']} blocks, {r['tokens']} tokens",
            *(f"{value:.1f}" for value in r["multiples"]),
        ]
        for r in document["peaks"]
    ]
    return (
        "# LIRM at the paper's size, calculated\n\n"
        f"No GPU was available: nothing here is a measurement on one. {full['weights'] / 1e6:.0f} M "
        f"parameters in bfloat16, {VIEWS} views of {SIDE} x {SIDE} pixels per round, {full['tokens']} "
        "tokens.\n\n"
        + table(["rounds", "TFLOP", "peak memory, GB"], rows)
        + f"\nBetween rounds {remembered / 1e6:.0f} MB are kept, however many rounds there were. The paper "
        f"gives {_TARGET} s per reconstruction: for one round that is {operations / _TARGET / 1e12:.0f} "
        f"TFLOP per second, sustained; {document['attention_share'] * 100:.0f} % of the operations are "
        "attention of all tokens to all.\n\n"
        "## The memory estimate on small models\n\n"
        "The largest sum of tensors alive at once, as a multiple of tokens x width x bytes. The estimate "
        f"uses {ACCOUNT}.\n\n"
        + table(["model", *(f"round {n}" for n in range(1, ROUNDS + 1))], checks)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Calculate everything."""
    config = LirmConfig()
    operations = count_operations(config)
    attention = 4 * operations["tokens"] ** 2 * config.width * config.blocks
    document = {
        "operations": operations,
        "attention_share": attention / (operations["looking"] + operations["making"]),
        "peaks": measure_peaks(),
        "machine": describe_machine(),
    }
    write_text(options.output / "lirm_cost.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "lirm_cost.md", render(document), __spec__.name)
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
