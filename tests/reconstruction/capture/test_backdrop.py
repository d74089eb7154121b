"""Objects before plain backdrops, cut out without a network."""

import sys

import numpy as np
import pytest

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter

pytest.importorskip("skimage")

HEIGHT, WIDTH = 120, 160
ROW, COLUMN = np.mgrid[:HEIGHT, :WIDTH] + 0.5
BALL = (ROW - 60) ** 2 + (COLUMN - 80) ** 2 < 35**2
BACKDROPS = {
    "grey": np.full((HEIGHT, WIDTH, 3), 0.6),
    "white": np.ones((HEIGHT, WIDTH, 3)),
    "shaded": (0.35 + 0.5 * ROW / HEIGHT + 0.1 * COLUMN / WIDTH)[..., None] * [1.0, 0.97, 0.9],
    "wall and table": np.where((ROW > 75)[..., None], [0.35, 0.3, 0.28], [0.7, 0.75, 0.8]),
}


def before(backdrop: np.ndarray, inside: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Something shaded before a backdrop, with a camera's noise."""
    shaded = np.asarray(colour) * (0.4 + 0.6 * COLUMN / WIDTH)[..., None]
    noise = np.random.default_rng(0).normal(0, 0.01, (HEIGHT, WIDTH, 3))
    return (np.where(inside[..., None], shaded, backdrop) + noise).clip(0, 1).astype(np.float32)


def overlap(mask: np.ndarray, inside: np.ndarray) -> float:
    return float(((mask > 0.5) & inside).sum() / ((mask > 0.5) | inside).sum())


@pytest.mark.parametrize("backdrop", BACKDROPS)
@pytest.mark.parametrize("colour", [(0.8, 0.2, 0.1), (0.1, 0.4, 0.2)])
def test_a_ball_is_cut_out(backdrop: str, colour: tuple[float, float, float]) -> None:
    mask = backdrop_segmenter(before(BACKDROPS[backdrop], BALL, colour))
    assert mask.shape == BALL.shape and mask.min() >= 0 and mask.max() <= 1
    assert overlap(mask, BALL) > 0.96


def test_large_pictures_are_looked_at_small_and_their_masks_are_not() -> None:
    large = before(BACKDROPS["grey"], BALL, (0.8, 0.2, 0.1)).repeat(20, 0).repeat(20, 1)
    mask = backdrop_segmenter(large)
    assert mask.shape == (20 * HEIGHT, 20 * WIDTH)
    assert overlap(mask, BALL.repeat(20, 0).repeat(20, 1)) > 0.97


def test_spots_like_the_backdrop_are_filled_and_handles_stay_open() -> None:
    spot = (ROW - 60) ** 2 + (COLUMN - 80) ** 2 < 3**2
    label = (ROW - 45) ** 2 + (COLUMN - 85) ** 2 < 12**2
    picture = before(BACKDROPS["grey"], BALL & ~spot, (0.8, 0.2, 0.1))
    picture[label] = 0.635  # nearly the backdrop's colour, but not quite
    assert overlap(backdrop_segmenter(picture), BALL) > 0.96
    cup = BALL & ~label
    clean = np.where(cup[..., None], [0.8, 0.2, 0.1], 0.6).astype(np.float32)
    for picture in (before(BACKDROPS["grey"], cup, (0.8, 0.2, 0.1)), clean):
        assert overlap(backdrop_segmenter(picture), cup) > 0.96


def test_what_reaches_out_of_the_picture_is_the_object_and_crumbs_are_not() -> None:
    stand = BALL | ((np.abs(COLUMN - 80) < 12) & (ROW > 60))
    crumbs = (np.abs(COLUMN - 20) < 3) & (np.abs(ROW - 20) < 3)
    picture = before(BACKDROPS["white"], stand | crumbs, (0.3, 0.3, 0.5))
    mask = backdrop_segmenter(picture)
    assert overlap(mask, stand) > 0.96 and not (mask[crumbs] > 0.5).any()


def test_what_cannot_be_told_apart_is_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ClearpaneError, match=r"backdrop is not plain.*give masks"):
        backdrop_segmenter(generator.random((HEIGHT, WIDTH, 3), np.float32).round())
    with pytest.raises(ClearpaneError, match="nothing stands out from the backdrop; give masks"):
        backdrop_segmenter(before(BACKDROPS["shaded"], np.zeros_like(BALL), (0.8, 0.2, 0.1)))
    inner = (np.abs(COLUMN - 80) < 78) & (np.abs(ROW - 60) < 58)
    with pytest.raises(ClearpaneError, match="cannot be distinguished from the backdrop"):
        backdrop_segmenter(np.where(inner[..., None], [0.9, 0.1, 0.1], 1.0).astype(np.float32))


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    with pytest.raises(MissingExtraError, match=r"clearpane\[3d\]"):
        backdrop_segmenter(before(BACKDROPS["grey"], BALL, (0.8, 0.2, 0.1)))
