"""Take the reflections out of photographs through glass, at one exposure for all of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import reaches_frame
from clearpane.optics.color import linear_to_srgb, srgb_to_linear

Remover = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Function from a photograph [H, W, 3], sRGB in [0, 1], to the scene behind the glass and the reflection.

Both have the photograph's shape, as in `clearpane.separation.layers.Layers`.
"""

# Linear light of the pixels whose brightness is compared: neither noise nor clipped. Fewest such pixels.
_DARK, _BRIGHT, _FEWEST = 0.01, 0.95, 64
# Share of them, those with the least reflection.
_CLEAREST = 0.3
# Factors beyond these come from a failure, not from a pane.
_LEAST_GAIN, _LARGEST_GAIN = 0.5, 2.0


class GlassRemoval:
    """Take the reflections out of photographs, and track how the model changes their brightness.

    A model that undoes the pane's loss of light does so by a guess from each picture alone, which makes some
    views brighter than others. All views get the median of the guesses instead, relative to their
    photographs' exposure: the pane and its loss are the same in all.

    Args:
        remover: Model.
    """

    def __init__(self, remover: Remover) -> None:
        self._remover = remover
        self._gains: dict[Path, float] = {}

    def separated(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """Return a photograph without its reflection, as bright as the model makes it.

        Args:
            pixels: Photograph [H, W, 3], sRGB in [0, 1].
            path: Its file, which identifies it.

        Returns:
            [H, W, 3], sRGB in [0, 1].

        Raises:
            ClearpaneError: The model cannot separate it.
        """
        try:
            scene, reflection = self._remover(np.ascontiguousarray(pixels, np.float32))
        except ClearpaneError as error:
            raise ClearpaneError(f"{path}: {error}") from error
        self._gains[path] = brightness_gain(pixels, scene, reflection)
        return scene

    def leave_out(self, path: Path) -> None:
        """Let a photograph that was separated not count for the exposure of the others."""
        self._gains.pop(path, None)

    def exposed(self, scene: np.ndarray, path: Path) -> np.ndarray:
        """Give a separated photograph the exposure of all, after the last was separated.

        Args:
            scene: What `separated` returned.
            path: Its file.
        """
        return brightened(scene, float(np.median(list(self._gains.values()))) / self._gains[path])


def brightness_gain(photograph: np.ndarray, scene: np.ndarray, reflection: np.ndarray) -> float:
    """Estimate by what factor a model changed the brightness of the scene behind the glass.

    The factor is the median of ``T / (I - R)``, in linear light, over the pixels with the least reflection.
    It is one number for all channels: clear glass is grey, and a reflection's colour that is left in T would
    pass for the pane's in a factor for each channel.

    Args:
        photograph, scene, reflection: I, T and R [H, W, 3], sRGB in [0, 1].
    """
    light, kept, added = (srgb_to_linear(x).mean(-1).ravel() for x in (photograph, scene, reflection))
    behind = light - added
    usable = (behind > _DARK) & (light < _BRIGHT)
    if usable.sum() < _FEWEST:
        return 1.0
    share = added[usable] / light[usable]
    clear = share <= np.quantile(share, _CLEAREST)
    gain = np.median(kept[usable][clear] / behind[usable][clear])
    return float(np.clip(gain, _LEAST_GAIN, _LARGEST_GAIN))


def brightened(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the light of a picture, sRGB, and clip it to [0, 1]."""
    return linear_to_srgb((srgb_to_linear(pixels) * factor).clip(0, 1)).astype(np.float32)


def cut_by_frame(masks: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Warn if the pictures' edge cuts the object in most of the masks [H, W]."""
    cut = sum(reaches_frame(mask) for mask in masks)
    if 2 * cut <= len(masks):
        return ()
    return (
        f"in {cut} of {len(masks)} photographs the object reaches the picture's edge; what lies beyond it is "
        "guessed. Step back, or move the camera until pane and picture show the whole object",
    )
