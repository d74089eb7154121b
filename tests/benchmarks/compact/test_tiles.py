import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compact.tiles import TileBlender, tile_windows

sizes = st.integers(16, 150)
tilings = st.integers(8, 64).flatmap(lambda t: st.tuples(st.just(t), st.integers(0, t // 2)))


def plain_blend(height, width, tiles, tile, values):
    """The slow twin: every pixel's weighted mean, its weight a product over the overlaps it lies in."""
    tops, lefts = sorted({t.top for t in tiles}), sorted({t.left for t in tiles})

    def weight(x, start, stop, starts, end):
        w = 1.0
        k = starts.index(start)
        if k > 0:
            shared = min(starts[k - 1] + tile, end) - start
            if x - start < shared:
                w *= np.sin(np.pi / 2 * (x - start + 0.5) / shared) ** 2
        if k + 1 < len(starts):
            shared = stop - starts[k + 1]
            if stop - x <= shared:
                w *= np.sin(np.pi / 2 * (stop - x - 0.5) / shared) ** 2
        return w

    out = np.zeros((height, width, 1))
    for y in range(height):
        for x in range(width):
            total = 0.0
            for t, v in zip(tiles, values, strict=True):
                if t.top <= y < t.bottom and t.left <= x < t.right:
                    w = weight(y, t.top, t.bottom, tops, height) * weight(x, t.left, t.right, lefts, width)
                    out[y, x] += w * v[y - t.top, x - t.left]
                    total += w
            out[y, x] /= total
    return out


@given(sizes, sizes, tilings)
def test_the_windows_cover_the_picture_and_overlap(height, width, tiling):
    tile, overlap = tiling
    tiles = tile_windows(height, width, tile, overlap)
    covered = np.zeros((height, width), int)
    for t in tiles:
        assert t.bottom - t.top == min(tile, height)
        assert t.right - t.left == min(tile, width)
        covered[t.window] += 1
    assert covered.min() >= 1
    for starts in (sorted({t.top for t in tiles}), sorted({t.left for t in tiles})):
        assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


@given(sizes, sizes, tilings, st.integers(0, 2**32 - 1))
def test_unchanged_tiles_give_the_picture_back(height, width, tiling, seed):
    picture = np.random.default_rng(seed).random((height, width, 3), np.float32)
    blender = TileBlender(height, width, *tiling)
    for tile in blender:
        blender.add(tile, picture[tile.window])
    np.testing.assert_allclose(blender.result(), picture, atol=5e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40), tilings, st.integers(0, 2**32 - 1))
def test_changed_tiles_blend_as_in_the_plain_twin(height, width, tiling, seed):
    rng = np.random.default_rng(seed)
    blender = TileBlender(height, width, *tiling, channels=1)
    values = [rng.random((t.bottom - t.top, t.right - t.left, 1), np.float32) for t in blender]
    for tile, value in zip(blender, values, strict=True):
        blender.add(tile, value)
    expected = plain_blend(height, width, blender.tiles, tiling[0], values)
    np.testing.assert_allclose(blender.result(), expected, atol=1e-6)


def test_two_tiles_that_disagree_meet_without_a_step():
    blender = TileBlender(32, 96, tile=64, overlap=32, channels=1)
    for value, tile in enumerate(blender):
        blender.add(tile, np.full((32, 64, 1), value, np.float32))
    row = blender.result()[0, :, 0]
    assert row[0] == 0 and row[-1] == 1
    assert np.abs(np.diff(row)).max() < 0.06


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="half the tile"):
        tile_windows(64, 64, 32, 17)
    blender = TileBlender(64, 64, 32, 8)
    first = blender.tiles[0]
    with pytest.raises(ValueError, match="expected"):
        blender.add(first, np.zeros((31, 32, 3), np.float32))
    blender.add(first, np.zeros((32, 32, 3), np.float32))
    with pytest.raises(ValueError, match="still missing"):
        blender.add(first, np.zeros((32, 32, 3), np.float32))
    with pytest.raises(ValueError, match="are missing"):
        blender.result()
