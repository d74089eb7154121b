"""Define what separators share besides their base class: quality, bands of rows, options."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from clearpane.images.tiling import PixelRows
from clearpane.separation.layers import BandedLayers

Quality = Literal["fast", "best"]


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
