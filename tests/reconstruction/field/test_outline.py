"""Distances to the outline of a mask: those of a disc, those of scipy, empty and full masks."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.field.outline import outline_distance, region_distance

MIDDLE, RADIUS = (60.3, 70.2), 30.4


def disc(side: int, scale: int) -> tuple[Tensor, Tensor]:
    """A soft disc and, twice as fine, the true distance to its outline."""

    def distance(finer: int) -> Tensor:
        axis = (torch.arange(side * finer) + 0.5) / finer
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return torch.hypot(x - MIDDLE[0], y - MIDDLE[1]) - RADIUS

    return F.avg_pool2d((distance(scale) < 0).float()[None, None], scale), distance(2)


def test_distances_to_a_disc_are_finer_than_a_pixel() -> None:
    mask, true = disc(128, 8)
    error = outline_distance(mask)[0, 0] - true
    near = true.abs() < 9
    assert error[near].abs().max() < 0.4
    assert error[near].abs().mean() < 0.2
    assert error[~near].abs().max() < 5


def test_large_masks_are_fine_enough_as_they_are() -> None:
    mask = torch.zeros(1, 1, 300, 300)
    mask[..., 100:200] = 1
    distance = outline_distance(mask)[0, 0, 150]
    assert distance.shape == (300,)
    assert torch.equal(
        distance[95:105], torch.tensor([4.5, 3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5])
    )


def test_regions_are_as_far_as_scipy_says() -> None:
    region = torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0)) > 0.99
    found = region_distance(region, 15)
    for own, one in zip(found, region, strict=True):
        expected = distance_transform_edt(~one.numpy()).clip(max=15)
        np.testing.assert_allclose(own.numpy(), expected, atol=1e-5)


def test_of_an_empty_mask_everything_is_outside_and_of_a_full_one_inside() -> None:
    assert (outline_distance(torch.zeros(2, 1, 32, 32)) > 20).all()
    assert (outline_distance(torch.ones(2, 1, 32, 32)) < -20).all()
