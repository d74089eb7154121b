"""The pixels that a fit is made to, and those that it is judged by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator

from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.fitting import kept_rays, refine
from clearpane.reconstruction.fitting.kept_rays import no_rays, ray_tensors, rays_of
from clearpane.reconstruction.fitting.true_rays import TrueRays, held_out_pixels, object_rays

from ..conftest import orbit, sphere_views


@pytest.fixture(scope="module")
def capture() -> Capture:
    cameras = orbit(6)
    pictures, masks = sphere_views(cameras)
    return Capture(pictures, masks, cameras, tuple("abcdef"), Placement(np.zeros(3), np.eye(3), 1.0))


def test_whole_blocks_of_pixels_are_held_out(capture: Capture) -> None:
    whole = replace(capture, masks=torch.ones_like(capture.masks))
    held_out = held_out_pixels(whole, Generator().manual_seed(0)).reshape(6, 16, 2, 16, 2)
    blocks = held_out[:, :, :1, :, :1]
    assert (held_out == blocks).all() and blocks.sum() == round(0.04 * 6 * 16**2)
    few = held_out_pixels(capture, Generator().manual_seed(0))
    assert len(few) == len(object_rays(capture)) and 0.02 < few.float().mean() < 0.06


def test_no_step_sees_the_pixels_that_a_fit_is_judged_by(capture: Capture) -> None:
    earlier = TrueRays(*(x[:50] + 7 for x in vars(object_rays(capture)).values()))
    fitted, judging = refine._rays(capture, earlier, Generator().manual_seed(0))
    seen, held_out = ({tuple(pixel) for pixel in rays.directions.tolist()} for rays in (fitted, judging))
    assert len(held_out) == len(judging) > 50 and not seen & held_out
    assert len(fitted) + len(judging) == len(object_rays(capture)) + 50
    assert set(map(tuple, earlier.directions.tolist())) < seen  # and those of earlier views


def test_a_sample_of_pixels_has_one_size_and_an_equal_share_of_each_view(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rays, "KEPT", 600)
    generator = Generator().manual_seed(0)

    def numbered(views: list[int]) -> Capture:
        """Views of the ball whose blue is their number."""
        pictures = capture.pictures[views].clone()
        pictures[:, 2] = torch.tensor(views)[:, None, None] / 10
        part = replace(capture, pictures=pictures, masks=capture.masks[views], cameras=capture.cameras[views])
        return replace(part, names=tuple(map(str, views)))

    first = no_rays().with_views(numbered([0, 1, 2]), generator)
    both = first.with_views(numbered([3, 4, 5]), generator)
    assert (len(first.rays), first.views, len(both.rays), both.views) == (600, 3, 600, 6)
    counts = (both.rays.colours[:, 2] * 10).round().long().bincount(minlength=6)
    assert (counts > 70).all() and counts[:3].sum() == 300
    restored = rays_of(ray_tensors(both.rays))
    assert torch.equal(restored.directions, both.rays.directions)
    torch.testing.assert_close(restored.colours, both.rays.colours, rtol=0, atol=0.5 / 255 + 1e-6)
    # Beside a new view, each of the earlier ones has as many pixels as it.
    beside = both.beside(numbered([0]))
    assert len(beside) / 6 == pytest.approx(len(object_rays(numbered([0]))), rel=0.3)
