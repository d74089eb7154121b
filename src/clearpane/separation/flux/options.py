"""Options shared by the models built on FLUX.1 Kontext."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from clearpane.errors import ClearpaneError
from clearpane.separation.interface import SeparatorOptions

Precision = Literal["float32", "bfloat16", "8bit", "nf4"]


@dataclass(frozen=True)
class FluxOptions(SeparatorOptions):
    """Options shared by the models built on FLUX.1 Kontext.

    Attributes:
        weights: Folder of the trained weights.
        base: Directory or hub name of the base model; None for the one that the weights were trained on.
        steps: Number of sampling steps, at least 1.
        seed: Random seed of the noise; the same seed gives the same picture.
        precision: Number format of the base model's weights.
        device: "cuda", "mps" or "cpu"; None for the first of them that this computer has.
        offload: True to keep the transformer in main memory and move one block at a time to the GPU: slower.
        on_step: Function called after each step of a picture with the number of steps done and their total;
            it may raise to interrupt.
        title: Name of the model in tables.
        pictures: Number of photograph-sized pictures that the transformer paints at once.

    Raises:
        ClearpaneError: A value is out of range.
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
    """Raise ClearpaneError if a field's value is below 1."""
    if value < 1:
        raise ClearpaneError(f"`{field}={value}`: give 1 or more")
