from itertools import pairwise

import numpy as np
import pytest

from clearpane.separation.windowseat.tiles import Tiles


@pytest.mark.parametrize("length", [96, 97, 128, 129, 300, 1000])
def test_tiles_cover_a_side_and_overlap_enough(length):
    starts = Tiles(96, 64).starts(length)
    assert starts[0] == 0 and starts[-1] + 96 == length
    assert all(0 < b - a <= 32 for a, b in pairwise(starts))


def test_published_tiles():
    published = Tiles(768, 64)
    assert published.starts(768) == [0]
    assert published.starts(1472) == [0, 704]  # two tiles with 64 pixels in common
    assert len(published.places(1024, 1536)) == 2 * 3


def test_tiles_are_joined_without_seams():
    picture, tiles = np.random.default_rng(0).random((150, 300, 3), dtype=np.float32), Tiles(96, 64)
    same, half = tiles.map(picture, lambda tile: (tile, tile / 2))
    np.testing.assert_allclose(same, picture, atol=1e-6)
    np.testing.assert_allclose(half, picture / 2, atol=1e-6)
    # Tiles that differ in brightness fade into each other, without a step.
    levels = iter(np.linspace(0, 1, len(tiles.places(96, 300)), dtype=np.float32))
    (faded,) = tiles.map(picture[:96], lambda tile: [0 * tile + next(levels)])
    assert np.abs(np.diff(faded, axis=1)).max() < 0.02
    assert (faded[:, 0] == 0).all() and (faded[:, -1] == 1).all()
