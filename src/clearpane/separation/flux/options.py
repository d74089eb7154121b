"""Options shared by the models built on FLUX.1 Kontext."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from clearpane.errors import ClearpaneError
from clearpane.separation.base import SeparatorOptions

Precision = Literal["float32", "bfloat16", "8bit", "nf4"]


@dataclass(frozen=True)
class FluxOptions(SeparatorOptions):
    """Options shared by the models built on FLUX.1 Kontext.

    Attributes:
        weights: folder of the trained weights.
        base: directory or hub name of the base model; None: the one it was trained on.
        steps: number of sampling steps, at least 1.
        seed: random seed of the noise; the same seed gives the same picture.
        precision: number format of the base model's weights.
        device: "cuda", "mps" or "cpu"; None: the first of them that this computer has.
        offload: keep the transformer in main memory, and on the GPU only the block at work: slower.
        on_step: called after each step of a picture with the number of steps done and their total; may raise
            to interrupt.
        title: the model's name in tables.
        pictures: number of photograph-sized pictures that the transformer paints at once.

    Raises:
        ClearpaneError: a value is out of range.
    """

    title: ClassVar[str]
    pictures: ClassVar[int]

    weights: Path
    base: str | None = None
    steps: int = 28
    seed: int = 0
    precision: Precision = "bfloat16"
    device: str | None = None
    offload: bool = False
    on_step: Callable[[int, int], None] = lambda step, steps: None

    def __post_init__(self) -> None:
        check_count("steps", self.steps)


def check_count(field: str, value: int) -> None:
    """Raise ClearpaneError where a field's value is below 1."""
    if value < 1:
        raise ClearpaneError(f"`{field}={value}`: give 1 or more")
