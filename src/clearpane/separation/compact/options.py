"""Options of the embedded separator, which has none."""

from dataclasses import dataclass
from typing import ClassVar

from clearpane.separation.interface import SeparatorOptions


@dataclass(frozen=True)
class CompactOptions(SeparatorOptions):
    """Options of the embedded separator, which has none.

    >>> CompactOptions()
    CompactOptions()
    """

    maps_confidence: ClassVar[bool] = True
