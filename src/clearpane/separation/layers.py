"""The result of a separation."""

from dataclasses import dataclass, fields

import numpy as np

from clearpane.images.tiling import PixelRows, whole


@dataclass(frozen=True)
class BandedLayers:
    """Layers of a photograph taken through glass, in memory or computed when needed.

    Both layers are [H, W, 3] float32, sRGB, in bands of rows; they lie in [0, 1] if the photograph does.

    Attributes:
        transmission: Scene behind the glass. Embedded separators are trained towards the brightness of
            the scene without the glass (B in docs/conventions.md), the panel towards the physical T.
        reflection: Light that the glass adds, as seen on the glass: in linear light about I - T.
        confidence: [H, W] float32 in [0, 1], if requested: estimated probability that the transmission is
            within 0.1 of the truth (see `clearpane.separation.confidence`).
        notes: Sentences on everything that was done otherwise than requested.
        reflection_note: Origin of the reflection if the separator does not separate it itself.
    """

    transmission: PixelRows
    reflection: PixelRows
    confidence: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    reflection_note: str | None = None

    def __post_init__(self) -> None:
        for name in ("transmission", "reflection"):
            shape = getattr(self, name).shape
            if len(shape) != 3 or shape[2] != 3:
                raise ValueError(f"{name}: expected H x W x 3, got {shape}")
        if self.transmission.shape != self.reflection.shape:
            raise ValueError(f"layers differ in size: {self.transmission.shape} and {self.reflection.shape}")
        if self.confidence is not None and self.confidence.shape != self.transmission.shape[:2]:
            raise ValueError(
                f"confidence: expected {self.transmission.shape[:2]}, got {self.confidence.shape}"
            )

    def whole(self) -> "Layers":
        """Return the same layers as arrays."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        arrays = {"transmission": whole(self.transmission), "reflection": whole(self.reflection)}
        return Layers(**{**values, **arrays})


@dataclass(frozen=True)
class Layers(BandedLayers):
    """Layers of a photograph taken through glass, as arrays [H, W, 3].

    >>> light = np.full((2, 3, 3), 0.5, np.float32)
    >>> Layers(transmission=light, reflection=0 * light).confidence is None
    True
    """

    transmission: np.ndarray
    reflection: np.ndarray
