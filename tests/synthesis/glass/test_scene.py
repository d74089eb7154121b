"""Scenes: JSON and back, and what is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearpane.errors import ClearpaneError
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Light, Pane, Post, ReflectedWorld

SCENE = GlassScene(
    Background("room/a.jpg", distance=4.0, contrast=1.5, mirrored=True),
    ReflectedWorld(
        "sky.hdr", "dome", 3.0, 2.5, 40.0, lights=(Light("disc", 0.2, 0.3, 0.05, 0.05, (9.0, 8.0, 7.0)),)
    ),
    Pane("wedged", yaw=-30.0, wedge_angle=0.2, dust=0.1),
    Camera(polarizer=45.0),
    Post(jpeg_quality=80, full_well=5000.0, read_noise=2.0),
    seed=7,
)


def test_json_and_back() -> None:
    assert GlassScene.from_json(SCENE.to_json()) == SCENE
    assert GlassScene.from_json(json.dumps(json.loads(SCENE.to_json()), indent=1)) == SCENE


@given(st.floats(0.1, 2.0), st.floats(-60, 60), st.floats(0, 0.02))
def test_json_keeps_every_digit(distance: float, yaw: float, lens_radius: float) -> None:
    scene = replace(SCENE, pane=Pane(distance=distance, yaw=yaw), camera=Camera(lens_radius=lens_radius))
    assert GlassScene.from_json(scene.to_json()) == scene


def test_missing_fields_take_their_defaults() -> None:
    scene = GlassScene.from_json('{"background": {"picture": "a"}, "world": {"picture": "b"}}')
    assert scene == GlassScene(Background("a"), ReflectedWorld("b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "Expected object"),
        (
            '{"background": {"picture": "a"}, "world": {"picture": "b"}, "pane": {"colour": 1}}',
            "'pane.colour'",
        ),
        ('{"world": {"picture": "b"}}', "background"),
        ('{"background": {"picture": 3}}', "background.picture: Expected str, got int"),
        ('{"background": {"picture": "a", "distance": true}}', "background.distance: Expected float"),
        ('{"background": {"picture": "a", "distance": NaN}}', "not JSON"),
        ('{"pane": {"shape": "round"}}', "pane.shape: .* 'round'"),
        ('{"pane": {"absorption": [1, 2]}}', "absorption"),
        ('{"pane": {"ior": 0.9}}', "ior must be above 1"),
        ('{"camera": {"field_of_view": 0}}', "field_of_view"),
        ('{"post": {"jpeg_quality": 0}}', "jpeg_quality"),
        ('{"world": {"picture": "b", "lights": [{"shape": "disc"}]}}', "world.lights.0.: .* field x"),
    ],
)
def test_what_is_no_scene_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ClearpaneError, match=message) as caught:
        GlassScene.from_json(text)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ClearpaneError, match="behind the pane"):
        GlassScene(Background("a", distance=1.0), ReflectedWorld("b"), Pane(distance=1.0))
    with pytest.raises(ClearpaneError, match="dome must hold the camera"):
        GlassScene(Background("a"), ReflectedWorld("b", "dome", distance=1.0), Pane(distance=1.0))
    with pytest.raises(ClearpaneError, match="front_curvature"):
        Pane("bent")
    with pytest.raises(ClearpaneError, match="radius of curvature"):
        Pane("lens", thickness=0.01, front_curvature=60.0)
