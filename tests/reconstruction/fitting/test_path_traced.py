"""Materials from a differentiated path tracer: a corner whose walls light each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clearpane.geometry.cameras import Cameras, look_at, pinhole_intrinsics
from clearpane.geometry.mesh import Mesh
from clearpane.mitsuba_variant import has_llvm
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.fitting.path_traced import PathTracedSettings, fit_path_traced
from clearpane.reconstruction.relighting.lighting import Environment
from clearpane.reconstruction.relighting.relight import RelightSettings, relight

pytestmark = pytest.mark.skipif(not has_llvm(), reason="needs LLVM")
SIDE = 24
LIGHT = Environment(np.ones((8, 16, 3), np.float32))


def corner() -> Asset:
    """A white wall (upper half of the texture) and a red one at right angles, open towards +x and +z."""
    vertices = np.asarray(
        [
            *([0.0, -0.4, 0], [0.8, -0.4, 0], [0.8, 0.4, 0], [0, 0.4, 0]),
            *([0.0, -0.4, 0.8], [0, -0.4, 0], [0, 0.4, 0], [0, 0.4, 0.8]),
        ]
    )
    vertices -= [0.3, 0, 0.3]
    faces = np.asarray([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    coordinates = np.asarray(
        [[0.1, 0.4], [0.9, 0.4], [0.9, 0.1], [0.1, 0.1], [0.1, 0.9], [0.9, 0.9], [0.9, 0.6], [0.1, 0.6]]
    )
    normals = np.repeat([[0.0, 0, 1], [1, 0, 0]], 4, axis=0)
    albedo = np.empty((16, 16, 3))
    albedo[:8], albedo[8:] = 0.7, [0.7, 0.1, 0.1]
    even = np.ones((16, 16))
    flat = np.concatenate([np.zeros((16, 16, 2)), even[..., None]], axis=-1)
    return Asset(Mesh(vertices, faces), coordinates, normals, albedo, 0 * even, even, flat, even)


@pytest.fixture(scope="module")
def capture() -> Capture:
    eyes = torch.tensor([[2.0, 0.3, 1.2], [1.2, -0.3, 2.0], [1.6, 0.6, 1.6]])
    cameras = Cameras(
        look_at(eyes, torch.zeros(3)),
        pinhole_intrinsics(34.0, SIDE, SIDE).expand(3, 4).clone(),
        SIDE,
        SIDE,
    )
    rendered = np.stack(list(relight(corner(), LIGHT, cameras, RelightSettings(256))))
    linear, masks = (
        torch.from_numpy(x).permute(0, 3, 1, 2).float() for x in np.split(rendered, [3], axis=-1)
    )
    shown = linear_to_srgb((linear / masks.clamp(min=1e-4)).clamp(0, 1)) * masks + 1 - masks
    return Capture(shown, masks, cameras, ("a", "b", "c"), Placement(np.zeros(3), np.eye(3), 1.0))


def walls(asset: Asset) -> np.ndarray:
    """Mean colour of the parts of the texture that the white wall and the red one show: [2, 3]."""
    return np.stack([asset.albedo[2:6, 2:14].mean((0, 1)), asset.albedo[10:14, 2:14].mean((0, 1))])


def test_what_walls_reflect_onto_each_other_leaves_the_base_colour(capture):
    true = corner()
    tinted = true.albedo.copy()  # as direct light alone explains the pictures
    tinted[:8], tinted[8:] = [0.78, 0.62, 0.62], [0.82, 0.15, 0.15]
    start = replace(true, albedo=tinted)
    settings = PathTracedSettings(steps=14, samples=8, side=SIDE)
    direct, traced = (
        fit_path_traced(start, capture, LIGHT.radiance, replace(settings, depth=depth)) for depth in (2, 6)
    )
    # Ratios of colours: their brightness and that of the light cannot be separated.
    tint, of_direct, of_traced = (
        colours[0, 1] / colours[0, 0] for colours in map(walls, (true, direct.asset, traced.asset))
    )
    assert abs(of_traced - tint) < 0.75 * abs(of_direct - tint)
    assert np.mean(traced.errors[-6:]) < np.mean(traced.errors[:3])


def test_the_same_seed_gives_the_same_asset_with_one_thread(capture):
    import drjit

    threads = drjit.thread_count()
    drjit.set_thread_count(1)  # several add derivatives in any order
    settings = PathTracedSettings(steps=3, samples=2, side=SIDE)
    first, second = (fit_path_traced(corner(), capture, LIGHT.radiance, settings) for _ in range(2))
    drjit.set_thread_count(threads)
    assert np.array_equal(first.asset.albedo, second.asset.albedo)
    assert np.array_equal(first.environment.radiance, second.environment.radiance)


def test_detail_finer_than_the_fitted_texture_stays(capture):
    fine = corner()
    pattern = 1 + 0.2 * (-1.0) ** np.add.outer(np.arange(16), np.arange(16))
    fine = replace(fine, albedo=fine.albedo * pattern[..., None])
    made = fit_path_traced(
        fine, capture, LIGHT.radiance, PathTracedSettings(4, 2, side=SIDE, texture=8)
    ).asset
    contrast = made.albedo[2:6:2, 2:14:2].mean() / made.albedo[2:6:2, 3:14:2].mean()
    assert contrast == pytest.approx(1.2 / 0.8, rel=0.1)
    assert made.mesh is fine.mesh
