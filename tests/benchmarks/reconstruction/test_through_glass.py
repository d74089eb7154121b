"""Reconstruction through glass: the pane's optics, and the figures of a result."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.common.measuring import describe_machine
from benchmarks.reconstruction import through_glass
from benchmarks.reconstruction.glass_case import (
    INPUTS,
    REFRACTION,
    THICKNESS,
    case_cameras,
    lateral_shift,
    reflections,
)
from clearpane.geometry.cameras import picture_rays, project
from clearpane.optics.environment import texel_directions


@pytest.mark.parametrize("angle", [0.0, 20.0, 50.0])
def test_the_pane_shifts_rays_as_two_refractions_do(angle: float) -> None:
    inside = math.asin(math.sin(math.radians(angle)) / REFRACTION)
    straight, bent = (THICKNESS * math.tan(a) for a in (math.radians(angle), inside))
    assert lateral_shift(angle) == pytest.approx((straight - bent) * math.cos(math.radians(angle)))


def test_every_camera_stands_before_the_pane_and_sees_the_whole_cube() -> None:
    cameras = case_cameras(64)
    assert len(cameras.centres) == INPUTS + 4 and (cameras.centres[:, 2] > 1.1).all()
    ball = 0.6 * F.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    pixels, _ = project(cameras, ball)
    assert pixels.min() > 0 and pixels.max() < 64


def test_the_pane_reflects_what_lies_before_it() -> None:
    light = torch.zeros(32, 64, 3)
    cameras = case_cameras(32)
    even = reflections(light + 1, cameras)
    cosine = picture_rays(cameras)[1][..., 2].abs()
    inside = (1 - (1 - cosine.square()) / REFRACTION**2).sqrt()
    across = ((cosine - REFRACTION * inside) / (cosine + REFRACTION * inside)).square()
    along = ((REFRACTION * cosine - inside) / (REFRACTION * cosine + inside)).square()
    face = (across + along)[:, None] / 2  # Mitsuba averages the polarisations at each face
    expected = 2 * face / (1 + face)
    torch.testing.assert_close(even, expected.expand_as(even), rtol=0.02, atol=0)
    assert even.min() == pytest.approx(1 / 13, rel=0.01)
    before = torch.from_numpy(texel_directions(32, 64))[..., 2:] > 0.02
    behind = reflections(torch.where(before, light, 1.0), cameras[:INPUTS])
    assert behind.max() < 1e-6


def test_figures_are_of_the_object_with_and_without_one_gain() -> None:
    truth, masks = torch.ones(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    masks[:, :, 2:6, 2:6] = 1
    truth[:, :, 2:6, 2:6] = 0.5
    darker = torch.where(masks > 0, 0.45, 0.0).expand_as(truth)
    found = through_glass.object_psnr(darker, truth, masks)
    assert found["object"] == pytest.approx(-20 * math.log10(0.05), abs=1e-3) and found["exposed"] > 80


def test_the_page_compares_all_rows() -> None:
    names = ("given", "object", "exposed", "albedo", "chamfer")
    run = {way: dict.fromkeys(names, 20.0 + index) for index, way in enumerate(through_glass.WAYS)}
    document = {"side": 64, "steps": 3, "field": 36.0, "machine": describe_machine(), "runs": {"a": run}}
    page = through_glass.render(document)
    assert "| the pane ignored | 20.00 |" in page and "| photographs without the pane | 23.00 |" in page
    assert "gains +2.0 dB over ignoring the pane; the disagreement's part is +1.0 dB" in page
    assert np.isclose(1000 * lateral_shift(50), 2.31, atol=0.01) and "2.3 mm" in page
