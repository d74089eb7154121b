"""Compute the loss of LIRM: observe rounds of views, then render target views one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras, pixel_rays, spread_order
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import RenderOptions, occupied_cells, render_rays
from clearpane.reconstruction.lirm.model import Lirm, Views
from clearpane.synthesis.objects.samples import ObjectSample
from clearpane.training.lirm.losses import Patch, distance_loss, patch_losses
from clearpane.training.precision import mixed_precision

LAST_BETA = 1 / 800
"""Scale beta of the density at the end of training, metres.

A correct surface needs a sharper density. But where a surface is only known to a centimetre, a soft edge is
closer to the truth than a sharp one (docs/lirm.md has the figures).
"""
# Rounds of views in a step, equally likely: one, two or three; the cost of a step grows with them.
ROUNDS = (*[(8,)] * 5, (5,), (4,), (4, 4), (2, 6), (4, 4, 8))
MOST_SHOWN = max(map(sum, ROUNDS))
# One step in this many shows the objects' surroundings; users' captures seldom have them.
_SURROUNDINGS_EVERY = 8


@dataclass(frozen=True)
class Stage:
    """Configure a step.

    Attributes:
        side: Side of the pictures, pixels.
        beta: Scale of the density, metres.
        rounds: Number of views in each round.
        shown: Indices of all these views in order, whatever is rendered; None to draw them anew for each
            object and step, without the target views.
    """

    side: int
    beta: float
    rounds: tuple[int, ...] = (8,)
    shown: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shown is not None and len(self.shown) != sum(self.rounds):
            raise ValueError(f"{len(self.shown)} views for rounds of {self.rounds}")


@dataclass(frozen=True)
class TargetSampling:
    """Configure the rendering of each object.

    Attributes:
        targets: Number of target views; one at a time is in memory.
        patch: Side of the window of each target view, pixels.
        samples: Number of samples along a ray.
    """

    targets: int
    patch: int
    samples: int


class LirmObjective(nn.Module):
    """Compute the loss of a step; a module, so that Accelerate can distribute it over several devices.

    Only one target view's graph exists at a time: its gradient with respect to planes and heads is taken at
    once and added up. The sum then goes through the transformer in a single backward pass.
    """

    def __init__(self, lirm: Lirm, sampling: TargetSampling) -> None:
        super().__init__()
        self.lirm = lirm
        self.parts: dict[str, Tensor] = {}
        """Weighted parts of the last step's loss on this device, by name."""
        self._sampling = sampling

    def forward(self, samples: Sequence[ObjectSample], stage: Stage, generator: Generator) -> Tensor:
        """Compute the mean loss over objects, rounds and target views.

        The gradient of the result is that of the loss; it is passed on as a product of gradients and values.
        """
        device = next(self.lirm.parameters()).device
        rounds, targets = stage.rounds, self._sampling.targets
        order = [draw_order(s.cameras, targets, generator) for s in samples]
        if stage.shown is not None:
            order = [torch.cat([o[:targets], torch.tensor(stage.shown)]) for o in order]
        known = not torch.randint(_SURROUNDINGS_EVERY, (), generator=generator)
        views = stack_views(samples, [o[targets:][: sum(rounds)] for o in order], known, device)
        first = 0
        memory = None
        value = torch.zeros((), device=device)
        carrier = torch.zeros((), device=device)
        self.parts = {}
        share = 1 / (len(rounds) * len(samples))
        for count in rounds:
            part = views.part(first, first + count)
            first += count
            with mixed_precision(device.type):
                memory = self.lirm.observe(part, memory)
                fields = self.lirm.fields(memory)
            for field, sample, chosen in zip(fields, samples, order, strict=True):
                loss, product = self._render(field, sample, chosen[:targets], stage, generator, share)
                value, carrier = value + share * loss, carrier + share * product
        return carrier + (value - carrier).detach()

    def _note(self, name: str, part: Tensor) -> None:
        self.parts[name] = self.parts.get(name, torch.zeros_like(part)) + part.detach()

    def _render(
        self,
        field: HexaplaneField,
        sample: ObjectSample,
        chosen: Tensor,
        stage: Stage,
        generator: Generator,
        share: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of one object's targets, without its graph, and a value that carries its gradient.

        Args:
            share: Share of this loss in the loss of the step.
        """
        flowing = [x for x in (field.planes, field.panoramas, field.volume) if x is not None]
        leaves = [x.detach().requires_grad_() for x in flowing]
        rest = iter(leaves[1:])
        detached = replace(
            field,
            planes=leaves[0],
            panoramas=None if field.panoramas is None else next(rest),
            volume=None if field.volume is None else next(rest),
        )
        parameters = [*leaves, *field.heads.parameters()]
        gradients = [torch.zeros_like(p) for p in parameters]
        device = leaves[0].device
        options = RenderOptions(stage.beta, self._sampling.samples)
        occupied = occupied_cells(detached, options, leaves[0])
        value = torch.zeros((), device=device)

        def collect(loss: Tensor) -> None:
            nonlocal value
            value = value + loss.detach()
            for total, one in zip(
                gradients, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
            ):
                if one is not None:
                    total += one

        for view in chosen.tolist():
            patch, pixels = draw_patch(sample, view, self._sampling.patch, generator)
            origins, directions = pixel_rays(sample.cameras[view], pixels.flatten(0, 1))
            rendered = render_rays(
                detached, origins.to(device), directions.to(device), options, occupied, generator
            )
            losses = patch_losses(rendered, Patch(*(x.to(device) for x in patch)))
            for name, part in losses.weighted.items():
                self._note(name, share * part / len(chosen))
            collect(losses.total / len(chosen))
        points, distances = sample.points.to(device), sample.distances.to(device)
        distance = distance_loss(detached.signed_distance(points), distances)
        self._note("distance", share * distance)
        collect(distance)
        carrier = sum(
            (x * g).sum() for x, g in zip([*flowing, *parameters[len(leaves) :]], gradients, strict=True)
        )
        assert isinstance(carrier, Tensor)
        return value, carrier


def draw_order(cameras: Cameras, targets: int, generator: Generator) -> Tensor:
    """Draw the order of an object's views: first the target views, then the views to show.

    For half of the objects, each view to show is the farthest from the earlier ones: they cover all sides, as
    in evaluations.
    """
    order = torch.randperm(len(cameras.camera_to_world), generator=generator)
    if torch.randint(2, (), generator=generator):
        spread = spread_order(cameras, order[:targets].tolist(), int(order[targets]))
        order = torch.cat([order[:targets], torch.tensor(spread)])
    return order


def reduced(sample: ObjectSample, side: int) -> ObjectSample:
    """Shrink a sample's pictures by averaging pixels."""
    cameras = sample.cameras
    factor = cameras.height // side
    if factor == 1:
        return sample
    views = type(sample.views)(*(F.avg_pool2d(x, factor) for x in sample.views))
    # The mean depth is that of the covered part; elsewhere it is 0.
    depth = F.avg_pool2d(sample.views.depth * sample.views.mask, factor) / views.mask.clamp(min=1e-6)
    return ObjectSample(
        views._replace(depth=depth), cameras.resized(side, side), sample.points, sample.distances
    )


def stack_views(
    samples: Sequence[ObjectSample], chosen: Sequence[Tensor], surroundings: bool, device: torch.device
) -> Views:
    """Collect some views of each object as the model's input.

    Args:
        samples: Objects.
        chosen: Indices of each object's views.
        surroundings: True to show the objects' surroundings.
        device: Device of the result.
    """
    pairs = list(zip(samples, chosen, strict=True))
    cameras = [s.cameras[c] for s, c in pairs]
    return Views(
        torch.stack([s.views.colour[c] for s, c in pairs]).to(device),
        torch.stack([s.views.mask[c] for s, c in pairs]).to(device),
        Cameras(
            torch.stack([c.camera_to_world for c in cameras]),
            torch.stack([c.intrinsics for c in cameras]),
            cameras[0].height,
            cameras[0].width,
        ).to(device),
        torch.stack([s.views.background[c] for s, c in pairs]).to(device) if surroundings else None,
    )


def draw_patch(sample: ObjectSample, view: int, size: int, generator: Generator) -> tuple[Patch, Tensor]:
    """Draw a random window that shows the object: its true values, and its pixel centres [h, w, 2]."""
    values = sample.views
    mask = values.mask[view, 0]
    height, width = mask.shape
    inside = (mask > 0.5).nonzero()
    middle = torch.tensor([height // 2, width // 2])
    if len(inside):
        middle = inside[int(torch.randint(len(inside), (), generator=generator))]
    jitter = torch.randint(-size // 4, size // 4 + 1, (2,), generator=generator)
    top, left = (
        min(max(int(m + j) - size // 2, 0), n - size)
        for m, j, n in zip(middle, jitter, (height, width), strict=True)
    )
    window = (view, slice(None), slice(top, top + size), slice(left, left + size))
    patch = Patch(*(getattr(values, name)[window] for name in Patch._fields))
    x, y = (torch.arange(size) + start + 0.5 for start in (left, top))
    return patch, torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
