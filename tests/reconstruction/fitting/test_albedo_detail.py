"""Detail of the pictures in an albedo that is too smooth."""

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.fitting.albedo_detail import detailed_albedo

from ..conftest import Sphere, orbit, sphere_views


def stripes(normal: torch.Tensor) -> torch.Tensor:
    return (0.5 + 0.2 * torch.sign(torch.sin(60 * normal[..., 1:2]))).expand(normal.shape)


def test_fine_stripes_come_from_the_pictures_and_light_does_not() -> None:
    cameras = orbit(8, 128)
    shown, masks = sphere_views(cameras)
    normal = 2 * shown.movedim(1, -1) - 1
    lit = stripes(normal) * (0.6 + 0.4 * normal[..., 1:2])  # brighter from above
    pictures = torch.where(masks > 0, linear_to_srgb(lit.clamp(0, 1)).movedim(-1, 1), 1.0)
    capture = Capture(pictures, masks, cameras, tuple("abcdefgh"), Placement(np.zeros(3), np.eye(3), 1.0))
    normals = F.normalize(torch.randn(6000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    even = torch.full_like(normals, 0.4)
    found = detailed_albedo(Sphere(), capture, 0.35 * normals, normals, even)[:, 0]
    true = stripes(normals)[:, 0]
    inner = normals[:, 1].abs() < 0.8
    assert np.corrcoef(found[inner], true[inner])[0, 1] > 0.75
    above, below = (found[inner & side].mean() for side in (normals[:, 1] > 0, normals[:, 1] < 0))
    assert 0.9 < above / below < 1.1  # the light is 1.7 times as bright above
    unseen = detailed_albedo(Sphere(), capture, 0.35 * normals, -normals, even)  # they face inwards
    torch.testing.assert_close(unseen, even, rtol=0, atol=0.05)
