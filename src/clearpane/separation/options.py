"""What every separator offers, and the options that separators are loaded with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from clearpane.separation.layers import Layers

Quality = Literal["fast", "best"]


Precision = Literal["float32", "bfloat16", "8bit", "nf4"]


Model = Literal["compact", "panel", "gensirr"]


Branching = Literal["depth", "depth-and-edges", "residual"]


@dataclass(frozen=True)
class ModelOptions:
    """What the separators built on FLUX.1 Kontext are loaded with; the compact one has no options.

    Attributes:
        weights: folder of what was trained.
        base: directory or hub name of the base model; None: the one it was trained on.
        steps: of sampling.
        seed: of the noise; the same seed gives the same picture.
        precision: of the base model's weights.
        device: "cuda", "mps" or "cpu"; None: the first of them that this computer has.
        offload: keep the transformer in main memory, and on the GPU only the block at work: slower.
        candidates: of GenSIRR, noises to choose from after one step.
        branching: how it chooses; see `clearpane.separation.gensirr.scorers`.
        depth_model: directory or hub name of the depth estimator that it asks; None: Depth Anything V2 small.
        on_step: called after each step of a picture with how many are done, and of how many; may raise to
            interrupt.
    """

    weights: Path | None = None
    base: str | None = None
    steps: int = 28
    seed: int = 0
    precision: Precision = "bfloat16"
    device: str | None = None
    offload: bool = False
    candidates: int = 1
    branching: Branching = "depth"
    depth_model: str | None = None
    on_step: Callable[[int, int], None] = lambda step, steps: None


@runtime_checkable
class Separator(Protocol):
    """Splits a photograph into its layers."""

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate ``image`` (H x W x 3 float32, sRGB, clipped to [0, 1]) of any size from 16 x 16 up.

        The layers are arrays of their own, the caller's to change; ``image`` is left as it is.
        ``quality="best"`` looks several times, up to six times as long.
        With ``confidence``, ``Layers.confidence`` is filled, which takes a second look at the picture; it is
        that of quality "fast".
        """
        ...
