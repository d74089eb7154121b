"""Fine-tunes of kontext-small that test GenSIRR's claims, by question."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from benchmarks.flux.equivariance import TRAINED, UNTOUCHED
from benchmarks.flux.panel_cells import SCENE_SEED, SCENE_SIZE

Question = Literal["vae", "embedding", "steps"]
# The same result on every processor.
PRECISION: Literal["float32"] = "float32"
# Noises of each photograph that the metrics are averaged over: one alone moves the mean of val by 0.5 dB.
NOISES = 2
# Sampling steps; more gain nothing with this base.
USUAL_STEPS = 4
BATCH, RATE, REAL_SHARE, SIDE = 8, 1e-3, 0.3, 64
# Largest crop: the whole short side of a real pair, 420 pixels.
ZOOM = 6.5


@dataclass(frozen=True)
class Cell:
    """Fine-tune of the whole transformer.

    Attributes:
        vae: Key of `equivariance.TRAINED`, or untouched.
        embedding: Kind of task embedding; see `clearpane train gensirr`.
        one_step: True to train by regression, without noise.
        steps: Number of steps of `BATCH` photographs.
    """

    vae: str = "with equivariance"
    embedding: Literal["learned", "fixed", "random"] = "learned"
    one_step: bool = False
    steps: int = 250


USUAL = Cell()
CELLS: dict[Question, dict[str, Cell]] = {
    "vae": {name: Cell(vae=name) for name in (UNTOUCHED, *list(TRAINED)[:2])},
    "embedding": {
        "learned, from the sentence on": USUAL,
        "the sentence's own": Cell(embedding="fixed"),
        "learned, from random numbers on": Cell(embedding="random"),
    },
    "steps": {"flow matching": USUAL, "one step, by regression": Cell(one_step=True)},
}
CONTRASTS: dict[Question, tuple[tuple[str, str], ...]] = {
    "vae": (
        ("reconstruction alone", UNTOUCHED),
        ("with equivariance", UNTOUCHED),
        ("with equivariance", "reconstruction alone"),
    ),
    "embedding": (
        ("learned, from the sentence on", "the sentence's own"),
        ("learned, from random numbers on", "the sentence's own"),
        ("learned, from the sentence on", "learned, from random numbers on"),
    ),
    "steps": (("one step, by regression", "flow matching"),),
}
"""Pairs of cells to compare, over the same pictures and seeds."""


def noises_of(seed: int) -> range:
    """Return the noise seeds that a run is scored with; each run has others."""
    return range(1000 * seed, 1000 * seed + NOISES)


def run_key(cell: Cell, seed: int, base: str, vae: str) -> str:
    """Return the key that identifies a run.

    Args:
        base: Digest of the base. vae: Key of the run of its VAE. It is not a digest of its weights: another
            processor rounds differently, and runs would not be recognised on another machine.
    """
    recipe = [BATCH, RATE, REAL_SHARE, SIDE, ZOOM, SCENE_SIZE, SCENE_SEED, PRECISION, NOISES, USUAL_STEPS]
    facts = [asdict(cell), seed, base, vae, *recipe]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    kind = "one_step" if cell.one_step else cell.embedding
    return f"{cell.vae.replace(' ', '_')}-{kind}-{digest}"
