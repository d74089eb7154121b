"""Panoramas and spherical harmonics."""

import math

import torch

from clearpane.reconstruction.field.directional import (
    mirror_directions,
    sample_panoramas,
    spherical_harmonics,
)


def directions(count: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double()
    return drawn / drawn.norm(dim=-1, keepdim=True)


def test_a_mirror_direction_has_the_angle_of_the_view_on_the_other_side() -> None:
    view, normal = directions(20), directions(20, 1).requires_grad_()
    mirror = mirror_directions(view, 3 * normal)
    assert torch.allclose(mirror.norm(dim=-1), torch.ones(20).double())
    assert torch.allclose((mirror * normal).sum(-1), (view * normal).sum(-1))
    assert not mirror.requires_grad  # the normal learns nothing from it


def test_texels_are_met_at_their_middles() -> None:
    height, width, count = 4, 8, 3
    panoramas = torch.randn(count, 2, height, width, generator=torch.Generator().manual_seed(0)).double()
    for number in range(count):
        for row in range(height):
            for column in range(width):
                y = 1 - 2 * (row + 0.5) / height
                angle = 2 * math.pi * (column + 0.5) / width
                level = math.sqrt(1 - y * y)
                d = torch.tensor([[level * math.sin(angle), y, -level * math.cos(angle)]]).double()
                place = torch.tensor([[number / (count - 1)]]).double()
                assert torch.allclose(
                    sample_panoramas(panoramas, place, d)[0], panoramas[number, :, row, column]
                )


def test_numbers_between_mix_two_panoramas() -> None:
    panoramas = torch.stack([torch.full((1, 4, 8), float(i)) for i in range(4)])
    numbers = torch.tensor([[0.0], [0.5], [1.0], [1 / 6]])
    sampled = sample_panoramas(panoramas, numbers, directions(4).float())
    assert torch.allclose(sampled[:, 0], torch.tensor([0.0, 1.5, 3.0, 0.5]), atol=1e-5)


def test_panoramas_close_around_the_back() -> None:
    panoramas = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0)).double()
    number = torch.tensor([[0.3]]).double()
    left, right = (torch.tensor([[x, 0.2, -1.0]]).double() for x in (-1e-7, 1e-7))
    jump = sample_panoramas(panoramas, number, left) - sample_panoramas(panoramas, number, right)
    assert jump.abs().max() < 1e-5


def test_harmonics_are_orthonormal_over_the_sphere() -> None:
    sample = directions(200_000)
    values = spherical_harmonics(sample)
    gram = 4 * math.pi * values.T @ values / len(sample)
    assert (gram - torch.eye(16)).abs().max() < 0.03


def test_gradients_are_those_of_finite_differences() -> None:
    panoramas = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    number = torch.tensor([[0.3], [0.6]]).double().requires_grad_()
    toward = directions(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(sample_panoramas, (panoramas, number, toward))
    assert torch.autograd.gradcheck(spherical_harmonics, (toward,))
