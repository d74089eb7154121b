"""What LIRM's figures are computed with: scores, baselines, the order of views, what is held out."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import (
    HALF_SIZE,
    Cameras,
    look_at,
    picture_rays,
    pinhole_intrinsics,
    project,
    spread_order,
)
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.reconstruction.lirm.model import LirmConfig
from clearpane.reconstruction.lirm.weights_file import save_lirm
from clearpane.synthesis.objects.rendering import ObjectRenderOptions
from clearpane.synthesis.objects.samples import (
    ObjectDataset,
    ObjectSources,
    ObjectStream,
    draw_object_sample,
    fibonacci_sphere,
)
from clearpane.training.lirm.object_queue import ObjectOrder, ObjectQueue

RADIUS = 0.35


@pytest.fixture
def one_thread():
    """As worker processes have: sums are taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cameras_at(eyes, side=64):
    intrinsics = pinhole_intrinsics(32, side, side).expand(len(eyes), 4)
    return Cameras(look_at(eyes, torch.zeros(3)), intrinsics, side, side)


def around(count, side=64, turned=0.0):
    """Cameras all around, each at its own distance."""
    turn = torch.linalg.matrix_exp(turned * torch.tensor([[0.0, 1, 2], [-1, 0, 3], [-2, -3, 0]]))
    distances = torch.linspace(1.8, 2.4, count)[:, None]
    return cameras_at(distances * fibonacci_sphere(count) @ turn, side)


def sphere_masks(cameras):
    """A sphere's share of each pixel, of 4 x 4 rays: [V, 1, H, W]."""
    origins, directions = picture_rays(cameras.resized(4 * cameras.height, 4 * cameras.width))
    along = (origins * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1) + RADIUS**2 > 0
    return F.avg_pool2d(inside.float()[:, None], 4)


def cube_grid(count):
    axis = torch.linspace(-HALF_SIZE, HALF_SIZE, count)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def sample_of(**views):
    return SimpleNamespace(views=SimpleNamespace(**views))


def decibel(error):
    return -10 * float(np.log10(error))


def test_parallel_planes_are_as_far_apart_as_their_distance_in_millimetres():
    chamfer = importlib.import_module("benchmarks.reconstruction.scores").chamfer
    axis = torch.linspace(-0.5, 0.5, 80)
    plane = torch.cartesian_prod(axis, axis, torch.tensor([0.1]))
    assert chamfer(plane, plane + torch.tensor([0.0, 0.0, 0.03])) == pytest.approx(30, abs=0.05)
    assert chamfer(plane + torch.tensor([0.0, 0.0, 0.002]), plane) == pytest.approx(2, abs=0.05)
    # Distances are roots of differences in float32.
    assert chamfer(plane, plane) == pytest.approx(0, abs=0.05)


def test_both_ways_count_the_same_and_nothing_found_has_no_distance():
    chamfer = importlib.import_module("benchmarks.reconstruction.scores").chamfer
    one, two = torch.zeros(1, 3), torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.3, 0.0]])
    # 100 mm from the one to the nearer of two, and 200 mm in the mean from those to the one.
    assert chamfer(one, two) == pytest.approx(150)
    assert chamfer(two, one) == pytest.approx(150)
    assert chamfer(torch.zeros(0, 3), two) is None


def test_crossings_of_a_linear_field_lie_on_its_plane():
    crossings = importlib.import_module("benchmarks.reconstruction.scores").crossings
    grid = cube_grid(24)
    normal = F.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)
    found = crossings(grid @ normal - 0.07, grid)
    assert len(found) > 24**2
    assert (found @ normal - 0.07).abs().max() < 1e-5
    assert found.abs().max() < HALF_SIZE + 1e-5
    for place in (grid[11, 0, 0, 0], grid[11:13, 0, 0, 0].mean()):
        # Upright: one point an edge, also where the plane passes through points of the grid.
        upright = crossings(grid[..., 0] - place, grid)
        assert len(upright) == 24**2
        assert (upright[:, 0] - place).abs().max() < 1e-6
        assert len(upright[:, 1:].unique(dim=0)) == 24**2
    assert len(crossings(grid[..., 0] + 1, grid)) == 0


def test_crossings_of_a_sphere_are_at_its_radius():
    crossings = importlib.import_module("benchmarks.reconstruction.scores").crossings
    for grid in (cube_grid(64), voxel_centres(64, torch.zeros(1))):
        found = crossings(grid.norm(dim=-1) - RADIUS, grid)
        # A chord is off by at most h^2 / 8 times the curvature, and always inwards.
        edge = 2 * HALF_SIZE / 63
        error = found.norm(dim=-1) - RADIUS
        assert error.min() > -(edge**2) / 8 / (RADIUS - edge) - 1e-6 and error.max() < 1e-6
        assert found.mean(0).abs().max() < 1e-3
        assert (F.normalize(found, dim=-1) @ fibonacci_sphere(500).T).amax(0).min() > 0.999


def test_summaries_are_over_the_objects_that_have_the_figure():
    summary = importlib.import_module("benchmarks.reconstruction.scores").summary
    rows = [
        {"psnr": 20.0, "chamfer": 0.0, "albedo": None},
        {"psnr": 24.0, "chamfer": None, "albedo": None},
        {"psnr": 28.0, "chamfer": 3.0, "albedo": None},
    ]
    found = summary(rows)
    assert found["psnr"] == pytest.approx({"mean": 24, "sd": (32 / 3) ** 0.5, "objects": 3})
    assert found["chamfer"] == pytest.approx({"mean": 1.5, "sd": 1.5, "objects": 2})
    assert found["albedo"] is None
    assert list(found) == ["psnr", "chamfer", "albedo"]


def test_scores_of_a_view_know_a_constant_error():
    view_scores = importlib.import_module("benchmarks.reconstruction.scores").view_scores
    truth = torch.stack([torch.full((3, 16, 20), level / 255) for level in (80, 255, 100)])
    mask = torch.zeros(3, 1, 16, 20)
    mask[..., :8, :5] = 1
    sample = sample_of(colour=truth, mask=mask)
    assert view_scores(truth, sample, [0, 1, 2]) == pytest.approx({"psnr": 100, "object": 100, "ssim": 1})
    found = view_scores(truth[[2]] + 10 / 255, sample, [2])
    assert found["psnr"] == pytest.approx(decibel((10 / 255) ** 2), abs=1e-3)
    assert found["object"] == pytest.approx(decibel((10 / 255) ** 2), abs=1e-3)
    a, b, c = 110 / 255, 100 / 255, 0.01**2
    assert found["ssim"] == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-5)
    # An error of the object's eighth of the picture alone; then the mean with a picture without error.
    result = truth[[2, 0]] + torch.tensor([20 / 255, 0])[:, None, None, None] * mask[:2]
    error = decibel((20 / 255) ** 2)
    found = view_scores(result[:1], sample, [2])
    assert found["object"] == pytest.approx(error, abs=1e-3)
    assert found["psnr"] == pytest.approx(error + decibel(1 / 8), abs=1e-3)
    assert view_scores(result, sample, [2, 0])["object"] == pytest.approx((error + 100) / 2, abs=1e-3)


def test_albedo_is_scored_after_one_gain_a_picture_and_channel():
    material_scores = importlib.import_module("benchmarks.reconstruction.scores").material_scores
    mask = torch.ones(2, 1, 8, 8)
    mask[..., -1] = 0.9  # the edge, where anything may stand
    truth = torch.full((2, 3, 8, 8), 0.2)
    truth[0, :, 4:] = truth[1, :, :4] = 0.6
    normal = torch.zeros(2, 3, 8, 8)
    normal[:, 2] = 1
    sample = sample_of(mask=mask, albedo=truth, normal=normal)
    gains = torch.tensor([[0.5, 1.0, 3.0], [0.1, 0.7, 2.0]])[:, :, None, None]
    rubbish = torch.rand(2, 3, 8, 1, generator=torch.Generator().manual_seed(0))
    right = torch.cat([(gains * truth)[..., :-1], rubbish], dim=-1)
    assert material_scores({"albedo": right, "normal": normal}, sample, [0, 1])["albedo"] > 99
    assert material_scores({"albedo": right[[1]], "normal": normal[:1]}, sample, [1])["albedo"] > 99
    # An even grey is fitted to the mean of both halves, whatever it was.
    even = torch.cat([gains.expand(2, 3, 8, 7), rubbish], dim=-1)
    low, fitted, high = linear_to_srgb(torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)).tolist()
    expected = decibel(((low - fitted) ** 2 + (high - fitted) ** 2) / 2)
    found = material_scores({"albedo": even, "normal": normal}, sample, [0, 1])
    assert found["albedo"] == pytest.approx(expected, abs=1e-3)


def test_brightness_is_off_by_stops_of_the_means_of_channels():
    material_scores = importlib.import_module("benchmarks.reconstruction.scores").material_scores
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 8, 8, generator=generator) + 0.1
    mask = torch.ones(2, 1, 8, 8)
    mask[..., -1] = 0.9  # the edge, where anything may stand
    sample = sample_of(mask=mask, albedo=truth, normal=torch.ones(2, 3, 8, 8))
    # Other pixels, as bright in the mean but for two stops; then red for three, green and blue for minus one.
    gains = torch.tensor([[4.0, 4.0, 4.0], [8.0, 0.5, 0.5]])[:, :, None, None]
    albedo = gains * truth.flip(-2)
    albedo[..., -1] = torch.rand(2, 3, 8, generator=generator)
    found = material_scores({"albedo": albedo, "normal": truth}, sample, [0, 1])["brightness"]
    assert found == pytest.approx((2 + (3 + 1 + 1) / 3) / 2, abs=1e-5)


def test_normals_are_off_by_the_angle_that_they_are_turned_by():
    material_scores = importlib.import_module("benchmarks.reconstruction.scores").material_scores
    angle = 2 * torch.pi * torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))

    def turned(degrees):
        by = angle + torch.deg2rad(torch.tensor(degrees))[:, None, None]
        return torch.stack([by.cos(), torch.zeros_like(by), by.sin()], dim=1)

    white, mask = torch.ones(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    sample = sample_of(mask=mask, albedo=white, normal=turned([0.0, 0.0]))

    def score(normal):
        return material_scores({"albedo": white, "normal": normal}, sample, [0, 1])["normal"]

    assert score(turned([0.0, 0.0])) == pytest.approx(0, abs=0.05)
    assert score(turned([30.0, 30.0])) == pytest.approx(30, abs=0.01)
    assert score(0.3 * turned([-10.0, 50.0])) == pytest.approx(30, abs=0.01)
    assert score(turned([180.0, 180.0])) == pytest.approx(180, abs=0.05)
    half = turned([0.0, 0.0])
    half[..., :4] = 0
    assert score(half) == pytest.approx(45, abs=0.05)


def test_an_object_that_is_not_found_is_black_and_a_right_angle_off():
    material_scores = importlib.import_module("benchmarks.reconstruction.scores").material_scores
    truth = torch.ones(1, 3, 8, 8)
    sample = sample_of(mask=torch.ones(1, 1, 8, 8), albedo=truth, normal=truth)
    nothing = {"albedo": torch.zeros(1, 3, 8, 8), "normal": torch.zeros(1, 3, 8, 8)}
    assert material_scores(nothing, sample, [0]) == pytest.approx(
        {"albedo": 0, "brightness": 10, "normal": 90}, abs=1e-3
    )


def test_the_nearest_view_is_that_of_the_nearest_direction():
    nearest_views = importlib.import_module("benchmarks.reconstruction.view_baselines").nearest_views
    cameras = around(8, 16)
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest_views(pictures, cameras, cameras[[5, 0, 5, 7]]), pictures[[5, 0, 5, 7]])
    # A little to the side it is still the nearest, however far either camera stands.
    far, near = torch.linspace(1, 20, 8)[:, None], torch.linspace(3, 1, 8)[:, None]
    moved = cameras.centres + 0.05 * torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    inputs, targets = cameras_at(far * cameras.centres, 16), cameras_at(near * moved, 16)
    assert torch.equal(nearest_views(pictures, inputs, targets), pictures)


@pytest.fixture
def baselines(monkeypatch):
    module = importlib.import_module("benchmarks.reconstruction.view_baselines")
    monkeypatch.setattr(module, "HULL_SIDE", 64)
    return module


def test_the_hull_of_a_sphere_is_as_large_as_the_sphere(baselines):
    cameras = around(20)
    masks = sphere_masks(cameras)
    hull = baselines.visual_hull(masks, cameras)
    side = hull.shape[-1]
    assert hull.shape == (side, side, side) and hull.min() >= 0 and hull.max() <= 1
    centres, voxel = voxel_centres(side, hull), 2 * HALF_SIZE / side
    distance, inside = centres.norm(dim=-1), hull > 0.5
    assert inside[distance < RADIUS - voxel].all()
    # The radius of a ball of the same volume; between the cones of the views corners stand out.
    radius = (3 * voxel**3 * float(inside.sum()) / (4 * torch.pi)) ** (1 / 3)
    assert radius == pytest.approx(RADIUS, abs=voxel)
    assert distance[inside].max() < RADIUS + 3 * voxel
    for view in range(len(masks)):
        pixels, _ = project(cameras[view], centres[hull > 0])
        column, row = pixels.floor().long().clamp(0, 63).unbind(-1)
        assert (F.max_pool2d(masks[view], 3, 1, 1)[0, row, column] > 0).all()


def test_one_mask_cuts_the_hull_whatever_the_others_say(baselines):
    cameras = around(6)
    masks = sphere_masks(cameras)
    masks[2, :, :, :32] = 0
    hull = baselines.visual_hull(masks, cameras)
    rest = voxel_centres(hull.shape[-1], hull)[hull > 0.5]
    assert len(rest) > 1000
    # Between two pixels, one of the object and one beside it, the mask's half is at their border.
    assert project(cameras[2], rest)[0][:, 0].min() > 32 - 1e-3
    masks[4] = 0
    assert not baselines.visual_hull(masks, cameras).any()


def test_a_sphere_of_one_colour_keeps_it_in_new_views_and_stands_on_white(baselines):
    cameras, targets = around(12), around(3, 48, turned=0.2)
    masks, true = sphere_masks(cameras), sphere_masks(targets)
    colour = torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    hull = baselines.visual_hull(masks, cameras)
    shown = baselines.hull_views(hull, masks * colour + 1 - masks, masks, cameras, targets)
    assert shown.shape == (3, 3, 48, 48)
    inner = -F.max_pool2d(-true, 3, 1, 1)[:, 0] == 1
    outer = F.max_pool2d(true, 7, 1, 3)[:, 0] > 0
    assert inner.sum() > 500 and (~outer).sum() > 500
    shown = shown.movedim(1, -1)
    assert (shown[inner] - colour[:, 0, 0]).abs().max() < 1e-3
    assert (shown[~outer] == 1).all()


def test_views_come_from_all_sides_none_twice_and_none_that_is_left_out():
    cameras = around(20)
    for without in ([], [0, 1, 7], [19], list(range(1, 20))):
        order = spread_order(cameras, without)
        assert sorted(order) == [i for i in range(20) if i not in without]
    # Of each camera its opposite, at another distance, in another place of the list.
    directions = fibonacci_sphere(5)
    eyes = torch.cat([2 * directions, -1.5 * directions.flip(0)])
    assert spread_order(cameras_at(eyes), [])[:2] == [0, 9]
    assert spread_order(cameras_at(eyes), [0, 1, 5])[:2] == [2, 7]
    # Of two cameras near each end of each axis, one each before any second.
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    first = spread_order(cameras_at(torch.cat([2 * axes, 2 * axes + 0.2 * axes.roll(1, 0)])), [])[:6]
    assert sorted(index % 6 for index in first) == list(range(6))


@pytest.fixture
def held_out(tmp_path):
    folder = tmp_path / "held-out"
    folder.mkdir()
    for name in ("urban_alley_01_1k.hdr", "venice_sunset_1k.hdr"):
        (folder / name).touch()
    return folder


def weights_under(path, *environments):
    save_lirm(path, LirmConfig(), {"weight": torch.zeros(1)}, environments)
    return path


def test_weights_that_were_trained_under_other_maps_may_be_measured(tmp_path, held_out):
    check_held_out = importlib.import_module("benchmarks.lirm.feed_forward").check_held_out
    weights = weights_under(tmp_path / "weights.safetensors", "studio_1k.hdr", "held-out/venice_1k.hdr")
    check_held_out(weights, held_out)


@pytest.mark.parametrize("stored", ["venice_sunset_1k.hdr", "held-out/venice_sunset_1k.hdr"])
def test_weights_that_saw_a_held_out_map_are_refused_wherever_it_lay(tmp_path, held_out, stored):
    check_held_out = importlib.import_module("benchmarks.lirm.feed_forward").check_held_out
    weights = weights_under(tmp_path / "weights.safetensors", "studio_1k.hdr", stored)
    with pytest.raises(ClearpaneError, match=r"venice_sunset_1k\.hdr"):
        check_held_out(weights, held_out)


def test_maps_are_split_into_those_to_train_with_and_the_last_two(tmp_path):
    split_environments = importlib.import_module("benchmarks.lirm.held_out_environments").split_environments
    folder = tmp_path / "environments"
    folder.mkdir()
    for name in ("moor.hdr", "attic.exr", "yard.hdr", "barn.hdr", "zoo.exr"):
        (folder / name).write_text(name)
    (folder / "zz-licence.txt").touch()
    for _ in range(2):
        parts = split_environments(folder, tmp_path / "cache")
        train, held_out = ({p.name for p in part.iterdir()} for part in parts)
        assert held_out == {"yard.hdr", "zoo.exr"}
        assert train == {"attic.exr", "barn.hdr", "moor.hdr"}
        for part in parts:
            assert all(p.read_text() == p.name for p in part.iterdir())
    (folder / "zz.hdr").write_text("zz.hdr")
    (folder / "attic.exr").unlink()
    train, held_out = split_environments(folder, tmp_path / "cache")
    assert {p.name for p in held_out.iterdir()} == {"zoo.exr", "zz.hdr"}
    assert {p.name for p in train.iterdir()} == {"barn.hdr", "moor.hdr", "yard.hdr"}


def test_a_worker_makes_the_same_objects(one_thread):
    stream = ObjectStream(views=2, side=16, points=8, options=ObjectRenderOptions(1, 8, 2))
    data, order = ObjectDataset(ObjectSources(), stream), ObjectOrder(steps=2, batch=1)
    here, there = ObjectQueue(data, order, workers=0), ObjectQueue(data, order, workers=1)
    for step in range(2):
        (own,), (other,) = here.take(step), there.take(step)
        for name, value in own.views._asdict().items():
            assert torch.equal(getattr(other.views, name), value), name
        assert torch.equal(other.cameras.camera_to_world, own.cameras.camera_to_world)
        assert torch.equal(other.cameras.intrinsics, own.cameras.intrinsics)
        assert torch.equal(other.points, own.points)
        assert torch.equal(other.distances, own.distances)


def test_objects_are_those_of_this_version_of_their_generator():
    views = draw_object_sample(0, ObjectSources(), ObjectStream(views=2, side=16, points=8)).views
    found = [*views.colour.mean((0, 2, 3)).tolist(), float(views.mask.mean())]
    assert found == pytest.approx([0.7882, 0.7596, 0.7496, 0.4180], abs=1e-3), (
        "the same seed gives another object or other pictures: GENERATOR_VERSION of "
        "clearpane.synthesis.objects.samples is to grow, and these numbers are to be written anew"
    )


def test_gains_are_paired_and_count_the_objects_that_lose():
    lirm = importlib.import_module("benchmarks.lirm.feed_forward")
    rows = {row for pair in lirm.COMPARED for row in pair}
    scores = [{row: {"psnr": 20.0} for row in rows} for _ in range(4)]
    for result, eight in zip(scores, (21.0, 23.0, 19.5, 22.5), strict=True):
        result["LIRM, 8 views"] = {"psnr": eight}
    first, second, *others = lirm.paired_gains(scores)
    assert (first["row"], first["other"]) == ("LIRM, 8 views", "LIRM, 4 views")
    assert first["mean"] == pytest.approx(1.5) and first["least"] == pytest.approx(-0.5)
    assert first["low"] < 1.5 < first["high"] and first["lose"] == 1
    assert second["mean"] == pytest.approx(-1.5) and second["lose"] == 3
    assert all(g["mean"] == pytest.approx(1.5) for g in others)


def test_the_curves_of_a_run_are_read_from_its_folder_and_drawn(tmp_path):
    from xml.etree import ElementTree

    from torch.utils.tensorboard import SummaryWriter

    module = importlib.import_module("benchmarks.lirm.curves")
    assert module.smoothed([(1, 2.0), (2, 4.0), (3, 9.0)], 2) == [(2, 3.0)]
    with pytest.raises(ClearpaneError, match="holds no run"):
        module.read_curves(tmp_path)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 201):
            writer.add_scalar("loss", 1 / step, step)
            for part in module._PARTS:
                writer.add_scalar(f"loss/{part}", 1.0 if step <= 100 else 0.0, step)
        for step, value in ((1, 20.0), (100, 21.0), (200, 24.0)):
            writer.add_scalar("validation/psnr", value, step)
    module.measure(module.Options(tmp_path, tmp_path))
    svg = ElementTree.parse(tmp_path / "lirm_training.svg")
    lines = [e.get("points").split() for e in svg.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 1 + len(module._PARTS)
    earlier = module.read_curves(tmp_path)
    del earlier["loss/brightness"]
    assert module.draw(earlier).count("<polyline") == len(module._PARTS)
    x, y = zip(*(map(float, point.split(",")) for point in lines[0]), strict=True)
    # 4 dB and 200 steps fill the panel; a quarter of the first is reached half-way along the second.
    assert (y[0] - y[1]) / (y[0] - y[2]) == pytest.approx(0.25, abs=0.01)
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(0.5, abs=0.01)
    for line in lines[1:]:
        (_, before), (_, after) = (map(float, point.split(",")) for point in line)
        assert after - before == pytest.approx(170, abs=0.2)
