"""Meshes of known shapes: closed, right way round, of the right size."""

from collections import Counter

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import HALF_SIZE
from clearpane.geometry.mesh import (
    Mesh,
    extract_surface,
    face_areas,
    largest_pieces,
    simplify,
    surface_points,
)

RADIUS = 0.4


def ball(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points, axis=-1) - RADIUS


def edges(mesh: Mesh) -> Counter[tuple[int, int]]:
    """How often each edge is walked, either way."""
    a, b, c = mesh.faces.T
    return Counter(zip(np.concatenate([a, b, c]).tolist(), np.concatenate([b, c, a]).tolist(), strict=True))


def assert_closed(mesh: Mesh) -> None:
    """Every edge belongs to two triangles, which walk it in opposite ways."""
    walked = edges(mesh)
    assert all(count == 1 and walked[(b, a)] == 1 for (a, b), count in walked.items())


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("resolution", [40, 64, 100])
def test_a_ball_is_closed_and_as_large_as_it_is(resolution: int) -> None:
    mesh = extract_surface(ball, resolution)
    assert_closed(mesh)
    walked = len(edges(mesh)) // 2
    assert len(mesh.vertices) - walked + len(mesh.faces) == 2
    cell = 2 * HALF_SIZE / resolution
    assert np.abs(ball(mesh.vertices)).max() < 0.1 * cell
    # Positive: counter-clockwise from outside.
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=4 * cell)
    assert face_areas(mesh).sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=2 * cell)


def test_blocks_make_the_mesh_of_the_whole_grid() -> None:
    measure = pytest.importorskip("skimage.measure")
    mesh = extract_surface(ball, 64)
    axis = np.linspace(-HALF_SIZE, HALF_SIZE, 65)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    vertices, faces, _, _ = measure.marching_cubes(ball(grid), 0.0)
    assert len(mesh.faces) == len(faces)
    vertices = vertices * 2 * HALF_SIZE / 64 - HALF_SIZE
    ours, theirs = (v[np.lexsort(np.round(v, 4).T)] for v in (mesh.vertices, vertices))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_only_blocks_near_the_surface_are_asked() -> None:
    asked = 0

    def counting(points: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(points)
        return np.linalg.norm(points - 0.3, axis=-1) - 0.1

    extract_surface(counting, 256)
    assert asked < 0.25 * 257**3


def test_what_leaves_the_cube_is_closed_at_its_faces() -> None:
    def slab(points: np.ndarray) -> np.ndarray:
        return np.abs(points[:, 1]) - 0.1

    mesh = extract_surface(slab, 48)
    assert_closed(mesh)
    assert volume(mesh) == pytest.approx(0.2 * (2 * HALF_SIZE) ** 2, rel=0.1)


def test_grid_points_on_the_surface_make_no_holes() -> None:
    cell = 2 * HALF_SIZE / 40

    def box(points: np.ndarray) -> np.ndarray:
        return np.abs(points).max(-1) - 10 * cell

    mesh = extract_surface(box, 40)
    assert_closed(mesh)


def test_points_are_spread_over_a_surface_by_its_area() -> None:
    # Two squares in planes of their own, one four times as large.
    square = np.asarray([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = Mesh(
        np.concatenate([square, 2 * square + [0, 0, 1]]),
        np.asarray([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]),
    )
    points = surface_points(mesh, 4000)
    below = points[:, 2] == 0
    assert below.mean() == pytest.approx(0.2, abs=0.02) and (points[~below, 2] == 1).all()
    for some, size in ((points[below], 1), (points[~below], 2)):
        assert some[:, :2].min() >= 0 and some[:, :2].max() <= size
        np.testing.assert_allclose(some[:, :2].mean(0), size / 2, atol=0.05)
    np.testing.assert_array_equal(points, surface_points(mesh, 4000))
    with pytest.raises(ClearpaneError, match="no area"):
        surface_points(Mesh(0 * mesh.vertices, mesh.faces), 10)


def test_nothing_is_refused() -> None:
    with pytest.raises(ClearpaneError, match="the reconstruction is empty"):
        extract_surface(lambda points: np.ones(len(points)), 32)


def test_crumbs_are_swept_away_and_pieces_stay() -> None:
    def things(points: np.ndarray) -> np.ndarray:
        large = np.linalg.norm(points - [0.2, 0, 0], axis=-1) - 0.25
        other = np.linalg.norm(points - [-0.3, 0, 0], axis=-1) - 0.15
        crumb = np.linalg.norm(points - [0, 0.45, 0], axis=-1) - 0.03
        return np.minimum(np.minimum(large, other), crumb)

    mesh = largest_pieces(extract_surface(things, 64))
    assert_closed(mesh)
    assert mesh.vertices[:, 1].max() < 0.3 and mesh.vertices[:, 0].min() < -0.4
    assert len(mesh.vertices) - len(edges(mesh)) // 2 + len(mesh.faces) == 4  # two balls


def test_a_simplified_ball_has_fewer_triangles_and_the_same_form() -> None:
    pytest.importorskip("fast_simplification")
    mesh = extract_surface(ball, 64)
    small = simplify(mesh, 600)
    assert len(small.faces) <= 600 < len(mesh.faces)
    assert np.abs(ball(small.vertices)).max() < 0.02
    assert volume(small) == pytest.approx(volume(mesh), rel=0.03)
    assert simplify(mesh, 10**7) is mesh
