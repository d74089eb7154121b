"""Six planes against three, continuity, and what an SDF on them looks like."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.geometry.mesh import extract_surface
from clearpane.reconstruction.field import hexaplane
from clearpane.reconstruction.field.hexaplane import BAND, PAIRS, sample_hexaplane


def sample_triplane(planes: Tensor, points: Tensor) -> Tensor:
    """Features from three planes whose two halves are equal: [3, C, N, N], [P, 3] -> [P, 3 C]."""
    return sample_hexaplane(planes.repeat_interleave(2, dim=0), points)


def random_planes(count: int, side: int = 8, channels: int = 2) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0)).double()


def random_points(count: int, seed: int = 1) -> Tensor:
    return (
        (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1) * HALF_SIZE
    ).double()


def bilinear(plane: Tensor, column: float, row: float) -> Tensor:
    """The plain twin: [C, N, N] at places in [-1, 1]; beyond the plane there is 0."""
    side = plane.shape[-1]
    x, y = (column + 1) / 2 * side - 0.5, (row + 1) / 2 * side - 0.5
    left, top = int(torch.floor(torch.tensor(x))), int(torch.floor(torch.tensor(y)))
    total = torch.zeros(len(plane), dtype=plane.dtype)
    for j in (top, top + 1):
        for i in (left, left + 1):
            if 0 <= i < side and 0 <= j < side:
                total += plane[:, j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    return total


def test_look_ups_are_those_of_the_plain_twin() -> None:
    # Beyond the cube too, where another half lies in memory.
    planes, points = random_planes(6), 1.3 * random_points(60)
    sampled = sample_hexaplane(planes, points)
    assert sample_hexaplane(planes, points[:0]).shape == (0, 6)
    torch.testing.assert_close(sample_hexaplane(planes.float(), points.float()), sampled.float())
    for point, features in zip(points / HALF_SIZE, sampled, strict=True):
        expected = []
        for pair, (column, row, third) in enumerate(PAIRS):
            weight = min(max(0.5 + float(point[third]) / (2 * BAND), 0.0), 1.0)
            plus, minus = (
                bilinear(planes[2 * pair + half], float(point[column]), float(point[row])) for half in (0, 1)
            )
            expected.append(weight * plus + (1 - weight) * minus)
        assert torch.allclose(features, torch.cat(expected))


def fit(planes: Tensor, points: Tensor, values: Tensor, sample: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The worst error of the best linear read-out of planes that are fitted too, by least squares."""
    columns = []
    for index in range(planes.numel()):
        unit = torch.zeros_like(planes).flatten()
        unit[index] = 1
        columns.append(sample(unit.reshape(planes.shape), points).sum(-1))
    matrix = torch.stack(columns, dim=-1)
    solution = torch.linalg.lstsq(matrix, values, driver="gelsd").solution
    return float((matrix @ solution - values).abs().max())


def test_opposite_faces_keep_their_own_textures_on_six_planes_and_cannot_on_three() -> None:
    # Two textures, on the faces z = +-0.4 of a box: checks and their opposite.
    axis = torch.linspace(-0.35, 0.35, 6).double()
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    checks = torch.where((torch.arange(6)[:, None] + torch.arange(6)) % 2 == 0, 1.0, -1.0).double()
    front = torch.stack([x, y, torch.full_like(x, 0.4)], dim=-1).reshape(-1, 3)
    back = front * front.new_tensor([1, 1, -1])
    points, values = torch.cat([front, back]), torch.cat([checks.flatten(), -checks.flatten()])
    planes = torch.zeros(6, 1, 8, 8).double()
    assert fit(planes, points, values, sample_hexaplane) < 1e-6
    assert fit(planes[:3], points, values, sample_triplane) > 0.5  # it cannot tell the faces apart


def test_features_are_continuous_where_a_sign_changes() -> None:
    planes = random_planes(6)
    for axis in range(3):
        points = random_points(200)
        points[:, axis] = 0
        step = torch.zeros(3).double()
        step[axis] = 1e-7
        jump = sample_hexaplane(planes, points + step) - sample_hexaplane(planes, points - step)
        assert jump.abs().max() < 1e-4
        # Beyond the band a half has no part in the other side's features.
        changed = planes.clone()
        changed[1::2] += 1
        points[:, axis] = 0.1
        pair = next(k for k, (_, _, third) in enumerate(PAIRS) if third == axis)
        own = slice(2 * pair, 2 * pair + 2)
        assert torch.equal(
            sample_hexaplane(planes, points)[:, own], sample_hexaplane(changed, points)[:, own]
        )


@pytest.mark.parametrize(("band", "cracked"), [(hexaplane.BAND, False), (1e-9, True)])
def test_a_sphere_has_no_crack_where_it_crosses_the_coordinate_planes(
    band: float, cracked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its radius is the same on either side of each, though the halves' features differ."""
    monkeypatch.setattr(hexaplane, "BAND", band)
    planes = 0.05 * torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    angle = torch.arange(1, 41, dtype=torch.float64) * (2 * torch.pi / 41)
    for first, second, third in hexaplane.PAIRS:
        radii = []
        for side in (-1e-7, 1e-7):
            direction = torch.zeros(40, 3, dtype=torch.float64)
            direction[:, first], direction[:, second] = angle.cos(), angle.sin()
            across = torch.zeros(3, dtype=torch.float64)
            across[third] = side
            low, high = torch.full((40, 1), 0.1).double(), torch.full((40, 1), 0.49).double()
            for _ in range(50):
                middle = (low + high) / 2
                points = middle * direction + across
                distance = points.norm(dim=-1) - 0.35 + sample_hexaplane(planes, points).mean(-1)
                outside = (distance > 0)[:, None]
                low, high = torch.where(outside, low, middle), torch.where(outside, middle, high)
            radii.append(low)
        gap = (radii[0] - radii[1]).abs().max()
        assert (gap > 1e-3) if cracked else (gap < 1e-5)


def test_the_mesh_of_a_sphere_with_other_features_on_each_half_is_one_closed_surface() -> None:
    planes = 0.05 * torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def distance(points: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(points).double()
        return (at.norm(dim=-1) - 0.35 + sample_hexaplane(planes, at).mean(-1)).numpy()

    mesh = extract_surface(distance, 64)
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    directed, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 1).all()
    # Each edge has two faces, which pass it in opposite directions.
    assert {tuple(e) for e in directed.tolist()} == {tuple(e) for e in directed[:, ::-1].tolist()}
    euler = len(mesh.vertices) - len(directed) // 2 + len(mesh.faces)
    assert euler == 2  # one sphere, without handles
    for axis in range(3):  # it lies on both sides of each coordinate plane
        assert mesh.vertices[:, axis].min() < -0.25 and mesh.vertices[:, axis].max() > 0.25


def test_gradients_are_those_of_finite_differences() -> None:
    planes = random_planes(6, 4).requires_grad_()
    points = (random_points(5) * 0.9).requires_grad_()
    assert torch.autograd.gradcheck(sample_hexaplane, (planes, points))


def test_beyond_the_cube_there_is_nothing() -> None:
    features = sample_hexaplane(random_planes(6), torch.tensor([[2.0, 2.0, 2.0]]).double())
    assert torch.equal(features, torch.zeros_like(features))
    assert F.relu(features).sum() == 0
