"""LIRM as a whole: sizes, permutations, rounds of views, gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.field.directional import Encoding
from clearpane.reconstruction.field.evidence import sample_volume
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import RenderOptions, render_rays
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Block, Lirm, LirmConfig, Views

from ..conftest import TINY, batched, orbit


def model(config: LirmConfig = TINY) -> Lirm:
    torch.manual_seed(0)
    built = Lirm(config)
    # Heads and backgrounds that start at zero would hide what is tested.
    for parameter in built.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return built.eval()


def points(count: int = 50) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) - 0.5


def probe(field: HexaplaneField) -> Tensor:
    """Everything a field says of some points."""
    at = points().to(field.planes)
    view = torch.nn.functional.normalize(at + 1, dim=-1)
    return torch.cat([field.signed_distance(at), *field.appearance(at, view)], dim=-1)


def test_features_that_are_known_change_nothing() -> None:
    lirm = model()
    (field,) = lirm.fields(lirm.observe(batched(orbit(3))))
    view = torch.nn.functional.normalize(points() + 1, dim=-1)
    features = field.features(points())
    given = [field.signed_distance(points(), features), *field.appearance(points(), view, features)]
    torch.testing.assert_close(torch.cat(given, dim=-1), probe(field))


def chosen(views: Views, index: list[int]) -> Views:
    cameras = views.cameras
    return Views(
        views.pictures[:, index],
        views.masks[:, index],
        Cameras(
            cameras.camera_to_world[:, index], cameras.intrinsics[:, index], cameras.height, cameras.width
        ),
        None if views.backgrounds is None else views.backgrounds[:, index],
    )


def test_the_sizes_are_those_that_are_stated() -> None:
    with torch.device("meta"):
        full, small = Lirm(LirmConfig()), Lirm(LIRM_SMALL)
    count = sum(p.numel() for p in full.blocks.parameters())
    # 24 blocks of 4 + 8 matrices of width x width, biases and norms beside.
    assert count == pytest.approx(24 * 12 * 1024**2, rel=0.01)
    assert full.planes.positions.shape == (6 * 48 * 48, 1024)
    assert sum(p.numel() for p in small.parameters()) <= 8_000_000


@pytest.mark.parametrize("evidence", [0, 16])
@torch.no_grad()
def test_the_order_of_views_makes_no_difference(evidence: int) -> None:
    lirm, views = model(replace(TINY, evidence=evidence)), batched(orbit(4))
    there, back = (probe(lirm([chosen(views, order)])[0]) for order in ([0, 1, 2, 3], [2, 0, 3, 1]))
    assert torch.allclose(there, back, atol=1e-4)
    fewer = probe(lirm([chosen(views, [0, 1])])[0])
    assert not torch.allclose(there, fewer, atol=1e-3)


@torch.no_grad()
def test_objects_of_a_batch_do_not_see_each_other() -> None:
    lirm = model()
    one, other = batched(orbit(3)), batched(orbit(3, seed=5))
    both = Views(
        torch.cat([one.pictures, other.pictures]),
        torch.cat([one.masks, other.masks]),
        Cameras(
            torch.cat([one.cameras.camera_to_world, other.cameras.camera_to_world]),
            torch.cat([one.cameras.intrinsics, other.cameras.intrinsics]),
            32,
            32,
        ),
    )
    together = [probe(field) for field in lirm([both])]
    assert torch.allclose(together[0], probe(lirm([one])[0]), atol=1e-5)
    assert torch.allclose(together[1], probe(lirm([other])[0]), atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@torch.no_grad()
def test_what_surrounds_the_object_starts_without_effect_and_can_have_one() -> None:
    torch.manual_seed(0)
    lirm = Lirm(TINY).eval()
    views = batched(orbit(3))
    around = replace(views, backgrounds=torch.rand_like(views.pictures))
    assert torch.equal(probe(lirm([views])[0]), probe(lirm([around])[0]))
    torch.nn.init.normal_(lirm.views.background.weight, std=0.1)
    changed = probe(lirm([around])[0])
    assert not torch.allclose(probe(lirm([views])[0]), changed, atol=1e-4)
    # Only what surrounds it: the pixels of the object itself hide the background.
    behind = torch.where(views.masks > 0, torch.rand_like(views.pictures), around.backgrounds)
    assert torch.allclose(probe(lirm([replace(views, backgrounds=behind)])[0]), changed, atol=1e-5)


@pytest.mark.parametrize("encoding", ["panoramas", "harmonics", "none"])
@torch.no_grad()
def test_only_colour_knows_directions(encoding: Encoding) -> None:
    field = model(replace(TINY, encoding=encoding))([batched(orbit(2))])[0]
    first = torch.tensor([0.0, 0.0, 1.0]).expand(50, 3)
    here, there = (field.appearance(points(), view) for view in (first, -first))
    for one, other in zip(here[1:], there[1:], strict=True):
        assert torch.equal(one, other)
    assert torch.allclose(here.colour, there.colour, atol=1e-4) == (encoding == "none")


@pytest.mark.parametrize("panoramas", [1, 2, 4])
@torch.no_grad()
def test_panoramas_can_be_one_two_or_four(panoramas: int) -> None:
    field = model(replace(TINY, panoramas=panoramas))([batched(orbit(2))])[0]
    assert field.panoramas is not None
    assert field.panoramas.shape == (panoramas, TINY.channels, 8, 8)
    assert torch.isfinite(probe(field)).all()


@pytest.mark.parametrize("evidence", [0, 16])
@torch.no_grad()
def test_what_is_remembered_does_not_grow_with_rounds(evidence: int) -> None:
    lirm = model(replace(TINY, evidence=evidence))
    memory, sizes, seen = None, [], []
    for round_ in range(10):
        memory = lirm.observe(batched(orbit(2, seed=round_)), memory)
        tensors = [
            memory.tokens,
            *(t for e in memory.evidence for t in vars(e).values()),
        ]
        tensors += memory.features
        sizes.append(sum(t.untyped_storage().nbytes() for t in tensors))
        seen.append(probe(lirm.fields(memory)[0]))
    assert len(set(sizes)) == 1
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)  # and yet each round has its effect


@torch.no_grad()
def test_the_hull_is_the_first_guess_of_a_model_with_evidence() -> None:
    torch.manual_seed(0)
    lirm = Lirm(replace(TINY, evidence=32)).eval()
    views = batched(orbit(16, 64))
    field = lirm([views])[0]
    inside = points(4000)
    distance = field.signed_distance(inside)[:, 0]
    sphere = inside.norm(dim=-1) - 0.35
    assert ((distance < 0) == (sphere < 0)).float().mean() > 0.93
    on = 0.35 * torch.nn.functional.normalize(inside[:200], dim=-1)
    colour = field.appearance(on, torch.nn.functional.normalize(on, dim=-1)).colour
    assert (colour - (on / 0.7 + 0.5)).abs().mean() < 0.06


@torch.no_grad()
def test_the_first_guess_at_colours_is_what_the_views_have_from_there() -> None:
    torch.manual_seed(0)
    lirm, views = Lirm(replace(TINY, evidence=32)).eval(), batched(orbit(8, 64))
    field = lirm([views])[0]
    points = 0.3 * torch.nn.functional.normalize(torch.randn(40, 3), dim=-1)
    assert field.directional is not None and field.evidence is not None
    values = sample_volume(field.directional, points)
    for direction in torch.eye(3):
        wanted = values[:, :3] + values[:, 3:].reshape(-1, 3, 3) @ direction
        seen = field.appearance(points, direction.expand(40, 3)).colour
        torch.testing.assert_close(seen, wanted.clamp(0.01, 0.99), rtol=1e-4, atol=1e-5)
    mean = sample_volume(field.evidence, points)[:, 3:6].clamp(0.01, 0.99)
    direction = torch.eye(3)[:1].expand(40, 3)
    seen = replace(field, directional=None).appearance(points, direction).colour
    torch.testing.assert_close(seen, mean, rtol=1e-4, atol=1e-5)
    assert Lirm(replace(TINY, evidence=32, encoding="none"))([views])[0].directional is None


def test_checkpointing_changes_memory_alone() -> None:
    views = batched(orbit(2))
    gradients, kept = [], []
    for checkpointing in (False, True):
        lirm = model().train()
        lirm.gradient_checkpointing = checkpointing
        numbers: list[int] = []
        with saved_tensors_hooks(lambda x, n=numbers: (n.append(x.numel()), x)[1], lambda x: x):
            loss = probe(lirm([views])[0]).square().mean()
        kept.append(sum(numbers))
        loss.backward()
        gradients.append(lirm.blocks[0].mixing.weight.grad)  # type: ignore[union-attr]
    assert torch.allclose(*gradients, atol=1e-7)
    assert kept[1] < kept[0]


def test_attention_is_that_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    block = Block(8, 2).double()
    tokens = torch.randn(1, 5, 8).double()
    normed = block.first(tokens)
    query, key, value = block.mixing(normed).chunk(3, -1)
    heads = []
    for h in range(2):
        q, k, v = (x[0, :, 4 * h : 4 * h + 4] for x in (query, key, value))
        q, k = block.query_norm(q), block.key_norm(k)
        heads.append(torch.softmax(q @ k.T / 2, dim=-1) @ v)
    mixed = tokens + block.out(torch.cat(heads, dim=-1)[None])
    expected = mixed + block.mlp(block.second(mixed))
    assert torch.allclose(block(tokens), expected, atol=1e-12)


def test_gradients_of_a_rendered_field_are_those_of_finite_differences() -> None:
    field = model().double()([_double(batched(orbit(2)))])[0]
    planes = field.planes.detach().double().requires_grad_()
    panoramas = field.panoramas.detach().double().requires_grad_()  # type: ignore[union-attr]
    origins = torch.tensor([[0.05, 0.02, 2.0], [0.21, -0.13, 2.0]]).double()
    directions = torch.tensor([[0.0, 0.0, -1.0]]).double().expand(2, 3)
    options = RenderOptions(beta=0.1, samples=5, occupancy=0)

    def picture(planes: Tensor, panoramas: Tensor) -> tuple[Tensor, Tensor]:
        rendered = render_rays(
            replace(field, planes=planes, panoramas=panoramas), origins, directions, options
        )
        return rendered.appearance.colour, rendered.opacity

    assert torch.autograd.gradcheck(picture, (planes, panoramas), fast_mode=True)


@pytest.mark.parametrize("encoding", ["none", "panoramas"])
@pytest.mark.parametrize("evidence", [0, 8])
def test_gradients_through_two_rounds_of_views_are_those_of_finite_differences(
    evidence: int, encoding: Encoding
) -> None:
    lirm = model(replace(TINY, evidence=evidence, encoding=encoding)).double()
    views = _double(batched(orbit(3)))
    asked = [lirm.views.picture.weight, lirm.planes.positions, lirm.fuse.layers[0].weight]
    if lirm.panoramas is not None:
        asked.append(lirm.panoramas.up.weight)
    if lirm.view_features is not None and lirm.evidence_network is not None:
        asked += [lirm.view_features.layers[0].weight, lirm.evidence_network.enter.weight]
    generator = torch.Generator().manual_seed(2)
    # Along a random direction in all of them at once.
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in asked]
    weights = torch.randn(len(points()), 12, generator=generator, dtype=torch.float64)
    if encoding == "panoramas":  # the normal that mirrors the view has no gradient by intention
        weights[:, 1:4] = 0

    def value() -> Tensor:
        (field,) = lirm([views.part(0, 2), views.part(2, 3)])
        total = (probe(field) * weights).sum()
        return total if field.panoramas is None else total + field.panoramas.square().sum()

    gradients = torch.autograd.grad(value(), asked)
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    step = 1e-7  # so small that no ReLU changes sides
    sides = []
    with torch.no_grad():
        for sign in (1, -1):
            for parameter, direction in zip(asked, directions, strict=True):
                parameter += sign * step * direction
            sides.append(float(value()))
            for parameter, direction in zip(asked, directions, strict=True):
                parameter -= sign * step * direction
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)
    assert all(g.any() for g in gradients)


def _double(views: Views) -> Views:
    return Views(views.pictures.double(), views.masks.double(), views.cameras.to(torch.float64))


def test_views_that_no_whole_patches_fit_are_refused() -> None:
    with pytest.raises(ClearpaneError, match="36 x 36 pixels: give multiples of 8"):
        Lirm(TINY).observe(batched(orbit(2, 36)))
