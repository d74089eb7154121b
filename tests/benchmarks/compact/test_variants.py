"""Ways to bring a separation to a large picture, on functions whose result is known."""

import numpy as np
import pytest

from benchmarks.compact.variants import residual, tiles
from clearpane.separation.layers import Layers


def photo(height, width):
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def dim(image):
    """A separation that is the same at every place and size."""
    return Layers(image * 0.5, image * 0.25)


def test_tiles_are_put_together_without_a_seam():
    image = photo(150, 210)
    result = tiles(image, dim, tile=64, overlap=16)
    assert result.transmission == pytest.approx(dim(image).transmission, abs=1e-6)
    assert result.reflection == pytest.approx(dim(image).reflection, abs=1e-6)


def test_the_enlarged_residual_is_exact_for_a_constant_change():
    image = 0.25 + 0.5 * photo(64, 96)
    result = residual(image, lambda small: Layers(small + 0.1, small - 0.2), pixels=32 * 48)
    assert result.transmission == pytest.approx(image + 0.1, abs=1e-5)
    assert result.reflection == pytest.approx(image - 0.2, abs=1e-5)
