"""Texture coordinates, texels and gaps."""

import numpy as np
import pytest

from clearpane.geometry.mesh import Mesh, extract_surface, simplify
from clearpane.reconstruction.asset.unwrapping import UnwrappedMesh, fill_gaps, find_texels, unwrap

pytest.importorskip("xatlas")
SIZE = 128


@pytest.fixture(scope="module")
def ball() -> UnwrappedMesh:
    mesh = extract_surface(lambda points: np.linalg.norm(points, axis=-1) - 0.4, 32)
    return unwrap(simplify(mesh, 800), SIZE)


def test_the_form_stays_and_every_triangle_has_its_own_place(ball: UnwrappedMesh) -> None:
    assert ball.coordinates.min() >= 0 and ball.coordinates.max() <= 1
    assert len(ball.source) == len(ball.mesh.vertices) == len(ball.coordinates)
    flat = ball.coordinates[ball.mesh.faces] * SIZE
    u, v = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    areas = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
    texels = find_texels(ball, SIZE)
    # As many texels as the triangles are large, and none twice: the charts do not overlap.
    assert len(texels.index) == pytest.approx(np.abs(areas).sum(), rel=0.03)
    assert len(np.unique(texels.index)) == len(texels.index)
    assert np.abs(areas).sum() > 0.3 * SIZE**2


def test_texels_show_the_points_that_their_coordinates_say(ball: UnwrappedMesh) -> None:
    texels = find_texels(ball, SIZE)
    places = texels.interpolate(ball.coordinates, ball.mesh.faces) * SIZE
    row, column = np.divmod(texels.index, SIZE)
    np.testing.assert_allclose(places, np.stack([column, row], axis=-1) + 0.5, atol=1e-6)
    points = texels.interpolate(ball.mesh.vertices, ball.mesh.faces)
    assert np.abs(np.linalg.norm(points, axis=-1) - 0.4).max() < 0.02


def test_texels_are_those_of_the_plain_search() -> None:
    generator = np.random.default_rng(0)
    coordinates = generator.random((30, 2))
    faces = np.arange(30).reshape(10, 3)
    for face in faces:
        one = UnwrappedMesh(Mesh(np.zeros((30, 3)), face[None]), coordinates, np.arange(30))
        found = set(find_texels(one, 24).index.tolist()) if _large(coordinates[face]) else None
        if found is None:
            continue
        a, b, c = coordinates[face] * 24
        expected = set()
        for row in range(24):
            for column in range(24):
                p = np.asarray([column + 0.5, row + 0.5])
                signs = [
                    np.sign(np.cross([*(q - p), 0], [*(r - p), 0])[2]) for q, r in ((a, b), (b, c), (c, a))
                ]
                if len({s for s in signs if s}) <= 1:
                    expected.add(row * 24 + column)
        assert found == expected


def _large(triangle: np.ndarray) -> bool:
    a, b, c = triangle
    return bool(abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) > 0.02)


def test_gaps_take_what_is_next_to_them() -> None:
    texture = np.zeros((13, 13, 3))
    filled = np.zeros((13, 13), bool)
    texture[:, :4], filled[:, :4] = 0.25, True
    texture[:, 9:], filled[:, 9:] = 0.75, True
    result = fill_gaps(texture, filled)
    np.testing.assert_array_equal(result[filled], texture[filled])
    assert (result[:, 4] == 0.25).all() and (result[:, 8] == 0.75).all()
    assert result.min() >= 0.25 and result.max() <= 0.75
    assert not fill_gaps(texture, np.zeros((13, 13), bool)).any()


@pytest.mark.parametrize("far", [1e10, 1e20, 1e36])
def test_huge_coordinates_are_laid_out_too(far):
    vertices = np.asarray([[0, 1, 0], [1, 1, 0], [1, 2, 0], [0, 2, far]], float)
    found = unwrap(Mesh(vertices, np.asarray([[0, 1, 2], [0, 2, 3]])), 64)
    assert np.isfinite(found.coordinates).all() and len(found.mesh.faces) == 2
