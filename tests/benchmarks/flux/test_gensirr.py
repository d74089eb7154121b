"""Blends of rendered rooms."""

import torch

from benchmarks.flux import gensirr


def test_blended_rooms_know_which_scene_is_farther():
    pictures = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    depth = torch.tensor([2.0, 5.0, 3.0, 4.0])[:, None, None].expand(-1, 8, 8)
    blends = gensirr.blend_rooms({"pictures": pictures, "depth": depth}, 2)
    assert blends.farther.tolist() == [True, False]
    torch.testing.assert_close(blends.truths, pictures[:2] / 255, atol=1e-5, rtol=0)
    lower, upper = (torch.stack([pictures[:2], pictures[2:]]) / 255 for _ in range(2))
    assert (blends.photos >= lower.amin(dim=0) - 1e-5).all() and (
        blends.photos <= upper.amax(dim=0) + 1e-5
    ).all()
    assert (blends.photos - blends.truths).abs().mean() > 0.02
