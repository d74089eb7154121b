import math
from dataclasses import replace

import pytest

from clearpane.synthesis.glass.incidence import view_of_pane
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld


def incidence(pane=None, camera=None, height=192, width=256):
    scene = GlassScene(Background("b"), ReflectedWorld("w"), pane or Pane(), camera or Camera())
    return view_of_pane(scene, height, width).incidence


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


def test_the_farthest_glass_by_hand():
    # A ray at 25 degrees and a pane turned away by 30: they meet at d cos(30) / cos(30 + 25) along the ray.
    scene = GlassScene(Background("b"), ReflectedWorld("w"), Pane(yaw=30, distance=1, thickness=1e-6))
    along = math.cos(math.radians(30)) / math.cos(math.radians(55))
    farthest = view_of_pane(scene, 1, 1000).farthest
    assert farthest == pytest.approx(along * math.cos(math.radians(25)), rel=1e-3)
    double = replace(scene, pane=Pane("double", distance=1, thickness=0.004, gap=0.02))
    assert view_of_pane(double, 48, 64).farthest == pytest.approx(1.028, abs=1e-9)
    passed = replace(scene, pane=Pane("lens", front_curvature=3.0, back_curvature=3.0))
    assert view_of_pane(passed, 48, 64).farthest == math.inf
