"""The recipe of LIRM: the deferred gradient, the schedule, whole runs, what is refused."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import picture_rays, pixel_rays, spread_order
from clearpane.images.picture import Picture
from clearpane.images.writing import write_picture
from clearpane.reconstruction.field.rendering import RenderOptions, occupied_cells, render_rays, render_views
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm, LirmConfig
from clearpane.reconstruction.lirm.weights_file import (
    LIRM_SMALL_WEIGHTS,
    load_lirm,
    save_lirm,
    trained_environments,
    weights_file,
)
from clearpane.synthesis.objects.rendering import ObjectRenderOptions
from clearpane.synthesis.objects.samples import (
    ObjectDataset,
    ObjectSample,
    ObjectSources,
    ObjectStream,
    draw_object_sample,
)
from clearpane.training.lirm.augmentation import exchange_channels, transform_sample
from clearpane.training.lirm.losses import channel_gain, distance_loss, patch_losses, structural_similarity
from clearpane.training.lirm.object_queue import ObjectOrder, ObjectQueue
from clearpane.training.lirm.objective import (
    ROUNDS,
    LirmObjective,
    Stage,
    TargetSampling,
    draw_order,
    draw_patch,
    reduced,
    stack_views,
)
from clearpane.training.lirm.recipe import TrainLirm, check, open_objects, open_validation, run, stage_at
from clearpane.training.lirm.validation import FINAL_RENDERING, new_view_psnr
from clearpane.training.loop import step_generator

from ..two_processes import TwoProcesses

TINY = LirmConfig(
    blocks=2,
    width=16,
    heads=2,
    patch=8,
    plane_side=2,
    plane_stride=4,
    channels=4,
    panorama_side=2,
    evidence=8,
    volume=8,
)
STREAM = ObjectStream(views=20, side=16, points=64, options=ObjectRenderOptions(1, 8, 2))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sample() -> ObjectSample:
    return draw_object_sample(1, ObjectSources(), STREAM)


def objective(targets: int = 3) -> LirmObjective:
    torch.manual_seed(0)
    lirm = Lirm(TINY)
    for parameter in lirm.parameters():  # heads that start at zero pass no gradient on
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return LirmObjective(lirm, TargetSampling(targets, 8, 12))


def joint_loss(module: LirmObjective, sample: ObjectSample, stage: Stage, seed: int) -> Tensor:
    """The plain twin for an object shown in one round: all target views in one graph."""
    generator = step_generator(seed, 0)
    order = draw_order(sample.cameras, 3, generator)
    known = not torch.randint(8, (), generator=generator)
    shown = order[3:][: sum(stage.rounds)] if stage.shown is None else torch.tensor(stage.shown)
    views = stack_views([sample], [shown], known, CPU)
    memory, first, total = None, 0, torch.zeros(())
    for count in stage.rounds:
        with torch.autocast("cpu", torch.bfloat16):
            memory = module.lirm.observe(views.part(first, first + count), memory)
            (field,) = module.lirm.fields(memory)
        first += count
        options = RenderOptions(stage.beta, 12)
        occupied = occupied_cells(field, options, torch.zeros(1))
        for view in order[:3].tolist():
            patch, pixels = draw_patch(sample, view, 8, generator)
            origins, directions = pixel_rays(sample.cameras[view], pixels.flatten(0, 1))
            rendered = render_rays(field, origins, directions, options, occupied, generator)
            total = total + patch_losses(rendered, patch).total / 3 / len(stage.rounds)
        distance = distance_loss(field.signed_distance(sample.points), sample.distances)
        total = total + distance / len(stage.rounds)
    return total


@pytest.mark.parametrize(
    ("seed", "rounds", "shown"),
    [(0, (8,), None), (1, (4, 4), None), (3, (4, 4, 8), None), (4, (3,), (7, 0, 12)), (5, (2, 1), (1, 9, 4))],
)
def test_the_deferred_gradient_is_that_of_the_whole_graph(
    sample: ObjectSample,
    seed: int,
    rounds: tuple[int, ...],
    shown: tuple[int, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In bfloat16 the same sums round otherwise when they are taken in another order.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    stage = Stage(16, 0.05, rounds, shown)
    deferred, joint = objective(), objective()
    one = deferred([sample], stage, step_generator(seed, 0))
    other = joint_loss(joint, sample, stage, seed)
    assert one.item() == pytest.approx(other.item(), rel=1e-5)
    assert float(sum(deferred.parts.values())) == pytest.approx(one.item(), rel=1e-5)
    one.backward()
    other.backward()
    for (name, a), b in zip(deferred.named_parameters(), joint.parameters(), strict=True):
        if b.grad is None or not b.grad.any():
            assert a.grad is None or not a.grad.any(), name
            continue
        assert a.grad is not None, name
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5), name


def test_memory_does_not_grow_with_target_views(sample: ObjectSample) -> None:
    peaks = []
    for targets in (1, 4):
        alive = peak = 0

        class Kept:
            """A tensor that a graph keeps."""

            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, peak
                self.tensor = tensor
                alive += tensor.numel()
                peak = max(peak, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.tensor.numel()

        with saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            loss = objective(targets)([sample], Stage(16, 0.05), step_generator(1, 0))
        del loss
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0]


def test_the_run_goes_from_coarse_and_soft_to_fine_and_sharp() -> None:
    recipe = TrainLirm(Path("run"), steps=100)
    stages = [stage_at(recipe, step) for step in range(100)]
    assert [s.side for s in stages] == [64] * 60 + [128] * 40
    assert 1 / stages[0].beta == pytest.approx(800)  # it starts from the hull
    assert 1 / stages[50].beta == pytest.approx(800)
    assert {s.rounds for s in stages} == set(ROUNDS)
    assert [s.rounds for s in stages] == [stage_at(recipe, step).rounds for step in range(100)]
    stages = [stage_at(replace(recipe, size="paper"), step) for step in range(100)]
    assert 1 / stages[0].beta == pytest.approx(20)
    assert 1 / stages[50].beta == pytest.approx((20 * 800) ** 0.5)
    assert all(a.beta > b.beta for a, b in pairwise(stages))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": 0}, "`steps=0`: give 1 or more"),
        ({"objects": -1}, "`objects=-1`: give 0 or more"),
        ({"coarse_share": 1.5}, "`coarse_share=1.5`: give 0 to 1"),
        ({"learning_rate": 0.0}, "`learning_rate=0`: give more than 0"),
        ({"average": 1.0}, "`average=1`: give 0 or more, less than 1"),
        ({"coarse_side": 60}, "`coarse_side=60`: give a multiple of 16 that divides `side=128`"),
        ({"patch": 100}, "`patch=100`: give 8 to 64"),
        ({"validation": -1}, "`validation=-1`: give 0 or more"),
        ({"patch": 7}, "`patch=7`: give 8 to 64"),
        ({"targets": 5}, "`targets=5`: give 4 or less"),
        ({"learning_rate": float("nan")}, "`learning_rate=nan`: give more than 0"),
    ],
)
def test_recipes_that_cannot_be_are_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(ClearpaneError, match=says):
        check(replace(TrainLirm(Path("run")), **change))  # type: ignore[arg-type]


def test_a_true_rendering_has_no_loss(sample: ObjectSample) -> None:
    patch, pixels = draw_patch(sample, 2, 8, torch.Generator().manual_seed(0))
    assert patch.colour.shape == (3, 8, 8) and pixels.shape == (8, 8, 2)
    column, row = (pixels[0, 0] - 0.5).long().tolist()
    assert torch.equal(patch.mask[0, 3, 2], sample.views.mask[2, 0, row + 3, column + 2])

    class Perfect:
        """What rays would see of a perfect reconstruction."""

        opacity = patch.mask.reshape(1, -1).T
        depth = patch.depth.reshape(1, -1).T

        class appearance:
            colour = patch.colour.reshape(3, -1).T
            albedo = patch.albedo.reshape(3, -1).T
            metallic = patch.metallic.reshape(1, -1).T
            roughness = patch.roughness.reshape(1, -1).T
            normal = patch.normal.reshape(3, -1).T

    losses = patch_losses(Perfect, patch)  # type: ignore[arg-type]
    assert float(losses.total) < 1e-6
    Perfect.appearance.colour = 1 - Perfect.appearance.colour
    worse = patch_losses(Perfect, patch)  # type: ignore[arg-type]
    changed = {name for name in worse.parts if float(worse.parts[name]) > float(losses.parts[name]) + 1e-4}
    assert changed == {"colour", "gradients", "ssim"}
    # A gain is no matter of the albedo's pattern, but of its brightness; and the other way round.
    albedo, masked = Perfect.appearance.albedo, patch.mask.sum()
    Perfect.appearance.albedo = 0.5 * albedo
    darker = patch_losses(Perfect, patch)  # type: ignore[arg-type]
    assert float(darker.parts["albedo"]) < 1e-6
    missing = 0.5 * (patch.mask * patch.albedo).sum((-2, -1)) / masked
    assert float(darker.parts["brightness"]) == pytest.approx(float(missing.square().mean()), rel=1e-5)
    alternating = 1 + 0.5 * (-1.0) ** torch.arange(len(albedo))[:, None]
    weights = patch.mask.reshape(-1, 1)
    mean = (weights * alternating * albedo).sum(0) / (weights * albedo).sum(0)
    Perfect.appearance.albedo = alternating / mean * albedo
    uneven = patch_losses(Perfect, patch)  # type: ignore[arg-type]
    assert float(uneven.parts["albedo"]) > 1e-4 and float(uneven.parts["brightness"]) < 1e-8
    # What is seen beside the object is the mask's loss, and an object that hardly shows says little.
    Perfect.appearance.albedo = albedo + 1
    hardly = patch._replace(mask=torch.zeros_like(patch.mask).index_fill(1, torch.tensor([0]), 1e-3))
    beside = patch_losses(Perfect, hardly)  # type: ignore[arg-type]
    assert float(beside.parts["brightness"]) == pytest.approx((8 * 1e-3 / 0.64) ** 2, rel=1e-4)


def test_views_that_are_always_shown_fill_the_rounds() -> None:
    with pytest.raises(ValueError, match=r"3 views for rounds of \(4, 4\)"):
        Stage(16, 0.05, (4, 4), (0, 1, 2))


def test_the_gain_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    result, target = torch.rand(2, 3, 5, 5, generator=generator).double()
    gain = channel_gain(result, target)
    for channel in range(3):
        expected = torch.linalg.lstsq(result[channel].reshape(-1, 1), target[channel].reshape(-1, 1)).solution
        assert float(gain[channel]) == pytest.approx(float(expected))
    assert torch.equal(channel_gain(torch.zeros(3, 2, 2), torch.ones(3, 2, 2)), torch.ones(3, 1, 1))


def test_similarity_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)).double()
    b = (a + 0.2 * torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(1))).clamp(0, 1).double()
    # Theirs, with every place weighed the same as ours: no window reaches beyond the picture.
    _, whole = metrics.structural_similarity(
        a.numpy(), b.numpy(), channel_axis=0, data_range=1.0, full=True, use_sample_covariance=False
    )
    assert float(structural_similarity(a, b)) == pytest.approx(float(whole[:, 3:-3, 3:-3].mean()), abs=1e-6)
    assert float(structural_similarity(a, a)) == pytest.approx(1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 3])
def test_turned_and_mirrored_objects_are_seen_consistently(
    sample: ObjectSample, quarters: int, mirrored: bool
) -> None:
    moved = transform_sample(sample, quarters, mirrored)
    rotation = moved.cameras.camera_to_world[:, :3, :3]
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(20), atol=1e-5)

    def surface(s: ObjectSample) -> tuple[Tensor, Tensor]:
        """Where each pixel's ray ends, and the normal there; rows of pixels in the unmirrored order."""
        origins, directions = picture_rays(s.cameras)
        points = origins + s.views.depth.movedim(1, -1) * directions
        flip = mirrored and s is moved
        normal = s.views.normal.movedim(1, -1)
        return (points.flip(2), normal.flip(2)) if flip else (points, normal)

    change = torch.linalg.lstsq(sample.points, moved.points).solution  # rows: points @ change
    (there, there_normal), (here, here_normal) = surface(moved), surface(sample)
    inside = sample.views.mask[:, 0] == 1
    assert inside.any()
    assert torch.allclose(there[inside], (here @ change)[inside], atol=1e-4)
    assert torch.allclose(there_normal[inside], (here_normal @ change)[inside], atol=1e-4)
    assert torch.allclose(there[..., 1], here[..., 1], atol=1e-4)  # up stays up


def test_exchanged_channels_are_those_of_light_and_object(sample: ObjectSample) -> None:
    other = exchange_channels(sample, torch.tensor([2, 0, 1]))
    for name in ("colour", "albedo", "background"):
        before, after = getattr(sample.views, name), getattr(other.views, name)
        assert torch.equal(after[:, 0], before[:, 2]) and torch.equal(after[:, 1], before[:, 0])
    assert other.views.normal is sample.views.normal and other.points is sample.points


def test_views_are_shown_and_rendered_once(sample: ObjectSample) -> None:
    orders = [draw_order(sample.cameras, 4, step_generator(0, step)).tolist() for step in range(20)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    spread = [order for order in orders if spread_order(sample.cameras, order[:4], order[4]) == order[4:]]
    assert 4 < len(spread) < 16


def test_smaller_pictures_are_means_and_keep_depths(sample: ObjectSample) -> None:
    small = reduced(sample, 8)
    assert small.views.colour.shape == (20, 3, 8, 8)
    assert (small.cameras.height, small.cameras.width) == (8, 8)
    assert torch.allclose(small.views.colour.mean(), sample.views.colour.mean(), atol=1e-5)
    seen = small.views.mask > 0
    depth = sample.views.depth[sample.views.mask > 0]
    assert small.views.depth[seen].min() >= depth.min() - 1e-4
    assert small.views.depth[seen].max() <= depth.max() + 1e-4
    assert reduced(sample, 16) is sample


def test_objects_come_in_the_order_of_their_steps_wherever_one_begins(tmp_path: Path) -> None:
    order = ObjectOrder(draws=5, batch=1, kept=3, seed=4)
    assert {n for step in range(50) for n in order.numbers(step)} == {0, 1, 2}
    # Which object comes and how it is turned are drawn apart: each is seen from all sides.
    many = ObjectOrder(draws=400, batch=1, kept=8, seed=4)
    turns = {
        (many.numbers(s)[0], int(torch.randint(4, (), generator=step_generator(4, s)))) for s in range(400)
    }
    assert len(turns) == 8 * 4
    endless = ObjectOrder(draws=10, batch=2, processes=2)
    assert endless.numbers(1) == [2, 3] and endless.numbers(3) == [6, 7]
    stream = replace(STREAM, views=2, points=4)
    queue = ObjectQueue(ObjectDataset(ObjectSources(), stream, tmp_path), order, 0)
    taken = [queue.take(step)[0].points for step in range(3)]
    with pytest.raises(ClearpaneError, match="holds other objects"):
        ObjectDataset(ObjectSources(), replace(stream, side=24), tmp_path)
    again = ObjectQueue(ObjectDataset(ObjectSources(), stream, tmp_path), order, 0)
    assert torch.equal(again.take(2)[0].points, taken[2])


def small_recipe(folder: Path, steps: int = 4) -> TrainLirm:
    return TrainLirm(
        folder,
        objects=2,
        side=16,
        coarse_side=8,
        targets=1,
        patch=8,
        samples=6,
        steps=steps,
        workers=0,
        cpu=True,
        checkpoint_every=2,
        validation=0,
    )


def test_an_interrupted_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    assert run(small_recipe(tmp_path / "whole")) == 0
    log = (tmp_path / "whole" / "log.jsonl").read_text()
    assert [json.loads(line)["step"] for line in log.splitlines()] == [1, 2, 3, 4]

    real = module.augment
    calls = []

    def failing(*arguments: object) -> ObjectSample:
        calls.append(1)
        if len(calls) == 4:
            raise ClearpaneError("the power went")
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr(module, "augment", failing)
        with pytest.raises(ClearpaneError):
            run(small_recipe(tmp_path / "broken"))
    assert run(small_recipe(tmp_path / "broken")) == 0
    there, here = (load_lirm(tmp_path / name / "lirm.safetensors") for name in ("whole", "broken"))
    for a, b in zip(there.parameters(), here.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "broken" / "log.jsonl").read_text() == log
    with pytest.raises(ClearpaneError, match="belongs to another run"):
        run(small_recipe(tmp_path / "whole", steps=6))


def test_weights_survive_their_file_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lirm = Lirm(TINY)
    path = tmp_path / "lirm.safetensors"
    save_lirm(path, TINY, lirm.state_dict())
    loaded = load_lirm(path)
    assert loaded.config == TINY and not loaded.training
    for a, b in zip(lirm.parameters(), loaded.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ClearpaneError, match="cannot be read as safetensors"):
        load_lirm(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ClearpaneError, match="holds no LIRM"):
        load_lirm(path)
    save_lirm(path, replace(TINY, width=32), lirm.state_dict())
    with pytest.raises(ClearpaneError, match="holds no LIRM"):
        load_lirm(path)


def test_the_weights_that_come_with_clearpane_are_small_and_do_better_than_none() -> None:
    assert weights_file(Path("lirm-small")) == LIRM_SMALL_WEIGHTS
    assert weights_file(LIRM_SMALL_WEIGHTS) == LIRM_SMALL_WEIGHTS
    lirm = load_lirm(LIRM_SMALL_WEIGHTS)
    assert lirm.config == LIRM_SMALL and len(trained_environments(LIRM_SMALL_WEIGHTS)) == 10
    assert sum(p.numel() for p in lirm.parameters()) <= 8e6 and LIRM_SMALL_WEIGHTS.stat().st_size <= 16e6
    # Under drawn skies, as none in training was, and in smaller pictures.
    stream = ObjectStream(seed=3, views=10, side=64, options=ObjectRenderOptions(1, 16, 4))
    samples = [draw_object_sample(number, ObjectSources(), stream) for number in range(2)]
    assert new_view_psnr(lirm, samples) > new_view_psnr(Lirm(LIRM_SMALL).eval(), samples) + 0.4


def test_what_is_learnt_by_an_interruption_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    real, calls = module.augment, []

    def interrupted(*arguments: object) -> ObjectSample:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "augment", interrupted)
    assert run(small_recipe(tmp_path / "run", steps=50)) == 130
    first = load_lirm(tmp_path / "run" / "lirm.safetensors")
    assert all(p.isfinite().all() for p in first.parameters())


def test_a_run_does_not_go_on_under_other_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        light = Picture(np.full((8, 16, 3), 0.5, np.float32), "exr", "float")
        write_picture(tmp_path / name / f"{name}.exr", light)
    recipe = replace(small_recipe(tmp_path / "run", steps=2), objects=0)
    assert run(replace(recipe, environments=tmp_path / "first")) == 0
    with pytest.raises(ClearpaneError, match="belongs to another run"):
        run(replace(recipe, environments=tmp_path / "second"))


def test_objects_are_rendered_on_a_device_and_given_on_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clearpane.synthesis.objects import samples as object_samples

    devices = []
    real = object_samples.draw_object_sample

    def watched(index: int, sources: ObjectSources, stream: ObjectStream, device: object) -> ObjectSample:
        devices.append(device)
        return real(index, sources, stream)

    monkeypatch.setattr(object_samples, "draw_object_sample", watched)
    stream = replace(STREAM, views=2, points=4)
    sample = ObjectDataset(ObjectSources(), stream, device="cuda")[0]
    assert devices == ["cuda"] and sample.points.device == CPU


def use_tiny() -> None:
    """Make the size "small" tiny, in another process."""
    from clearpane.training.lirm import recipe as module

    module._SIZES["small"] = TINY


def test_two_processes_train_as_one_that_shows_the_objects_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    options = "--objects 2 --side 32 --coarse-side 16 --patch 8 --samples 6 --targets 1 --steps 2 --workers 0"
    options += " --validation 1"
    one = replace(small_recipe(tmp_path / "one", steps=2), side=32, coarse_side=16)
    data = open_objects(one, CPU)
    for index in range(2):  # before both would draw them
        assert data[index].points.shape == (16384, 3)
    shutil.copytree(tmp_path / "one" / "objects", tmp_path / "two" / "objects")
    words = ["lirm", "--output", tmp_path / "two", "--cpu", *options.split()]
    codes, said = TwoProcesses(words, tmp_path / "two.txt", use_tiny).finish()
    assert codes == [0, 0], said
    plain, steps = module.LirmObjective.forward, [0, 1]

    def both(self: LirmObjective, samples: object, stage: Stage, generator: object) -> Tensor:
        step, losses = steps.pop(0), []
        for process in (0, 1):
            own = step_generator(0, 2 * step + process)
            (number,) = ObjectOrder(4, 1, 2).numbers(2 * step + process)
            losses.append(plain(self, [module.augment(reduced(data[number], stage.side), own)], stage, own))
        return (losses[0] + losses[1]) / 2

    monkeypatch.setattr(module.LirmObjective, "forward", both)
    assert run(one) == 0
    torch.manual_seed(0)
    weights = [Lirm(TINY).parameters()]
    weights += [load_lirm(tmp_path / name / "lirm.safetensors").parameters() for name in ("one", "two")]
    before, one_s, two_s = (torch.cat([p.flatten() for p in w]) for w in weights)
    # Adam makes whole steps of the smallest gradients too, rounding errors and all: most must be the same.
    assert (two_s - one_s).abs().mean() < 0.02 * (one_s - before).abs().mean()


def test_new_views_are_measured_once_the_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    recipe = replace(small_recipe(tmp_path / "run"), validation=1)

    calls = []

    def failing(*_: object) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise ClearpaneError("the power went")
        return 0.0

    with monkeypatch.context() as broken:
        broken.setattr(module, "new_view_psnr", failing)
        with pytest.raises(ClearpaneError, match="the power went"):
            run(recipe)

    def said() -> list[str]:
        return [line for line in capsys.readouterr().out.splitlines() if "new views" in line]

    assert [line.split(":")[0] for line in said()] == ["step 1"]
    assert run(recipe) == 0  # it measures step 2, whose checkpoint was written, and goes on from there
    lines = said()
    assert [line.split(":")[0] for line in lines] == ["step 2", "step 4"]
    last = lines[-1]
    sample = open_validation(recipe, open_objects(recipe, CPU), CPU)[0]
    expected = new_view_psnr(load_lirm(tmp_path / "run" / "lirm.safetensors"), [sample])
    assert float(last.split()[2]) == pytest.approx(expected, abs=0.02)
    assert run(replace(recipe, output=tmp_path / "none", validation=0)) == 0
    assert not (tmp_path / "none" / "validation").exists()


def test_a_run_can_begin_with_the_weights_of_another_and_names_the_maps_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    torch.manual_seed(5)
    first = tmp_path / "first.safetensors"
    save_lirm(first, TINY, Lirm(TINY).state_dict(), ("a.exr",))
    (tmp_path / "maps").mkdir()
    write_picture(tmp_path / "maps" / "b.exr", Picture(np.full((8, 16, 3), 0.5, np.float32), "exr", "float"))
    # Too slow to change anything: the weights are still those that were begun with.
    recipe = replace(small_recipe(tmp_path / "run", steps=1), init=first, learning_rate=1e-12)
    assert run(replace(recipe, environments=tmp_path / "maps")) == 0
    made = tmp_path / "run" / "lirm.safetensors"
    for a, b in zip(load_lirm(first).parameters(), load_lirm(made).parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert trained_environments(made) == ("a.exr", "b.exr")
    with monkeypatch.context() as shipped:
        shipped.setattr("clearpane.reconstruction.lirm.weights_file.LIRM_SMALL_WEIGHTS", first)
        assert run(replace(recipe, output=tmp_path / "named", init=Path("lirm-small"))) == 0
    assert trained_environments(tmp_path / "named" / "lirm.safetensors") == ("a.exr",)
    with pytest.raises(ClearpaneError, match="belongs to another run"):
        run(replace(recipe, environments=tmp_path / "maps", init=None))
    other = replace(recipe, output=tmp_path / "other")
    with pytest.raises(ClearpaneError, match="this run would overwrite it"):
        run(replace(recipe, init=made))
    with pytest.raises(ClearpaneError, match="cannot be read as safetensors"):
        run(replace(other, init=tmp_path / "missing.safetensors"))
    with pytest.raises(ClearpaneError, match="holds no LIRM"):
        run(replace(other, init=tmp_path / "run" / "checkpoint.safetensors"))
    monkeypatch.setitem(module._SIZES, "small", replace(TINY, width=32))
    with pytest.raises(ClearpaneError, match="do not have the size small"):
        run(other)
    assert not (tmp_path / "other").exists()


def test_new_views_are_not_shown_and_others_make_no_difference() -> None:
    sample = draw_object_sample(2, ObjectSources(), STREAM)
    torch.manual_seed(0)
    lirm = Lirm(TINY).eval()
    measured = new_view_psnr(lirm, [sample])
    shown = spread_order(sample.cameras, [0, 10])[:8]

    def changed(view: int) -> float:
        colour = sample.views.colour.clone()
        colour[view] = 1 - colour[view]
        return new_view_psnr(lirm, [replace(sample, views=sample.views._replace(colour=colour))])

    unused = next(view for view in range(20) if view not in [0, 10, *shown])
    assert changed(unused) == measured
    assert changed(shown[0]) != measured and changed(10) != measured
    with torch.no_grad():
        (field,) = lirm([stack_views([sample], [torch.tensor(shown)], False, CPU)])
        pictures = render_views(field, sample.cameras[[0, 10]], FINAL_RENDERING)["colour"]
    # What is measured is what is rendered: as its own truth it would be perfect.
    colour = sample.views.colour.clone()
    colour[[0, 10]] = pictures
    assert new_view_psnr(lirm, [replace(sample, views=sample.views._replace(colour=colour))]) > 60


def test_an_interrupt_before_any_line_of_a_step_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt_every_line: Callable[..., set[tuple[str, int]]]
) -> None:
    from clearpane.training.lirm import augmentation, objective
    from clearpane.training.lirm import recipe as module

    monkeypatch.setitem(module._SIZES, "small", TINY)
    # Few points, views and checkpoints: the lines are the same, and executed hundreds of times.
    monkeypatch.setattr(module, "ObjectStream", partial(ObjectStream, points=256))
    monkeypatch.setattr(module, "ROUNDS", ((2,), (1, 1)))
    settings = replace(small_recipe(tmp_path / "run", steps=150), checkpoint_every=150)
    own = [module, augmentation, objective]
    lines = interrupt_every_line(module, own, lambda: run(settings))
    assert len({file for file, _ in lines}) == 3 and len(lines) > 40
