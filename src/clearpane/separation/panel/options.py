"""Options of the panel."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from clearpane.separation.flux.options import FluxOptions


@dataclass(frozen=True)
class PanelOptions(FluxOptions):
    """Options of the panel; ``weights`` is the folder that clearpane train panel wrote.

    >>> PanelOptions(Path("panel"), steps=4).precision
    'bfloat16'
    """

    title: ClassVar[str] = "Panel"
    pictures: ClassVar[int] = 3

    weights: Path = field(metadata={"origin": "the folder that clearpane train panel wrote"})
