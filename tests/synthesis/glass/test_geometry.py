"""Where things are in a scene."""

import math

import numpy as np
import pytest

from clearpane.synthesis.glass.geometry import (
    COVER,
    background_rectangle,
    dome_directions,
    pane_axes,
    pane_normal,
    screen_rectangle,
    view_tangents,
)
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld


def scene(yaw: float, pitch: float) -> GlassScene:
    return GlassScene(
        Background("a", distance=4.0),
        ReflectedWorld("b", distance=2.0),
        Pane(distance=0.8, yaw=yaw, pitch=pitch),
        Camera(field_of_view=60.0),
    )


def test_normal_faces_the_camera_and_turns_by_yaw_and_pitch() -> None:
    np.testing.assert_allclose(pane_normal(Pane()), [0, 0, -1], atol=1e-15)
    np.testing.assert_allclose(pane_normal(Pane(yaw=90 - 1e-9)), [-1, 0, 0], atol=1e-9)
    cosine = -pane_normal(Pane(yaw=30, pitch=10))[2]
    assert cosine == pytest.approx(math.cos(math.radians(30)) * math.cos(math.radians(10)))


@pytest.mark.parametrize("turn", [(0.0, 0.0), (40.0, 10.0), (-55.0, -12.0)])
def test_axes_are_right_handed_and_look_inwards(turn: tuple[float, float]) -> None:
    axes = pane_axes(Pane(yaw=turn[0], pitch=turn[1]))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert axes[0, 0] > 0 and axes[1, 1] > 0 and axes[2, 2] > 0


def test_field_of_view_is_the_longer_sides() -> None:
    across, down = view_tangents(60.0, 100, 200)
    assert (across, down) == pytest.approx((math.tan(math.pi / 6), math.tan(math.pi / 6) / 2))
    assert view_tangents(60.0, 200, 100) == pytest.approx((down, across))


@pytest.mark.parametrize("turn", [(0.0, 0.0), (40.0, 10.0)])
def test_screen_is_seen_upright_in_the_pane(turn: tuple[float, float]) -> None:
    s = scene(*turn)
    screen = screen_rectangle(s, 100, 200)
    normal, pane = pane_normal(s.pane), np.array([0, 0, 0.8])
    # the ray to the right edge of the view, reflected by the pane, meets the screen at 1 / COVER of its half
    across, _ = view_tangents(60.0, 100, 200)
    ray = np.array([across, 0, 1])
    hit = ray * (pane @ normal) / (ray @ normal)
    reflected = ray - 2 * (ray @ normal) * normal
    facing = np.cross(screen.across, screen.down)
    point = hit + reflected * ((screen.centre - hit) @ facing) / (reflected @ facing) - screen.centre
    assert point @ screen.across / (screen.across @ screen.across) == pytest.approx(1 / COVER)
    assert point @ screen.down == pytest.approx(0, abs=1e-12)
    assert (screen.centre - pane) @ normal > 0  # on the camera's side


def test_background_fills_the_view() -> None:
    rectangle = background_rectangle(scene(0, 0), 100, 200)
    np.testing.assert_allclose(rectangle.centre, [0, 0, 4])
    np.testing.assert_allclose(rectangle.across, [COVER * 4 * math.tan(math.pi / 6), 0, 0])


def test_dome_looks_forward_in_its_middle_and_up_at_its_top() -> None:
    directions = np.array([[0, 0, 2.0], [0, -1.0, 1e-9], [1.0, 0, 0], [-1.0, 0, 0], [1.0, 1.0, 0]])
    found = dome_directions(directions, 0.0)
    np.testing.assert_allclose(found[[0, 2, 3, 4]], [[0.5, 0.5], [0.75, 0.5], [0.25, 0.5], [0.75, 0.75]])
    assert found[1, 1] == pytest.approx(0, abs=1e-8)
    assert dome_directions(directions[:1], 90.0)[0, 0] == pytest.approx(0.25)
