"""Options of the embedded separator."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clearpane.separation.interface import SeparatorOptions


@dataclass(frozen=True)
class CompactOptions(SeparatorOptions):
    """Options of the embedded separator.

    Attributes:
        weights: Directory that clearpane train compact wrote; None for the weights that come with Clearpane.

    >>> CompactOptions()
    CompactOptions(weights=None)
    """

    maps_confidence: ClassVar[bool] = True

    weights: Path | None = None
