"""Interface of separators and the base class of their options."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from clearpane.images.tiling import PixelRows
from clearpane.separation.layers import BandedLayers, Layers

Quality = Literal["fast", "best"]


@runtime_checkable
class Separator(Protocol):
    """Splits a photograph into its layers.

    >>> from clearpane import load_separator
    >>> isinstance(load_separator(), Separator)
    True
    """

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate ``image`` ([H, W, 3] float32, sRGB, clipped to [0, 1]) of any size from 16 x 16 up.

        The layers are new arrays that the caller may change; ``image`` is left unchanged. ``quality="best"``
        runs several forward passes and takes up to six times as long. ``confidence`` fills
        ``Layers.confidence``, which takes one more forward pass; the map is that of quality "fast".
        """
        ...


@runtime_checkable
class RowSeparator(Protocol):
    """A separator that needs no copy of a large picture: it reads bands of rows, and gives such."""

    def separate_rows(
        self, image: PixelRows, *, quality: Quality = "fast", confidence: bool = False
    ) -> BandedLayers:
        """Separate as `Separator.separate` does; a layer is computed from ``image`` when it is asked for."""
        ...


@dataclass(frozen=True)
class SeparatorOptions:
    """Base class of the models' options; each model adds its fields in a subclass.

    A field without a default is required. Its metadata may hold "origin": a phrase for the error message that
    says where the value comes from.

    Attributes:
        maps_confidence: True if the model can fill ``Layers.confidence``.
    """

    maps_confidence: ClassVar[bool] = False
