"""What every separator offers, and how one is found by its name."""

from typing import Literal, Protocol, runtime_checkable

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.separation.layers import Layers

Quality = Literal["fast", "best"]
SEPARATORS = ("compact",)


@runtime_checkable
class Separator(Protocol):
    """Splits a photograph into its layers."""

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate ``image`` (H x W x 3 float32, sRGB, clipped to [0, 1]) of any size from 16 x 16 up.

        The layers are arrays of their own, the caller's to change; ``image`` is left as it is.
        ``quality="best"`` takes the median over a self-ensemble, up to six times as long.
        With ``confidence``, ``Layers.confidence`` is filled, which takes a second look at the picture; it is
        that of quality "fast".
        """
        ...


def load_separator(name: str = "compact") -> Separator:
    """Load a separator once, to be used for many pictures.

    Raises:
        ClearpaneError: there is no separator of that name.
    """
    if name == "compact":
        from clearpane.separation.compact.runtime import CompactSeparator

        return CompactSeparator()
    raise ClearpaneError(f"unknown separator {name!r}; known are: {', '.join(SEPARATORS)}")
