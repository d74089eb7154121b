"""Baking: textures show what the field says where the surface is; normals and occlusion in closed form."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.mesh import Mesh
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.asset.baking import AssetSettings, ambient_occlusion, bake_asset, vertex_normals
from clearpane.reconstruction.asset.unwrapping import Texels
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.field.rendering import Appearance
from clearpane.reconstruction.reconstruct import in_photographs_world

from ..conftest import Sphere

pytest.importorskip("skimage")
pytest.importorskip("xatlas")
SETTINGS = AssetSettings(resolution=48, faces=2000, texture=128)


@dataclass(frozen=True)
class Tilted(Sphere):
    """A sphere whose shaded normals are its own turned towards +x."""

    def appearance(self, points: Tensor, view: Tensor, features: Tensor | None = None) -> Appearance:
        plain = super().appearance(points, view)
        return plain._replace(normal=F.normalize(plain.normal + torch.tensor([0.3, 0.0, 0.0]), dim=-1))


@dataclass(frozen=True)
class Floor(Sphere):
    """Half of the cube: all below a plane, with a wall upon it."""

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        return torch.minimum(points[:, 1:2], points[:, :1])


@pytest.fixture(scope="module")
def ball() -> Asset:
    return bake_asset(Sphere(), SETTINGS)


def points_of(asset: Asset, at: np.ndarray) -> np.ndarray:
    """Where on the mesh some texture coordinates [N, 2] are shown: [N, 3]; NaN between charts."""
    corners = asset.coordinates[asset.mesh.faces]
    result = np.full((len(at), 3), np.nan)

    def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]

    for index, point in enumerate(at):
        a, b, c = (corners[:, i] for i in range(3))
        area = cross(b - a, c - a)
        second, third = cross(point - a, c - a) / area, cross(b - a, point - a) / area
        inside = (second >= 0) & (third >= 0) & (second + third <= 1)
        if inside.any():
            face = int(inside.argmax())
            weights = np.asarray([1 - second[face] - third[face], second[face], third[face]])
            result[index] = weights @ asset.mesh.vertices[asset.mesh.faces[face]]
    return result


def test_textures_show_the_field_where_the_surface_is(ball: Asset) -> None:
    size = SETTINGS.texture
    texels = np.random.default_rng(0).integers(0, size, (300, 2))
    places = points_of(ball, (texels + 0.5) / size)
    known = ~np.isnan(places[:, 0])
    assert known.sum() > 100
    normal = places[known] / np.linalg.norm(places[known], axis=-1, keepdims=True)
    found = ball.albedo[texels[known, 1], texels[known, 0]]
    np.testing.assert_allclose(found, normal / 2 + 0.5, atol=0.02)
    assert np.abs(ball.roughness - 0.5).max() < 1e-6 and np.abs(ball.metallic - 0.5).max() < 1e-6
    # The surface's own normals: straight up everywhere, and nothing hides the sky.
    assert ball.normal_map[..., 2].min() > 0.99
    assert ball.occlusion.min() > 0.95


def test_seams_do_not_show(ball: Asset) -> None:
    # A vertex that two charts share has one normal and, at either place, about one colour.
    _, index = np.unique(ball.mesh.vertices.round(6), axis=0, return_inverse=True)
    index = index.reshape(-1)
    size = SETTINGS.texture
    column, row = np.clip((ball.coordinates * size).astype(int), 0, size - 1).T
    colour = ball.albedo[row, column]
    for values, bound in ((ball.normals, 1e-9), (colour, 0.08)):
        low, high = (np.full((index.max() + 1, 3), fill) for fill in (np.inf, -np.inf))
        np.minimum.at(low, index, values)
        np.maximum.at(high, index, values)
        assert (high - low).max() < bound
    assert len(index) > index.max() + 1  # there are seams


def test_a_normal_map_holds_the_shaded_normal() -> None:
    asset = bake_asset(Tilted(), SETTINGS)
    size = SETTINGS.texture
    corners, flat = (x[asset.mesh.faces] for x in (asset.mesh.vertices, asset.coordinates))
    rows = []
    for face in range(0, len(corners), 37):
        # The middle of a triangle, its frame from its own edges as a viewer would find it.
        edges, steps = corners[face, 1:] - corners[face, 0], flat[face, 1:] - flat[face, 0]
        tangent, down = np.linalg.solve(steps, edges)
        normal = asset.normals[asset.mesh.faces[face]].mean(0)
        normal /= np.linalg.norm(normal)
        tangent = tangent - (tangent @ normal) * normal
        tangent /= np.linalg.norm(tangent)
        upward = np.cross(normal, tangent)
        upward *= np.sign(upward @ -down)
        column, row = (flat[face].mean(0) * size).astype(int)
        x, y, z = asset.normal_map[row, column]
        point = corners[face].mean(0)
        expected = point / np.linalg.norm(point) + [0.3, 0, 0]
        rows.append((x * tangent + y * upward + z * normal) @ expected / np.linalg.norm(expected))
    assert np.mean(rows) > 0.998 and np.min(rows) > 0.98


def test_half_the_sky_is_hidden_by_a_wall() -> None:
    # All but x, y > 0 is solid: of what the floor's cosine weighs, half is open at the foot of the wall.
    points, upward = np.asarray([[0.02, 0.0, 0.0]]), np.asarray([[0.0, 1.0, 0.0]])
    assert ambient_occlusion(Floor(), points, upward) == pytest.approx(0.5, abs=0.05)


def test_normals_of_vertices_are_those_of_the_ball(ball: Asset) -> None:
    radial = ball.mesh.vertices / np.linalg.norm(ball.mesh.vertices, axis=-1, keepdims=True)
    assert (ball.normals * radial).sum(-1).min() > 0.95
    sliver = Mesh(np.asarray([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.asarray([[0, 1, 2]]))
    np.testing.assert_array_equal(vertex_normals(sliver), [[0.0, 1, 0]] * 3)


def test_an_asset_goes_back_to_where_the_photographs_had_it(ball: Asset) -> None:
    turn = np.asarray([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z was up
    placement = Placement(np.asarray([1.0, 2.0, 3.0]), turn, 0.5)
    moved = in_photographs_world(ball, placement)
    world = ball.mesh.vertices @ turn / 0.5 + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(moved.mesh.vertices, world[:, [0, 2, 1]] * [1, 1, -1], atol=1e-9)


def test_texels_interpolate(ball: Asset) -> None:
    one = Texels(2, np.asarray([0]), np.asarray([1]), np.asarray([[0.2, 0.3, 0.5]]))
    values = np.asarray([[0.0], [1.0], [2.0]])
    assert one.interpolate(values, np.asarray([[0, 0, 0], [0, 1, 2]])).item() == pytest.approx(1.3)
