"""Crops that the small base's VAE is trained on."""

import torch

from benchmarks.flux import kontext_small


def test_mixed_crops_take_each_channel_from_some_crop_and_the_others_stay():
    crops = torch.rand(8, 3, 4, 5)
    mixed = kontext_small.mix_channels(crops, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(mixed[4:], crops[4:])
    for crop in mixed[:4]:
        for channel in range(3):
            assert any(torch.equal(crop[channel], other[channel]) for other in crops)
    assert not any(torch.equal(crop, other) for crop in mixed[:4] for other in crops)
