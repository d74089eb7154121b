"""Fitting to views: it gets better, never worse, and the same again; its losses, in closed form."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import picture_rays
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.optics.environment import look_up
from clearpane.reconstruction.asset.asset import save_asset
from clearpane.reconstruction.asset.baking import AssetSettings, bake_asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.field.directional import Encoding, facing
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import Appearance, Rendered
from clearpane.reconstruction.field.surface_gradient import distance_gradient
from clearpane.reconstruction.fitting import starting
from clearpane.reconstruction.fitting.gradient_workers import Gradients, gradient_workers
from clearpane.reconstruction.fitting.learnt_light import LearntLight, display, shade_rays
from clearpane.reconstruction.fitting.refine import Refined, _Fit, object_rays, refine
from clearpane.reconstruction.fitting.schedule import FitProgress, RefineSettings
from clearpane.reconstruction.fitting.starting import start_from_hull, start_from_lirm
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.observing import observe_capture

from ..conftest import TINY, Sphere, orbit, sphere_views


@pytest.fixture(scope="module", autouse=True)
def few_rays() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clearpane.reconstruction.fitting.refine._RAYS", 256)
        patch.setattr("clearpane.reconstruction.fitting.refine._EVALUATED", 1024)
        patch.setattr("clearpane.reconstruction.fitting.refine._SKIES", 2)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def capture() -> Capture:
    """A ball, coloured by its normals, from six sides."""
    cameras = orbit(6)
    pictures, masks = sphere_views(cameras)
    names = tuple(map(str, range(6)))
    return Capture(pictures, masks, cameras, names, Placement(np.zeros(3), np.eye(3), 1.0))


@pytest.fixture(scope="module")
def hull(capture: Capture) -> HexaplaneField:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "EVIDENCE_SIDE", 48)
        return start_from_hull(capture)


def glb(field: HexaplaneField) -> bytes:
    file = io.BytesIO()
    save_asset(bake_asset(field, AssetSettings(resolution=24, faces=200, texture=32)), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def refined(capture: Capture, hull: HexaplaneField) -> Refined:
    return refine(capture, hull, RefineSettings(steps=40))


def test_it_gets_better_and_the_same_seed_makes_the_same_asset(
    capture: Capture, hull: HexaplaneField, refined: Refined
) -> None:
    assert refined.steps == 40
    assert refined.psnr > refined.started_psnr + 2
    again = refine(capture, hull, RefineSettings(steps=40))
    assert again.started_psnr == refined.started_psnr  # the first run has not changed the start
    assert again.psnr == refined.psnr
    assert glb(again.field) == glb(refined.field) != glb(hull)
    assert refined.environment.shape == (16, 32, 3)


def test_a_time_limit_ends_it_early(capture: Capture, hull: HexaplaneField) -> None:
    seen: list[FitProgress] = []
    result = refine(capture, hull, RefineSettings(steps=100_000, time_limit=0.3), seen.append)
    assert 0 < result.steps < 100_000 and result.psnr >= result.started_psnr
    assert seen[-1].share == 1 and seen[-1].seconds_left == 0


def test_without_steps_it_is_the_start(capture: Capture, hull: HexaplaneField) -> None:
    same = refine(capture, hull, RefineSettings(steps=0))
    assert same.steps == 0 and same.psnr == same.started_psnr
    torch.testing.assert_close(same.field.planes, hull.planes)


def test_what_gets_worse_is_taken_back(
    capture: Capture, hull: HexaplaneField, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A loss that blows the object up: all looks are worse than the start.
    def blown_up(field: HexaplaneField, *_: object) -> torch.Tensor:
        return field.signed_distance(torch.zeros(1, 3)).sum() * 100

    monkeypatch.setattr("clearpane.reconstruction.fitting.refine.ray_loss", lambda *_: torch.zeros(()))
    monkeypatch.setattr("clearpane.reconstruction.fitting.refine.surface_loss", blown_up)
    shares: list[float] = []
    result = refine(
        capture,
        hull,
        RefineSettings(steps=60),
        on_progress=lambda progress: shares.append(progress.share),
    )
    assert result.psnr == result.started_psnr
    torch.testing.assert_close(result.field.planes, hull.planes)
    # Nothing has improved for four tenths of the steps: it has not gone on to the end.
    assert 0.35 < max(shares) < 0.5 and result.steps < 30


def test_steps_that_are_no_numbers_are_forgotten(
    capture: Capture, hull: HexaplaneField, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(1000))

    @contextmanager
    def failing_team(seed: int, parts: int) -> Iterator[Gradients]:
        with gradient_workers(seed, parts) as gradients:

            def sometimes_nothing(
                loss_of: Callable[[Generator], Tensor], parameters: Sequence[Tensor]
            ) -> list[Tensor | None]:
                found = gradients(loss_of, parameters)
                assert found[0] is not None
                if next(steps) % 3 == 0:
                    found[0].view(-1)[0] = math.nan
                return found

            yield sometimes_nothing

    monkeypatch.setattr("clearpane.reconstruction.fitting.refine.gradient_workers", failing_team)
    result = refine(capture, hull, RefineSettings(steps=28))
    assert result.psnr > result.started_psnr


def test_metallic_begins_at_a_half_only_where_nothing_is_known_of_it(hull: HexaplaneField) -> None:
    point = torch.tensor([[0.0, 0.33, 0.0]])

    def metallic(fit: _Fit) -> float:
        fit.begin_materials()
        return fit.field.appearance(point, point / 0.33).metallic.item()

    assert hull.appearance(point, point / 0.33).metallic.item() < 0.06
    assert metallic(_Fit(hull)) == pytest.approx(0.5)
    known = torch.zeros(1, 5, 2, 2, 2)
    assert metallic(_Fit(replace(hull, materials=known))) < 0.06


def test_it_begins_with_lirm_too(capture: Capture) -> None:
    torch.manual_seed(0)
    lirm = Lirm(replace(TINY, evidence=32)).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "EVIDENCE_SIDE", 24)
        start = start_from_lirm(capture, lirm)
    (predicted,) = lirm.fields(observe_capture(capture, lirm))
    point = torch.tensor([[0.0, 0.35, 0.0]])
    with torch.no_grad():  # its surface and materials, at another resolution
        pairs = [
            (f.signed_distance(point), *f.appearance(point, point / 0.35)[1:4]) for f in (start, predicted)
        ]
    for ours, lirms in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, lirms, rtol=0, atol=0.03)
    before = [parameter.clone() for parameter in lirm.parameters()]
    result = refine(capture, start, RefineSettings(steps=7))
    assert result.psnr > result.started_psnr
    assert all(torch.equal(a, b) for a, b in zip(before, lirm.parameters(), strict=True))


def test_what_is_lit_from_above_is_of_one_colour_all_the_same() -> None:
    # A ball of one colour, in white light from above: as it radiates it is bright above and dark below.
    truth = torch.tensor([0.6, 0.25, 0.1])
    sky = torch.full((16, 32, 3), 0.15)
    sky[:8] = 1.2
    cameras = orbit(6)
    pictures, masks = sphere_views(cameras)
    directions = picture_rays(cameras)[1].reshape(-1, 3)
    hit = (masks.reshape(-1) > 0).nonzero()[:, 0]
    normal = 2 * pictures.permute(0, 2, 3, 1).reshape(-1, 3)[hit] - 1
    one = torch.ones(len(hit), 1)
    albedo = truth.expand(len(hit), 3)
    seen = Rendered(one, one, Appearance(albedo, albedo, 0 * one, one, normal))
    lit = torch.ones(masks.numel(), 3)
    lit[hit] = display(shade_rays(seen, 0 * normal, directions[hit], sky)).clamp(0, 1)
    pictures = lit.reshape(6, 32, 32, 3).permute(0, 3, 1, 2)
    names = tuple(map(str, range(6)))
    capture = Capture(pictures, masks, cameras, names, Placement(np.zeros(3), np.eye(3), 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "EVIDENCE_SIDE", 48)
        start = start_from_hull(capture)
    result = refine(capture, start, RefineSettings(steps=40))
    # What radiates differs from above to below far more than what the albedo does, and the light makes up.
    top, bottom = torch.tensor([[0.0, 0.33, 0.0]]), torch.tensor([[0.0, -0.33, 0.0]])
    with torch.no_grad():
        above, below = (result.field.appearance(p, F.normalize(p, dim=-1)).albedo[0] for p in (top, bottom))
    shown = srgb_to_linear(lit[hit])
    radiated = shown[normal[:, 1] > 0.8].mean() / shown[normal[:, 1] < -0.8].mean()
    assert radiated > 2
    assert (above.mean() / below.mean()) < 0.6 * radiated
    light = result.environment.mean((1, 2))
    assert light[:6].mean() > 1.3 * light[-6:].mean()


def test_rays_are_those_about_the_object(capture: Capture) -> None:
    rays = object_rays(capture)
    assert (capture.masks > 0).sum() < len(rays) < capture.masks.numel()
    assert rays.masks.sum() == capture.masks.sum()


def test_the_gradient_of_a_ball_is_its_normal() -> None:
    points = F.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1) * 0.35
    torch.testing.assert_close(distance_gradient(Sphere(), points), points / 0.35, rtol=0, atol=0.015)


def test_normals_are_turned_to_the_viewer_only_where_they_must() -> None:
    view = torch.tensor([[0.0, 0.0, 1.0]] * 3)
    normal = F.normalize(torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, -1.0]]), dim=-1)
    turned = facing(normal, view)
    torch.testing.assert_close(turned[0], normal[0])
    assert (turned[1:, 2] > 0.04).all() and (turned[1:, 0] > 0.9).all()
    torch.testing.assert_close(turned.norm(dim=-1), torch.ones(3))


def test_display_is_srgb_and_has_a_slope_everywhere() -> None:
    linear = torch.linspace(0, 1, 100)
    torch.testing.assert_close(display(linear), linear_to_srgb(linear), rtol=0, atol=1e-5)
    values = torch.tensor([-0.1, 0.0, 0.002, 0.5, 1.0, 3.0], requires_grad=True)
    display(values).sum().backward()
    assert values.grad is not None and (values.grad > 0).all()


def test_even_light_on_a_rough_white_surface_is_nearly_what_falls_on_it() -> None:
    light = LearntLight()
    count = 20
    directions = F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    one = torch.ones(count, 1)
    rendered = Rendered(one, one, Appearance(one.expand(-1, 3), one.expand(-1, 3), 0 * one, one, -directions))
    shown = shade_rays(rendered, 0 * directions, directions, light.radiance())
    assert ((shown > 0.9) & (shown < 1.05)).all()
    # Twice the light, twice as bright; half the opacity, the same surface.
    with torch.no_grad():
        light.logarithm += float(np.log(2))
    half = Rendered(0.5 * one, one, Appearance(*(0.5 * x for x in rendered.appearance)))
    torch.testing.assert_close(
        shade_rays(half, 0 * directions, directions, light.radiance()), 2 * shown, rtol=1e-4, atol=1e-4
    )


def test_light_that_is_white_and_even_costs_nothing() -> None:
    light = LearntLight()
    assert float(light.regularity().detach()) == 0
    with torch.no_grad():
        light.logarithm[3, 4, 0] += 1
    assert float(light.regularity().detach()) > 0
    upward = look_up(light.radiance().detach(), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(upward, torch.ones(1, 3))


@pytest.mark.parametrize("encoding", ["panoramas", "harmonics", "none"])
def test_colour_may_know_directions_by_any_encoding(capture: Capture, encoding: Encoding) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "EVIDENCE_SIDE", 24)
        start = start_from_hull(capture, encoding=encoding, panoramas=1)
    assert (start.panoramas is None) == (encoding != "panoramas")
    result = refine(capture, start, RefineSettings(steps=3))
    assert result.steps == 3
