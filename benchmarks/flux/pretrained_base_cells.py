"""Fine-tunes of the small editor on a pretrained latent space."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.flux import gensirr_cells, panel_cells
from benchmarks.flux.pretrained_latents import UNTOUCHED

EQUIVARIANT = "LoRA, with equivariance"
BRANCHES = 4
"""Candidates of the early branching."""


@dataclass(frozen=True)
class Cell:
    """Settings of a fine-tune.

    Attributes:
        editor: The panel, T alone from I, or GenSIRR.
        scene: Index of the scene to learn by heart, of those that panel.py trains on.
        vae: Autoencoder: `UNTOUCHED`, or a key of `pretrained_latents.TRAINED`.
        learned: True to train GenSIRR's task embedding too.
    """

    editor: Literal["panel", "T alone", "GenSIRR"]
    scene: int | None = None
    vae: str = UNTOUCHED
    learned: bool = False

    @property
    def pictures(self) -> list[Any]:
        """What decides a cell's latents, besides the seed of a LoRA."""
        return [self.editor, self.scene, self.vae]

    @property
    def key(self) -> str:
        """Name of a cell's files."""
        return digest_of(asdict(self))


CELLS = {
    "panel": Cell("panel"),
    "T alone": Cell("T alone"),
    "by heart: the first scene": Cell("panel", scene=0),
    "by heart: the one that kontext-small's VAE shows best": Cell("panel", scene=129),
    "GenSIRR": Cell("GenSIRR", vae=EQUIVARIANT, learned=True),
    "GenSIRR, latents as they are": Cell("GenSIRR", learned=True),
    "GenSIRR, the sentence's own embedding": Cell("GenSIRR", vae=EQUIVARIANT),
}

# The same fine-tunes of kontext-small, in panel.json and gensirr.json.
PANEL_TWINS = {
    "panel": panel_cells.USUAL,
    "T alone": panel_cells.CELLS["target"]["T alone, as many photographs"],
    "by heart: the first scene": panel_cells.CELLS["overfit"]["the first scene"],
    "by heart: the one that kontext-small's VAE shows best": panel_cells.CELLS["overfit"][
        "the scene that the VAE shows best"
    ],
}
GENSIRR_TWINS = {
    "GenSIRR": gensirr_cells.USUAL,
    "GenSIRR, latents as they are": gensirr_cells.CELLS["vae"]["untouched"],
    "GenSIRR, the sentence's own embedding": gensirr_cells.CELLS["embedding"]["the sentence's own"],
}


def digest_of(facts: Any) -> str:
    """Hash a file's contents, or facts that JSON can write."""
    content = facts.read_bytes() if isinstance(facts, Path) else json.dumps(facts).encode()
    return hashlib.sha256(content).hexdigest()[:12]
