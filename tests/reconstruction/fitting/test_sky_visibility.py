"""What an object hides of its sky, in closed form."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from clearpane.optics.environment import solid_angles, texel_directions
from clearpane.reconstruction.fitting.sky_visibility import (
    SKY,
    SkyVisibility,
    directed,
    for_lights,
    sky_visibility,
)

from ..conftest import Sphere

DIRECTIONS = torch.from_numpy(texel_directions(*SKY)).float().reshape(-1, 3)


@dataclass(frozen=True)
class Corner(Sphere):
    """All is solid but where x and y are above 0: a floor and a wall upon it."""

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        return torch.minimum(points[:, 1:2], points[:, :1])


def open_share(sky: SkyVisibility, point: list[float], normal: list[float]) -> float:
    """How much of the light of an even sky a surface gets."""
    angles = torch.from_numpy(solid_angles(*SKY)).float().repeat_interleave(SKY[1])
    weight = angles * (DIRECTIONS @ torch.tensor(normal)).clamp(min=0)
    return float((sky.from_points(torch.tensor([point]))[0] * weight).sum() / weight.sum())


def test_a_ball_hides_nothing_of_what_it_faces() -> None:
    sky = sky_visibility(Sphere())
    assert open_share(sky, [0.0, 0.35, 0.0], [0.0, 1.0, 0.0]) > 0.97
    behind = sky.from_points(torch.tensor([[0.0, 0.35, 0.0]]))[0][DIRECTIONS[:, 1] < -0.5]
    assert behind.max() < 0.1


def test_a_wall_hides_half_of_what_its_foot_sees() -> None:
    sky = sky_visibility(Corner())
    assert open_share(sky, [0.02, 0.0, 0.0], [0.0, 1.0, 0.0]) == pytest.approx(0.5, abs=0.06)
    # A strip up to 60 degrees hides (1 - cos 60) / 2; it is not endless.
    assert open_share(sky, [0.3, 0.0, 0.0], [0.0, 1.0, 0.0]) == pytest.approx(0.75, abs=0.06)


def test_directions_and_finer_lights_find_their_own_texel() -> None:
    visibility = torch.eye(len(DIRECTIONS))
    assert (directed(visibility, DIRECTIONS) == 1).all()
    finer = for_lights(visibility[37:38], 16, 32)[0].reshape(16, 32)
    row, column = divmod(37, SKY[1])
    assert finer.sum() == 4 and finer[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].all()


def test_where_there_is_no_surface_all_is_open() -> None:
    assert (sky_visibility(Sphere(radius=-1.0)).volume == 1).all()
