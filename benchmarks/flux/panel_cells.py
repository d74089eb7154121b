"""Fine-tunes of kontext-small that show what the panel learns from, by question."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.common.linear_light import linear_light_blend
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE
from clearpane.synthesis.blending import (
    ceilnet_blend,
    dsrnet_blend,
    rdnet_blend,
    zhang_blend,
)
from clearpane.synthesis.dataset.shards import PANEL_CAPTION

Question = Literal["overfit", "data", "caption", "samples", "full", "target", "side", "length"]
BLENDS = {
    "CEILNet's and ERRNet's blend": ceilnet_blend,
    "Zhang's and IBCLN's blend": zhang_blend,
    "DSRNet's blend": dsrnet_blend,
    "RDNet's blend": rdnet_blend,
    "linear-light blend": linear_light_blend,
}
# Short name, number and renderer; the first 200 are those of ablation.py.
RENDERED = {
    "analytic scenes": ("analytic", 300, ("analytic",)),
    "path-traced scenes": ("traced", 200, ("mitsuba", "--samples", "64", "--denoise")),
}
SCENE_SIZE, SCENE_SEED = 160, 11
RANK, BATCH, AVERAGE = 16, 8, 0.99
LORA_RATE, FULL_RATE = 3e-3, 1e-3


@dataclass(frozen=True)
class Cell:
    """Settings of a fine-tune.

    Attributes:
        data: Key of `BLENDS` or `RENDERED`.
        samples: Number of training photographs.
        caption: Sentence given to the model.
        full: True to train the whole transformer instead of a LoRA.
        target: Output: the panel, or T alone from I.
        side: Side of each picture, pixels.
        steps: Number of steps of `BATCH` photographs.
        scene: Index of the scene in the data, if there is only one.
    """

    data: str = "analytic scenes"
    samples: int = 200
    caption: str = PANEL_CAPTION
    full: bool = False
    target: Literal["panel", "transmission"] = "panel"
    side: int = 64
    steps: int = 400
    scene: int = 0


USUAL = Cell()
# Cells by question, each under its name in the table.
CELLS: dict[Question, dict[str, Cell]] = {
    "overfit": {
        "the first scene": Cell(samples=1),
        # The one of the usual 200 for which the VAE reproduces the worse of T and R best.
        "the scene that the VAE shows best": Cell(samples=1, scene=129),
    },
    "data": {
        **{f"200 of {name}": Cell(data=name) for name in BLENDS},
        "200 analytic scenes": USUAL,
        "the same scenes path-traced": Cell(data="path-traced scenes"),
    },
    "caption": {"the caption": USUAL, "an empty one": Cell(caption="")},
    "samples": {str(n): Cell(samples=n) for n in (10, 50, 100, 200, 300)},
    "full": {"LoRA": USUAL, "the whole transformer": Cell(full=True)},
    "target": {
        "panel": USUAL,
        "T alone, as many photographs": Cell(target="transmission"),
        # 448 tokens per step against 192, of the picture, the reference and the text.
        "T alone, as many tokens": Cell(target="transmission", steps=USUAL.steps * 7 // 3),
    },
    "side": {f"{side} x {side}": Cell(side=side) for side in (48, 64, 96)},
    "length": {"400 steps": USUAL, "1,200 steps": Cell(steps=1200)},
}
# Cells that a claim rests on, which are therefore trained with several seeds.
CLAIMED = {
    CELLS["data"]["200 of linear-light blend"],
    CELLS["data"]["the same scenes path-traced"],
    *(cell for question in ("caption", "full", "target") for cell in CELLS[question].values()),
}
TITLES: dict[Question, str] = {
    "overfit": "Overfitting one scene",
    "data": "Blends against rendered glass",
    "caption": "The fixed sentence",
    "samples": "Number of scenes",
    "full": "LoRA against a full fine-tune",
    "target": "The panel against T alone",
    "side": "Size of the panel's pictures",
    "length": "Length of training",
}
# Cell that the others of a table are compared with.
BASELINES: dict[Question, str] = {
    "data": "200 analytic scenes",
    "caption": "the caption",
    "samples": "200",
    "full": "LoRA",
    "target": "panel",
    "side": "64 x 64",
    "length": "400 steps",
}


def base_digest(base: Path) -> str:
    """Hash all weights of a small base, since a run depends on its VAE and text encoders too."""
    digest = hashlib.sha256()
    for path in sorted(base.glob("*/*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run_key(cell: Cell, seed: int, base: str) -> str:
    """Return the key of a run: its cell, seed, recipe and base."""
    recipe = [RANK, BATCH, AVERAGE, DEFAULT_GUIDANCE, learning_rate(cell), SCENE_SIZE, SCENE_SEED]
    digest = hashlib.sha256(json.dumps([asdict(cell), seed, base, recipe]).encode()).hexdigest()[:12]
    return f"{cell.target}-{cell.samples}-{cell.side}-{cell.steps}-{digest}"


def learning_rate(cell: Cell) -> float:
    """Return the peak learning rate of a cell."""
    return FULL_RATE if cell.full else LORA_RATE


def zoom(cell: Cell) -> float:
    """Return the zoom at which a training picture's largest crop is the whole scene, whatever the size."""
    return SCENE_SIZE / cell.side
