"""Failures built on purpose into balls and cards are measured as built; what is right raises none."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from clearpane.geometry.mesh import Mesh, unit
from clearpane.geometry.rasterising import rasterise
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.failures import seen_surface
from clearpane.reconstruction.failures.detectors import (
    Detection,
    detect_floaters,
    detect_grey_albedo,
    detect_highlights,
    detect_leakage,
    find_failures,
)
from clearpane.reconstruction.failures.seen_surface import SeenSurface
from clearpane.reconstruction.reconstruct import _failures_of

from ..conftest import orbit

pytest.importorskip("trimesh")
pytest.importorskip("scipy")
CELLS, TEXELS = 16, 80
CAMERAS = orbit(12, 96, seed=3)
LAMP = unit(np.asarray([0.3, 1.0, 0.5]))
Colour = Callable[[np.ndarray], np.ndarray]
"""Albedo [..., 3] at points of the surface [..., 3]."""
Light = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Linear light [P, 3] of an albedo, normals and directions to the camera."""


@pytest.fixture(autouse=True)
def fewer_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_surface, "_POINTS", 6000)


def solid(scale: tuple[float, float, float], colour: Colour, rounded: bool = False) -> Asset:
    """A box of these half sides, or an ellipsoid: six grids, each with a square of the texture."""
    axis = np.linspace(-1, 1, CELLS + 1)
    texel = (np.arange(TEXELS) + 0.5) / TEXELS * 2 - 1
    vertices: list[np.ndarray] = []
    normals, coordinates, faces = [], [], []
    albedo = np.zeros((3 * TEXELS, 3 * TEXELS, 3))

    def placed(side: int, v: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        third, sign = side // 2, 1 - 2 * (side % 2)
        point = np.stack([np.full(u.shape, float(sign)), u, sign * v], axis=-1)
        point = np.roll(point, third, axis=-1)
        outward = unit(point) if rounded else np.roll([float(sign), 0.0, 0.0], third) + 0 * point
        return (unit(point) if rounded else point) * scale, unit(outward / scale)

    for side in range(6):
        row, column = divmod(side, 3)
        point, normal = placed(side, *np.meshgrid(axis, axis, indexing="ij"))
        corner = len(vertices) * (CELLS + 1) ** 2
        grid = corner + np.arange((CELLS + 1) ** 2).reshape(CELLS + 1, CELLS + 1)
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
        faces += [np.stack(x, axis=-1).reshape(-1, 3) for x in ((a, b, c), (a, c, d))]
        v, u = np.meshgrid(axis, axis, indexing="ij")
        coordinates.append(np.stack([column + (u + 1) / 2, row + (v + 1) / 2], axis=-1).reshape(-1, 2) / 3)
        vertices.append(point.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
        own = colour(placed(side, *np.meshgrid(texel, texel, indexing="ij"))[0])
        albedo[row * TEXELS : (row + 1) * TEXELS, column * TEXELS : (column + 1) * TEXELS] = own
    mesh = Mesh(np.concatenate(vertices), np.concatenate(faces))
    plain = np.full(albedo.shape[:2], 0.5)
    flat = np.broadcast_to([0.0, 0.0, 1.0], albedo.shape)
    uv = np.concatenate(coordinates)
    return Asset(mesh, uv, np.concatenate(normals), albedo, plain, plain, flat, plain)


def matt(albedo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Light from above, twice as bright as from below."""
    return albedo * (0.75 + 0.25 * normal[:, 1:2])


def glossy(albedo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
    """A lamp's reflection besides, which moves with the camera."""
    half = unit(view + LAMP)
    cosine = np.maximum((half * normal).sum(-1, keepdims=True), 0)
    return np.asarray(matt(albedo, normal, view) + 0.9 * cosine**60)


def photographs(asset: Asset, colour: Colour, light: Light = matt) -> Capture:
    """Pictures of the asset's shape in another colour than its own, which may be wrong."""
    count, (height, width) = len(CAMERAS.centres), (CAMERAS.height, CAMERAS.width)
    pictures, masks = np.ones((count, height * width, 3)), np.zeros((count, height * width, 1))
    for view in range(count):
        pose, intrinsics = (x[view].double().numpy() for x in (CAMERAS.camera_to_world, CAMERAS.intrinsics))
        found = rasterise(asset.mesh, pose, intrinsics, height, width)
        points, normals = (
            found.interpolate(x, asset.mesh.faces) for x in (asset.mesh.vertices, asset.normals)
        )
        lit = light(colour(points), unit(normals), unit(pose[:3, 3] - points))
        pictures[view, found.pixel], masks[view, found.pixel] = linear_to_srgb(lit.clip(0, 1)), 1
    shown, covered = (
        torch.from_numpy(x.reshape(count, height, width, -1)).float().movedim(-1, 1)
        for x in (pictures, masks)
    )
    names = tuple(f"{view}.jpg" for view in range(count))
    return Capture(shown, covered, CAMERAS, names, Placement(np.zeros(3), np.eye(3), 1.0))


def measured(detect: Callable[[SeenSurface], Detection], asset: Asset, capture: Capture) -> Detection:
    return detect(SeenSurface.of(asset, capture))


def painted(points: np.ndarray) -> np.ndarray:
    """Dark green with spots of white paint."""
    spot = np.cos(12 * points[..., :1]) * np.cos(12 * points[..., 1:2]) * np.cos(12 * points[..., 2:]) > 0.6
    return np.where(spot, 0.7, np.asarray([0.1, 0.25, 0.08]))


@cache
def ball() -> Asset:
    return solid((0.4, 0.4, 0.4), painted, rounded=True)


@cache
def ball_photographs() -> Capture:
    return photographs(ball(), painted, glossy)


def two_sided(points: np.ndarray) -> np.ndarray:
    """Squares of random colours, others on the back than on the front."""
    table = np.random.default_rng(0).uniform(0.05, 0.9, (2, 6, 6, 3))
    column, row = (np.clip((points[..., i] / 0.8 + 0.5) * 6, 0, 5).astype(int) for i in (0, 1))
    return np.asarray(table[(points[..., 2] < 0).astype(int), row, column])


def red_and_blue(points: np.ndarray) -> np.ndarray:
    return np.where(points[..., 2:] > 0, [0.7, 0.1, 0.08], [0.08, 0.1, 0.7])


def grey(points: np.ndarray) -> np.ndarray:
    return np.full_like(points, 0.8)


def faded(colour: Colour, share: float) -> Colour:
    """Keep this share of the saturation."""
    return lambda points: share * colour(points) + (1 - share) * colour(points).mean(-1, keepdims=True)


def leaked(colour: Colour, share: float) -> Colour:
    return lambda points: (1 - share) * colour(points) + share * colour(points * [1, 1, -1])


@cache
def card_photographs(colour: Colour, thickness: float = 0.02) -> Capture:
    return photographs(solid((0.4, 0.4, thickness / 2), colour), colour)


def test_what_is_right_raises_nothing() -> None:
    assert find_failures(ball(), ball_photographs()) == []


def test_pieces_apart_are_counted_and_their_area_measured() -> None:
    small = solid((0.1, 0.1, 0.1), painted, rounded=True)
    vertices = np.concatenate([ball().mesh.vertices, small.mesh.vertices + np.asarray([0.0, 0.51, 0.0])])
    faces = np.concatenate([ball().mesh.faces, len(ball().mesh.vertices) + small.mesh.faces])
    twice = {name: np.concatenate([getattr(ball(), name)] * 2) for name in ("coordinates", "normals")}
    both = replace(ball(), mesh=Mesh(vertices, faces), **twice)
    found = measured(detect_floaters, both, ball_photographs())
    assert found.measured == pytest.approx(0.1**2 / (0.1**2 + 0.4**2), rel=1e-3)
    assert found.found and found.message.startswith("1 piece floats apart from the object, 6% of its surface")
    # The seams between the squares of the texture part nothing.
    assert measured(detect_floaters, ball(), ball_photographs()).measured == 0


@pytest.mark.parametrize("colour", [two_sided, red_and_blue])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_share_of_the_far_side_is_measured(colour: Colour, share: float) -> None:
    mixed = solid((0.4, 0.4, 0.01), leaked(colour, share))
    found = measured(detect_leakage, mixed, card_photographs(colour))
    assert found.measured == pytest.approx(share, abs=0.04)
    assert found.found == (share > 0)


def test_grey_or_thick_sides_are_no_leakage() -> None:
    pale = solid((0.4, 0.4, 0.01), faded(red_and_blue, 0.4))
    assert measured(detect_leakage, pale, card_photographs(red_and_blue)).measured < 0.05
    thick = solid((0.4, 0.4, 0.1), leaked(red_and_blue, 0.4))
    assert measured(detect_leakage, thick, card_photographs(red_and_blue, 0.2)).measured == 0


def test_sides_in_different_light_are_no_leakage() -> None:
    def of_two_lights(albedo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
        return albedo * np.where(normal[:, 2:] > 0, [0.9, 0.75, 0.6], np.asarray([0.6, 0.75, 0.9]) / 4)

    white = solid((0.4, 0.4, 0.01), grey)
    assert measured(detect_leakage, white, photographs(white, grey, of_two_lights)).measured == 0


def test_highlights_in_the_base_colour_are_found_and_white_paint_is_not() -> None:
    # The first camera's highlight is baked; it covers a cap around the half vector.
    camera = unit(CAMERAS.centres[0].double().numpy())
    middle = unit(camera + LAMP)

    def baked(points: np.ndarray) -> np.ndarray:
        bright = (unit(points) @ middle)[..., None] > np.cos(0.15)
        return np.where(bright, 0.9, painted(points))

    shown = ball_photographs()
    found = measured(detect_highlights, solid((0.4, 0.4, 0.4), baked, rounded=True), shown)
    cap = (1 - np.cos(0.15)) / 2  # of a whole ball
    assert 0.4 * cap < found.measured < 1.5 * cap and found.found
    assert ".jpg" in found.message
    clean = measured(detect_highlights, ball(), shown)
    assert clean.measured < 0.1 * found.measured and not clean.found


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_lost_saturation_is_measured(share: float) -> None:
    pale = solid((0.4, 0.4, 0.01), faded(red_and_blue, share))
    found = measured(detect_grey_albedo, pale, card_photographs(red_and_blue))
    assert found.measured == pytest.approx(1 - share, abs=0.02)
    assert found.found == (share < 0.5)


def test_a_grey_object_is_not_called_grey() -> None:
    def warm(albedo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
        return albedo * [1.1, 1.0, 0.9]

    pale = solid((0.4, 0.4, 0.01), grey)
    assert measured(detect_grey_albedo, pale, photographs(pale, grey, warm)).measured == 0


def test_pixels_that_are_not_trusted_count_for_less() -> None:
    asset, capture = ball(), ball_photographs()
    half = torch.ones_like(capture.masks)
    half[0] = 0.25
    plain = SeenSurface.of(asset, capture).sighting
    weighed = SeenSurface.of(asset, replace(capture, weights=half)).sighting
    np.testing.assert_allclose(weighed.weights[0], 0.25 * plain.weights[0], atol=1e-6)
    np.testing.assert_allclose(weighed.weights[1:], plain.weights[1:], atol=1e-6)


def test_a_check_that_fails_does_not_lose_the_asset(monkeypatch, caplog):
    def fail(asset, capture):
        raise ValueError("no such thing")

    monkeypatch.setattr("clearpane.reconstruction.reconstruct.find_failures", fail)
    anything: Any = None
    assert _failures_of(anything, anything) == ()
    assert "the result could not be checked: no such thing" in caplog.text
