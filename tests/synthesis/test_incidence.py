import math

import pytest

from clearpane.synthesis.incidence import largest_incidence
from clearpane.synthesis.scene import Background, Camera, GlassScene, Pane, ReflectedWorld


def incidence(pane=None, camera=None, height=192, width=256):
    scene = GlassScene(Background("b"), ReflectedWorld("w"), pane or Pane(), camera or Camera())
    return largest_incidence(scene, height, width)


def test_flat_pane_is_steepest_in_the_corners():
    half = math.tan(math.radians(25))
    assert incidence() == pytest.approx(math.degrees(math.atan(half * math.hypot(1, 0.75))), abs=1e-9)


def test_yaw_adds_to_the_view():
    # A picture one pixel high: no more than half the view and the yaw, to a few hundredths of a degree.
    assert incidence(Pane(yaw=40), height=1, width=1000) == pytest.approx(65, abs=1e-3)
    assert incidence(Pane(yaw=-40), height=1, width=1000) == pytest.approx(65, abs=1e-3)


@pytest.mark.parametrize("curvature", [0.5, -0.5])
def test_bent_pane(curvature):
    # Sine rule in the triangle of camera, centre of curvature and point: sin(i) = |c| (distance + 1 / c) sin.
    sine = abs(curvature) * abs(1 + 1 / curvature) * math.sin(math.radians(25))
    # Between concentric faces radius times index times sine is kept: a convex one's inner face is steeper.
    inner = 1 / curvature - Pane().thickness
    expected = math.asin(sine * max(1, 1 / (curvature * inner)))
    pane = Pane("bent", front_curvature=curvature)
    assert incidence(pane, height=1, width=1000) == pytest.approx(math.degrees(expected), abs=1e-3)


def test_back_face_of_a_prism():
    # Along the axis, by Snell: asin(ior sin(wedge)); beyond the critical angle of 41.14 degrees no light.
    narrow = Camera(field_of_view=1e-3)
    expected = math.degrees(math.asin(1.52 * math.sin(math.radians(35))))
    assert incidence(Pane("wedged", wedge_angle=35), narrow) == pytest.approx(expected, abs=1e-2)
    assert incidence(Pane("wedged", wedge_angle=41.2), narrow) == 90


def test_wide_lens_sees_steeper():
    lens = Camera(lens_radius=0.02, focus_distance=2)
    across = 2 * math.tan(math.radians(25)) + 0.02
    assert incidence(camera=lens, height=1, width=1000) == pytest.approx(
        math.degrees(math.atan(across / 2)), abs=1e-3
    )


@pytest.mark.parametrize(
    "pane",
    [
        Pane("lens", front_curvature=5, back_curvature=-5),  # its rim is 35 mm from the axis
        Pane("bent", front_curvature=3),  # a pipe of radius 0.33 in a view 0.93 wide
        Pane("wedged", wedge_angle=2),  # ends 0.17 left of the axis
        Pane("lens", front_curvature=-0.1, back_curvature=2.5),  # the back face's radius is 0.4
    ],
)
def test_pane_that_does_not_fill_the_view(pane):
    assert incidence(pane) == 90


@pytest.mark.parametrize(
    "pane",
    [
        Pane("lens", front_curvature=5, back_curvature=-5),
        Pane("bent", front_curvature=3),
        Pane("wedged", wedge_angle=2),
        Pane("lens", front_curvature=-0.1, back_curvature=2.5),
        Pane("double", yaw=50, pitch=-10),
    ],
)
def test_and_one_that_does(pane):
    assert incidence(pane, Camera(field_of_view=3)) < 75
