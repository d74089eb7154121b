"""The embedded separator, run by ONNX Runtime without PyTorch."""

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from clearpane.errors import ClearpaneError
from clearpane.images.tiling import PixelRows
from clearpane.separation.compact.options import CompactOptions
from clearpane.separation.confidence import confidence_map
from clearpane.separation.interface import Quality
from clearpane.separation.layers import BandedLayers, Layers
from clearpane.separation.resolution import separate_at_resolution, separate_banded, separate_enlarged
from clearpane.separation.separator import Separator

WEIGHTS_FILE = "compact.onnx"
WEIGHTS = Path(__file__).parent / "weights" / WEIGHTS_FILE
# Larger pictures are shrunk for the network; its result corrects them at their own resolution.
WORKING_PIXELS = 1 << 20
_SMALLEST_SIDE = 16
_LARGEST_MULTIPLE = 1024
# How the runtime says that it got no memory.
_NO_MEMORY = re.compile(r"bad_alloc|bad allocation|AllocateRaw|allocate memory|out of memory", re.IGNORECASE)
# Scales of the additional forward passes of quality "best".
_SMALLER, _LARGER = 0.75, 1.25


class CompactSeparator(Separator):
    """Network that ships with the package, for CPUs.

    It is trained towards the scene without the glass, so ``Layers.transmission`` has that brightness.

    Args:
        weights: The ONNX file.
        threads: Number of CPU threads; None for all that the process may use.

    Raises:
        ClearpaneError: The weights are missing or damaged.
    """

    def __init__(self, weights: Path = WEIGHTS, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _default_threads()
        options.log_severity_level = 4  # errors are raised, and shown in one line
        options.enable_mem_pattern = False  # with the setting below, frees memory between pictures
        if not weights.is_file():
            remedy = "install clearpane again" if weights == WEIGHTS else "name another directory"
            raise ClearpaneError(f"{weights}: the separator's weights are missing; {remedy}")
        try:
            self._session = onnxruntime.InferenceSession(
                str(weights), options, providers=["CPUExecutionProvider"]
            )
            self._run_options = onnxruntime.RunOptions()
            self._run_options.log_severity_level = 4
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            self._multiple = int(self._session.get_modelmeta().custom_metadata_map["multiple"])
            if not 0 < self._multiple <= _LARGEST_MULTIPLE:
                raise ValueError(f"a multiple of {self._multiple}")
        except Exception as error:  # the runtime's exceptions share no base class
            raise ClearpaneError(f"{weights}: the separator's weights cannot be loaded ({error})") from error
        self._weights = weights

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate a picture, clipped to [0, 1]; see `clearpane.separation.separator.Separator.separate`.

        Raises:
            ClearpaneError: The picture is smaller than 16 pixels on a side.
        """
        return self.separate_rows(image, quality=quality, confidence=confidence).whole()

    def separate_rows(
        self, image: PixelRows, *, quality: Quality = "fast", confidence: bool = False
    ) -> BandedLayers:
        """See :meth:`clearpane.separation.interface.RowSeparator.separate_rows`, and `separate`."""
        if len(image.shape) != 3 or image.shape[2] != 3:
            raise ValueError(f"image: expected H x W x 3, got {image.shape}")
        if min(image.shape[:2]) < _SMALLEST_SIDE:
            height, width = image.shape[:2]
            raise ClearpaneError(
                f"the picture is {width} x {height} pixels; the smallest that can be separated is "
                f"{_SMALLEST_SIDE} x {_SMALLEST_SIDE}"
            )
        forward = partial(self._forward, quality=quality, with_confidence=confidence)
        return separate_banded(image, forward, WORKING_PIXELS)

    def _forward(self, image: np.ndarray, quality: Quality, with_confidence: bool) -> Layers:
        """Return the layers of a picture [h, w, 3] at the working resolution."""
        plain = self._network(image)
        if quality == "fast" and not with_confidence:
            return plain
        mirrored = self._mirrored(image)
        layers = plain
        if quality == "best":
            # A picture too small for this scale gets another pass at its own size.
            pixels = round(_SMALLER**2 * image.shape[0] * image.shape[1])
            smaller = separate_at_resolution(image, self._network, pixels)
            larger = separate_enlarged(np.clip(image, 0, 1), self._network, _LARGER)
            passes = (plain, mirrored, smaller, larger)
            layers = Layers(
                _median_of_four([np.clip(one.transmission, 0, 1) for one in passes]),
                _median_of_four([np.clip(one.reflection, 0, 1) for one in passes]),
            )
        return (
            replace(layers, confidence=confidence_map(image, plain, mirrored)) if with_confidence else layers
        )

    def _network(self, image: np.ndarray) -> Layers:
        """Run one forward pass on [h, w, 3] of any size."""
        height, width = image.shape[:2]
        pad = ((0, -height % self._multiple), (0, -width % self._multiple), (0, 0))
        padded = np.pad(np.clip(image, 0, 1), pad, mode="edge").transpose(2, 0, 1)[None]
        feed = {"image": np.ascontiguousarray(padded, np.float32)}
        try:
            outputs = self._session.run(["transmission", "reflection"], feed, self._run_options)
        except Exception as error:  # as above
            if _NO_MEMORY.search(str(error)):
                raise MemoryError from error
            raise ClearpaneError(
                f"{self._weights}: cannot be run on {width} x {height} pixels ({error}); "
                "install clearpane again"
            ) from error
        if any(np.shape(output) != padded.shape for output in outputs):
            raise ClearpaneError(f"{self._weights}: not a separator's weights; install clearpane again")
        transmission, reflection = (x[0].transpose(1, 2, 0)[:height, :width] for x in outputs)
        return Layers(transmission, reflection)

    def _mirrored(self, image: np.ndarray) -> Layers:
        """Separate the mirror image and mirror the layers back."""
        layers = self._network(image[:, ::-1])
        return Layers(layers.transmission[:, ::-1], layers.reflection[:, ::-1])


def load_compact(options: CompactOptions) -> CompactSeparator:
    """Load the embedded separator, or one that clearpane train compact made.

    Raises:
        ClearpaneError: The weights are missing or damaged.
    """
    return CompactSeparator(WEIGHTS if options.weights is None else options.weights / WEIGHTS_FILE)


def _median_of_four(values: list[np.ndarray]) -> np.ndarray:
    """Return the mean of the middle two values per pixel, which ignores one pass that removes too much."""
    middle: np.ndarray = (sum(values) - np.maximum.reduce(values) - np.minimum.reduce(values)) / 2
    return middle


def _default_threads() -> int:
    """Return 0, the runtime's default (all cores), or the number of cores if the process may use fewer."""
    if not hasattr(os, "sched_getaffinity"):  # Linux only
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or usable) else 0
