"""Fitting one object to its views by differentiable rendering: planes, heads, and the light around it.

Each ray is compared with its photograph twice: as the radiance field shows it, which says where the surface
is, and as the materials look in the light that is learnt beside them, which makes the result relightable.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clearpane.geometry.cameras import picture_rays
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import RenderOptions, occupied_cells, render_rays
from clearpane.reconstruction.fitting.gradient_workers import gradient_workers
from clearpane.reconstruction.fitting.learnt_light import LearntLight, display, shade_rays
from clearpane.reconstruction.fitting.losses import Lighting, TrueRays, ray_loss, surface_loss
from clearpane.reconstruction.fitting.sky_visibility import SkyVisibility, sky_visibility

LAST_BETA = 1 / 300
"""The width of a fitted surface, metres, of an object a metre long."""

_FIRST_BETA, _SHARP_AT = 1 / 60, 0.7  # the last width is reached at this share of the time
# Materials are fitted once the surface is about where it belongs.
_MATERIALS_FROM = 0.1
# How often it is looked what the object hides of the sky.
_SKIES = 6
# Of each thread.
_RAYS, _SAMPLES = 512, 24
_OCCUPANCY, _OCCUPANCY_EVERY = 40, 25
_GRID_RATE, _HEAD_RATE, _LIGHT_RATE, _LAST_RATE = 0.03, 0.01, 0.06, 0.05
# It is looked so often whether anything improves, in dB; it ends when nothing did so many times. While the
# surface is still wide, nothing may for long.
_LOOKS, _PATIENCE, _IMPROVEMENT = 20, 8, 0.02
_LOOKED_AT, _LOOK_SAMPLES = 4096, 64
# Rays that see less of the object are not shaded.
_LEAST_OPACITY = 0.02


@dataclass(frozen=True)
class RefineSettings:
    """How an object is fitted.

    Attributes:
        seconds: the time there is; rates and widths follow it.
        seed: of all randomness. How many steps fit into the time depends on the machine, and on its cores how
            many rays a step has.
    """

    seconds: float
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Refined:
    """An object and the light that its photographs were taken in.

    Attributes:
        field: the object.
        environment: radiance from all around up to a factor, linear, [16, 32, 3], in the cube's world.
        sky: what the object hides of it.
        psnr: of the views' own pixels on and about the object, dB: of both, what the radiance field shows
            and what the materials look like in the light.
        started_psnr: what that was at the start.
        steps: how many were done, with those that were forgotten because a gradient was no number.
        interrupted: whether it was ended early by Ctrl-C.
    """

    field: HexaplaneField
    environment: Tensor
    sky: SkyVisibility
    psnr: float
    started_psnr: float
    steps: int
    interrupted: bool = False


def refine(
    capture: Capture,
    start: HexaplaneField,
    settings: RefineSettings,
    on_progress: Callable[[float, float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Refined:
    """Fit an object to its views.

    It ends when the time is over, when nothing has improved for four tenths of it, or at Ctrl-C. What comes
    back is the best that was looked at, by the PSNR of pixels drawn once and for all; so it is not worse than
    the start.

    Args:
        start: as `clearpane.reconstruction.fitting.starting` gives it; it is not changed.
        on_progress: called with the share of the time that is over and the best PSNR, after each look.
        clock: in seconds; tests have their own.
    """
    generator = Generator().manual_seed(settings.seed)
    fit = _Fit(start)
    rays = object_rays(capture)
    looked_at = rays[torch.randint(len(rays), (min(_LOOKED_AT, len(rays)),), generator=generator)]
    sky = sky_visibility(fit.field)
    started = _psnr(fit, looked_at, sky)
    best = _Best(started, fit.state())
    looks, skies, step, interrupted = 0, 0, 0, False
    lighting: Lighting | None = None
    began = clock()
    occupied = None
    try:
        with gradient_workers(settings.seed) as gradients:
            while (share := (clock() - began) / max(settings.seconds, 1e-9)) < 1 and not best.settled:
                options = RenderOptions(_beta_at(share), _SAMPLES, _OCCUPANCY)
                if step % _OCCUPANCY_EVERY == 0:
                    occupied = occupied_cells(fit.field, options, rays.origins)
                if share >= _MATERIALS_FROM and share * _SKIES >= skies:
                    sky, skies = sky_visibility(fit.field), int(share * _SKIES) + 1
                    if lighting is None:
                        fit.begin_materials()
                    lighting = Lighting(fit.light, sky)
                objective = _Objective(fit.field, rays, options, occupied, lighting)
                fit.descend(gradients(objective, fit.parameters), share)
                step += 1
                if share * _LOOKS >= looks + 1:
                    looks = int(share * _LOOKS)
                    best.look(_psnr(fit, looked_at, sky), fit)
                    if on_progress is not None:
                        on_progress(share, best.psnr)
        best.look(_psnr(fit, looked_at, sky), fit)
    except KeyboardInterrupt:
        interrupted = True
    fit.restore(best.state)
    field = fit.detached()
    environment = fit.light.radiance().detach()
    return Refined(field, environment, sky_visibility(field), best.psnr, started, step, interrupted)


@dataclass(frozen=True, eq=False)
class _Objective:
    """The loss of rays drawn at random, at one step."""

    field: HexaplaneField
    rays: TrueRays
    options: RenderOptions
    occupied: Tensor | None
    lighting: Lighting | None

    def __call__(self, generator: Generator) -> Tensor:
        batch = self.rays[torch.randint(len(self.rays), (_RAYS,), generator=generator)]
        rendered = render_rays(
            self.field, batch.origins, batch.directions, self.options, self.occupied, generator
        )
        return ray_loss(rendered, batch) + surface_loss(self.field, self.lighting, rendered, batch, generator)


class _Best:
    """The best state so far, and since when nothing has improved."""

    def __init__(self, psnr: float, state: list[Tensor]) -> None:
        self.psnr, self.state = psnr, state
        self._mark, self._waited = psnr, 0

    @property
    def settled(self) -> bool:
        """Whether nothing has improved for long."""
        return self._waited >= _PATIENCE

    def look(self, psnr: float, fit: "_Fit") -> None:
        """Keep a state if it is better. Small gains count once they have added up."""
        if psnr > self.psnr:
            self.psnr, self.state = psnr, fit.state()
        improved = psnr > self._mark + _IMPROVEMENT
        self._mark = psnr if improved else self._mark
        self._waited = 0 if improved else self._waited + 1


class _Fit:
    """What is learnt: a copy of the start, and the light."""

    def __init__(self, start: HexaplaneField) -> None:
        grids = {
            name: value.detach().clone().requires_grad_()
            for name in ("planes", "panoramas", "volume")
            if (value := getattr(start, name)) is not None
        }
        heads = copy.deepcopy(start.heads).requires_grad_(True)
        self.field = replace(start, heads=heads, **grids)
        self.light = LearntLight()
        self._grids = list(grids.values())
        self._groups = (
            (_GRID_RATE, self._grids),
            (_HEAD_RATE, list(heads.parameters())),
            (_LIGHT_RATE, list(self.light.parameters())),
        )
        self._optimizer = torch.optim.Adam(
            [{"params": parameters, "lr": rate} for rate, parameters in self._groups],
            betas=(0.9, 0.99),
            fused=True,
        )

    @property
    def parameters(self) -> list[Tensor]:
        """All that is learnt."""
        return [p for _, parameters in self._groups for p in parameters]

    @torch.no_grad()
    def begin_materials(self) -> None:
        """Metallic begins at a half if nothing is known of it: begun as a dielectric, a metal is painted."""
        last = self.field.heads.metallic_roughness[-1]
        assert isinstance(last, nn.Linear)
        if not last.weight.any():
            last.bias[0] = 0

    def descend(self, gradients: list[Tensor | None], share: float) -> None:
        """One step of Adam; its rates fall with half a cosine.

        None if a gradient is no number: what is mirrored from straight above has no azimuth.
        """
        if not all(gradient is None or gradient.sum().isfinite() for gradient in gradients):
            return
        for group, (rate, _) in zip(self._optimizer.param_groups, self._groups, strict=True):
            group["lr"] = rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * share)) / 2)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()

    def state(self) -> list[Tensor]:
        """Copy all that is learnt."""
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def restore(self, state: list[Tensor]) -> None:
        """Back to an earlier `state`."""
        for parameter, value in zip(self.parameters, state, strict=True):
            parameter.copy_(value)

    def detached(self) -> HexaplaneField:
        """Return the object, its tensors without graphs."""
        for grid in self._grids:
            grid.requires_grad_(False)
        self.field.heads.requires_grad_(False)
        return self.field


def object_rays(capture: Capture) -> TrueRays:
    """Return the rays of all pixels on and about the object."""
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(capture.cameras))
    colours = capture.pictures.permute(0, 2, 3, 1).reshape(-1, 3)
    reach = capture.cameras.width // 32
    about = F.max_pool2d(capture.masks, 2 * reach + 1, 1, reach).reshape(-1) > 0
    return TrueRays(origins[about], directions[about], colours[about], capture.masks.reshape(-1, 1)[about])


def _beta_at(share: float) -> float:
    return float(_FIRST_BETA * (LAST_BETA / _FIRST_BETA) ** min(1.0, share / _SHARP_AT))


@torch.no_grad()
def _psnr(fit: _Fit, rays: TrueRays, sky: SkyVisibility) -> float:
    """Of the radiance field's colours and of the shaded materials, at the surface's last width."""
    options = RenderOptions(LAST_BETA, _LOOK_SAMPLES, _OCCUPANCY)
    occupied = occupied_cells(fit.field, options, rays.origins)
    rendered = render_rays(fit.field, rays.origins, rays.directions, options, occupied)
    hit = (rendered.opacity[:, 0] > _LEAST_OPACITY).nonzero()[:, 0]
    seen = rendered.of(hit)
    lit = torch.ones_like(rays.colours)
    shaded = shade_rays(seen, rays.origins[hit], rays.directions[hit], fit.light.radiance(), sky)
    lit[hit] = display(shaded).clamp(0, 1) * seen.opacity + 1 - seen.opacity
    error = F.mse_loss(rendered.appearance.colour, rays.colours) + F.mse_loss(lit, rays.colours)
    return -10 * math.log10(float(error) / 2 + 1e-10)
