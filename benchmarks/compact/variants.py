"""Methods to transfer a separation to a large picture, and a process that runs one of them.

    python -m benchmarks.compact.variants PICTURE.npy NAME WEIGHTS REPEATS [RESULT.npy]

prints the seconds of each run after a warm-up as a JSON list. The picture and the transmission are uint8 [H,
W, 3].
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.compact.tiles import TileBlender
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import LocalCorrection, separate_at_resolution, shrink, working_size

Separate = Callable[[np.ndarray], Layers]
Variant = Callable[[np.ndarray, Separate], Layers]
TILE, OVERLAP = 1024, 128
SHIPPED = "as shipped"


def guided(image: np.ndarray, separate: Separate, pixels: int, radius: int) -> Layers:
    """Run the network at ``pixels``; apply its correction as a gain and offset guided by the picture."""
    return separate_at_resolution(image, separate, pixels, radius)


def residual(image: np.ndarray, separate: Separate, pixels: int) -> Layers:
    """Run the network at ``pixels``; enlarge and add its change."""
    small = shrink(image, *working_size(*image.shape[:2], pixels))
    layers = separate(small)
    gain = np.ones_like(small)
    return Layers(
        LocalCorrection(gain, layers.transmission - small).apply(image),
        LocalCorrection(gain, layers.reflection - small).apply(image),
    )


def tiles(image: np.ndarray, separate: Separate, tile: int = TILE, overlap: int = OVERLAP) -> Layers:
    """Run the network at full resolution in overlapping windowed tiles, each processed alone."""
    blender = TileBlender(*image.shape[:2], tile, overlap, channels=6)
    for window in blender:
        layers = separate(image[window.window])
        blender.add(window, np.concatenate([layers.transmission, layers.reflection], axis=2))
    both = np.clip(blender.result(), 0, 1)
    return Layers(both[..., :3], both[..., 3:])


VARIANTS: dict[str, Variant] = {
    f"tiles of {TILE}, overlap {OVERLAP}": tiles,
    "guided, 1 MP, radius 1": partial(guided, pixels=1 << 20, radius=1),
    "guided, 1 MP, radius 2": partial(guided, pixels=1 << 20, radius=2),
    "guided, 1 MP, radius 4": partial(guided, pixels=1 << 20, radius=4),
    "guided, 0.5 MP, radius 2": partial(guided, pixels=1 << 19, radius=2),
    "guided, 0.25 MP, radius 2": partial(guided, pixels=1 << 18, radius=2),
    "residual, 1 MP": partial(residual, pixels=1 << 20),
    SHIPPED: lambda image, separate: separate(image),
}


def command(
    picture: Path, name: str, weights: Path, repeats: int, result: Path | None = None
) -> list[str | Path]:
    """Return the command that runs one of `VARIANTS` in its own process, from any folder."""
    words = [sys.executable, "-m", "benchmarks.compact.variants", picture, name, weights, str(repeats)]
    return words if result is None else [*words, result]


def main(picture: str, name: str, weights: str, repeats: str, result: str | None = None) -> None:
    separator = CompactSeparator(Path(weights))
    image = np.divide(np.load(picture), np.float32(255), dtype=np.float32)
    # A first run on a crop is a sufficient warm-up where a whole one takes minutes.
    layers = VARIANTS[name](image[:1024, :1024], separator.separate)
    seconds = []
    for _ in range(int(repeats)):
        del layers
        start = time.perf_counter()
        layers = VARIANTS[name](image, separator.separate)
        seconds.append(time.perf_counter() - start)
    if result is not None:
        np.save(result, to_8bit(layers.transmission))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
