"""Random scenes: the same everywhere, within their ranges, and possible."""

import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.synthesis.glass.faces import pane_grid
from clearpane.synthesis.glass.incidence import view_of_pane
from clearpane.synthesis.glass.ranges import SceneRanges
from clearpane.synthesis.glass.sampling import SourceNames, axis_reflectance, sample_scene, scene_seed
from clearpane.synthesis.glass.scene import GlassScene, Pane

NAMES = SourceNames(("a.jpg", "b.jpg", "sub/c.png"), ("x.hdr", "y.exr"))
RANGES = SceneRanges()
SEEDS = (0, 1, 2, 3, 2**47 + 3)


@pytest.fixture(scope="module")
def scenes() -> list[GlassScene]:
    return [sample_scene(scene_seed(5, k), NAMES, RANGES, 48, 64) for k in range(200)]


def test_a_seed_gives_this_very_scene() -> None:
    """One line for each seed; a change of the ranges or of the order of draws changes them all."""
    golden = Path(__file__).with_name("scenes.jsonl").read_text().splitlines()
    assert [sample_scene(seed, NAMES, SceneRanges()).to_json() for seed in SEEDS] == golden


def test_another_process_draws_the_same() -> None:
    code = (
        "from clearpane.synthesis.glass.sampling import *;"
        "names = SourceNames(('a.jpg', 'b.jpg', 'sub/c.png'), ('x.hdr', 'y.exr'));"
        "print(sample_scene(scene_seed(5, 7), names, SceneRanges(), 48, 64).to_json())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == sample_scene(scene_seed(5, 7), NAMES, RANGES, 48, 64).to_json()


def test_seeds_of_a_data_set_differ() -> None:
    assert len({scene_seed(seed, index) for seed in range(20) for index in range(100)}) == 2000


def test_scenes_survive_json(scenes: list[GlassScene]) -> None:
    assert all(GlassScene.from_json(scene.to_json()) == scene for scene in scenes)


def test_numbers_stay_within_their_ranges(scenes: list[GlassScene]) -> None:
    def all_within(numbers: list[float], ends: tuple[float, float]) -> bool:
        return all(ends[0] <= x <= ends[1] for x in numbers) and len(set(numbers)) > 1

    panes = [s.pane for s in scenes]
    assert all_within([p.thickness for p in panes], RANGES.thickness)
    assert all_within([p.ior for p in panes], RANGES.ior)
    assert all_within([abs(p.yaw) for p in panes], RANGES.yaw)
    assert all_within([p.pitch for p in panes], RANGES.pitch)
    assert all_within([p.distance for p in panes], RANGES.glass_distance)
    assert all_within([s.camera.field_of_view for s in scenes], RANGES.field_of_view)
    assert all_within([s.camera.lens_radius for s in scenes if s.camera.lens_radius], RANGES.lens_radius)
    assert all_within([s.world.distance for s in scenes], RANGES.world_distance)
    assert all_within([x for p in panes for x in p.absorption if x <= 15], RANGES.clear_absorption)
    assert all_within([x for p in panes for x in p.absorption if x > 15], RANGES.tinted_absorption)
    behind = [s.background.distance - s.pane.distance for s in scenes]
    assert min(behind) >= RANGES.background_distance[0]
    assert max(behind) <= RANGES.background_distance[1] + 0.05
    assert {math.copysign(1, p.yaw) for p in panes} == {-1, 1}


def test_no_ray_grazes_the_glass(scenes: list[GlassScene]) -> None:
    assert max(view_of_pane(scene, 48, 64).incidence for scene in scenes) <= 75


def test_steep_panes_are_rejected_not_avoided(scenes: list[GlassScene]) -> None:
    """Some of the scenes come close to the limit."""
    assert max(view_of_pane(scene, 48, 64).incidence for scene in scenes) > 70


def test_glass_stands_before_what_is_seen_through_it_and_in_it(scenes: list[GlassScene]) -> None:
    reaches = []
    for scene in scenes:
        farthest = view_of_pane(scene, 48, 64).farthest
        reaches.append(farthest / scene.background.distance)
        if scene.world.shape == "screen":
            reaches.append(farthest / (scene.pane.distance + scene.world.distance))
    assert 0.8 < max(reaches) < 1


def test_the_path_tracer_takes_what_is_drawn() -> None:
    curved = replace(RANGES, bent_chance=0.5, lens_chance=0.5, wedged_chance=0, double_chance=0)
    for index in range(40):
        assert pane_grid(sample_scene(scene_seed(0, index), NAMES, curved), 256, 256)


def test_shapes_come_as_often_as_asked(scenes: list[GlassScene]) -> None:
    shapes = Counter(s.pane.shape for s in scenes)
    assert set(shapes) == {"flat", "wedged", "double", "bent", "lens"}
    deviation = math.sqrt(200 * RANGES.double_chance * (1 - RANGES.double_chance))
    assert abs(shapes["double"] - 200 * RANGES.double_chance) < 4 * deviation
    assert all(s.world.shape == "dome" for s in scenes if s.pane.shape in ("bent", "lens"))


def test_worlds_take_other_pictures_than_the_background(scenes: list[GlassScene]) -> None:
    screens = [s for s in scenes if s.world.shape == "screen"]
    assert all(s.world.picture in NAMES.backgrounds for s in screens)
    assert all(s.world.picture != s.background.picture for s in screens)
    assert all(s.world.picture in NAMES.environments for s in scenes if s.world.shape == "dome")


def test_without_environments_there_are_screens_only() -> None:
    names = SourceNames(("a.jpg",))
    drawn = [sample_scene(k, names, RANGES, 32, 32) for k in range(60)]
    assert {s.world.shape for s in drawn} == {"screen"}
    assert {s.pane.shape for s in drawn} == {"flat", "wedged", "double"}


def test_reflections_have_the_asked_strength(scenes: list[GlassScene]) -> None:
    """The world is as bright as the pane's reflectance needs it to be."""
    median, deviation = RANGES.reflection_level
    for shape, gain in ("screen", 1.0), ("dome", RANGES.dome_gain):
        some = [s for s in scenes if s.world.shape == shape]
        levels = np.array([s.world.radiance * axis_reflectance(s.pane) for s in some])
        error = 1.25 * deviation / math.sqrt(len(some))
        assert abs(math.log(np.median(levels) / (gain * median))) < 4 * error
        assert levels.max() <= RANGES.reflection_level_limits[1] * (1 + 1e-4)


def test_reflectance_on_the_axis() -> None:
    clear = Pane(ior=1.5, absorption=(0.0, 0.0, 0.0))
    assert axis_reflectance(clear) == pytest.approx(2 * 0.04 / 1.04)
    assert axis_reflectance(replace(clear, yaw=60)) == pytest.approx(0.1519, abs=1e-4)
    # Four faces without absorption: 4 R / (1 + 3 R).
    assert axis_reflectance(replace(clear, shape="double")) == pytest.approx(0.16 / 1.12)
    assert axis_reflectance(replace(clear, absorption=(1e6,) * 3)) == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("thickness", (0.012, 0.003)),
        ("thickness", (-0.01, 0.003)),
        ("ior", (0.9, 1.5)),
        ("yaw", (0.0, 95.0)),
        ("lens_radius", (0.0, 0.01)),
        ("exposure", (0.5, math.inf)),
        ("dome_chance", 1.5),
        ("wedged_chance", -0.1),
        ("reflection_level", (0.0, 0.9)),
        ("jpeg_quality", (50.0, 101.0)),
        ("double_chance", 0.95),
        ("focus_on_reflection", 0.7),
        ("bend", (0.1, 60.0)),
    ],
)
def test_impossible_ranges_are_named_in_one_line(field: str, value: object) -> None:
    with pytest.raises(ClearpaneError, match=field) as error:
        SceneRanges(**{field: value})
    assert "\n" not in str(error.value)


def test_panes_that_are_always_too_steep() -> None:
    with pytest.raises(ClearpaneError, match=r"yaw \(80.0, 85.0\)"):
        sample_scene(1, NAMES, SceneRanges(yaw=(80.0, 85.0)))


def test_domes_that_cannot_hold_the_camera() -> None:
    ranges = SceneRanges(glass_distance=(1.5, 2.0), world_distance=(0.5, 1.0), dome_chance=1.0)
    with pytest.raises(ClearpaneError, match="world_distance"):
        sample_scene(1, NAMES, ranges)


def test_bent_panes_only_but_no_environments() -> None:
    ranges = SceneRanges(wedged_chance=0, double_chance=0, bent_chance=0.5, lens_chance=0.5)
    with pytest.raises(ClearpaneError, match="environments"):
        sample_scene(1, SourceNames(("a.jpg",)), ranges)
    assert {sample_scene(k, NAMES, ranges).pane.shape for k in range(20)} == {"bent", "lens"}


@pytest.mark.parametrize(("seed", "names"), [(-1, NAMES), (0, SourceNames(()))])
def test_nothing_to_draw(seed: int, names: SourceNames) -> None:
    with pytest.raises(ClearpaneError):
        sample_scene(seed, names, RANGES)


def test_seeds_below_zero() -> None:
    with pytest.raises(ClearpaneError, match="-1"):
        scene_seed(-1, 0)
