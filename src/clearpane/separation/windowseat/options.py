"""Options of WindowSeat."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clearpane.separation.flux.options import Precision
from clearpane.separation.interface import SeparatorOptions

Tiling = Literal["short-side", "full-size"]


@dataclass(frozen=True)
class WindowseatOptions(SeparatorOptions):
    """Options of WindowSeat.

    Attributes:
        weights: Directory or hub name of WindowSeat's repository.
        base: Directory or hub name of the base model, Qwen-Image-Edit-2509; None for the one that the
            repository names.
        tiling: Size at which the model works. ``short-side``: the photograph's short side is brought to the
            side of a tile, so that one row of tiles covers it. ``full-size``: the photograph keeps its size,
            and tiles cover it; one whose short side is below a tile's is enlarged.
        precision: Number format of the base model's weights.
        device: "cuda", "mps" or "cpu"; None for the first of them that this computer has.
        on_step: Function called after each tile with the number of tiles done and their total; it may raise
            to interrupt.

    >>> WindowseatOptions(Path("windowseat")).precision
    'nf4'
    """

    weights: Path | str = field(
        metadata={"origin": "the directory or the hub name of WindowSeat's repository"}
    )
    base: str | None = None
    tiling: Tiling = "short-side"
    precision: Precision = "nf4"
    device: str | None = None
    on_step: Callable[[int, int], None] = lambda tile, tiles: None
