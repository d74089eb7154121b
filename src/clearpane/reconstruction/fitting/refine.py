"""Fit one object to its views by differentiable rendering: planes, heads, and the light around it.

Each ray is compared with its photograph twice: as the radiance field shows it, which determines the surface,
and as the materials look under the learnt light, which makes the result relightable.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.field.rendering import render_samples
from clearpane.reconstruction.field.surface_samples import SurfaceGrid
from clearpane.reconstruction.fitting.agreement import view_weights
from clearpane.reconstruction.fitting.gradient_workers import gradient_workers
from clearpane.reconstruction.fitting.kept_rays import joined
from clearpane.reconstruction.fitting.learnt_light import LearntLight, display, shade_rays
from clearpane.reconstruction.fitting.losses import Lighting, ray_loss, surface_loss
from clearpane.reconstruction.fitting.schedule import FitProgress, RefineSettings, Schedule
from clearpane.reconstruction.fitting.sky_visibility import SkyVisibility, sky_visibility
from clearpane.reconstruction.fitting.true_rays import TrueRays, held_out_pixels, object_rays

LAST_BETA = 1 / 300
"""Width (beta) of a fitted surface, metres, for an object a metre long."""

_FIRST_BETA, _SHARP_AT = 1 / 200, 0.7  # the last width is reached at this share of the fit
# Materials are fitted once the surface is roughly in position.
_MATERIALS_FROM = 0.1
# How many times sky visibility is recomputed.
_SKIES = 6
# How many times the trust in pixels is computed: from the hull before the fit, then from its surface.
_WEIGHINGS = 3
# Parts of a step that may be computed in parallel; rays of a part, and samples along a ray.
_PARTS, _RAYS, _SAMPLES = 2, 512, 24
# Steps between two looks at where the surface is.
_GRID_EVERY = 25
_GRID_RATE, _HEAD_RATE, _LIGHT_RATE, _LAST_RATE = 0.03, 0.01, 0.06, 0.05
# Number of evaluations; the fit ends after this many in a row without an improvement, in dB. While the
# surface is still wide, the PSNR may not improve for long.
_EVALUATIONS, _PATIENCE, _IMPROVEMENT = 20, 8, 0.02
_EVALUATED = 4096
# Rays with a smaller opacity are not shaded.
_LEAST_OPACITY = 0.02


@dataclass(frozen=True, eq=False)
class Refined:
    """Hold a fitted object and the light in its photographs.

    Attributes:
        field: Fitted object.
        environment: Linear radiance [16, 32, 3] in the cube's world, up to a factor.
        sky: Visibility of the sky past the object.
        psnr: PSNR, dB, of pixels on and around the object that were held out of the fit, over both the
            radiance field's colours and the shaded materials.
        started_psnr: PSNR before the fit, dB.
        steps: Number of steps, including those skipped because a gradient was not finite.
        interrupted: True if Ctrl-C ended the fit early.
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
    on_progress: Callable[[FitProgress], None] | None = None,
    kept: TrueRays | None = None,
) -> Refined:
    """Fit an object to its views.

    The fit ends after its last step, at the time limit, when the pixels that it is fitted to have not
    improved for four tenths of it, or at Ctrl-C. The result is the best evaluated state by the PSNR of pixels
    that no step sees (`clearpane.reconstruction.fitting.true_rays.held_out_pixels`), so it is not worse than
    the start. With one thread, equal settings without a time limit give equal results.

    Args:
        start: Initial field (see `clearpane.reconstruction.fitting.starting`); it is not changed.
        on_progress: Called after each evaluation.
        kept: Pixels of earlier views, to which the object is fitted as well.
    """
    generator = Generator().manual_seed(settings.seed)
    fit = _Fit(start)
    rays, judging = _rays(capture, kept, generator)
    fitted, evaluated = (
        some[torch.randperm(len(some), generator=generator)[:_EVALUATED]] for some in (rays, judging)
    )
    sky = sky_visibility(fit.field)
    started = _psnr(fit, evaluated, sky)
    best = _Best(started, fit.state(), _psnr(fit, fitted, sky))
    evaluations, skies, weighings, interrupted = 0, 0, 1, False
    lighting: Lighting | None = None
    schedule = Schedule(settings)
    surface = SurfaceGrid.of(fit.field, _beta_at(0), rays.origins)
    try:
        with gradient_workers(settings.seed, _PARTS) as gradients:
            while (share := schedule.share) < 1 and not best.settled:
                beta = _beta_at(share)
                if schedule.steps % _GRID_EVERY == 0:
                    surface = SurfaceGrid.of(fit.field, beta, rays.origins)
                if share >= _MATERIALS_FROM and share * _SKIES >= skies:
                    sky, skies = sky_visibility(fit.field), int(share * _SKIES) + 1
                    if lighting is None:
                        fit.begin_materials()
                    lighting = Lighting(fit.light, sky)
                if capture.weights is not None and share * _WEIGHINGS >= weighings:
                    weighings += 1
                    rays = _reweighed(capture, surface, kept, settings.seed)
                objective = _Objective(fit.field, rays, beta, surface, lighting)
                fit.descend(gradients(objective, fit.parameters), share)
                schedule.advance()
                if schedule.share * _EVALUATIONS >= evaluations + 1:
                    evaluations = int(schedule.share * _EVALUATIONS)
                    best.update(_psnr(fit, evaluated, sky), fit, _psnr(fit, fitted, sky))
                    if on_progress is not None:
                        on_progress(FitProgress(schedule.share, best.psnr, schedule.seconds_left))
    except KeyboardInterrupt:
        interrupted = True
    fit.restore(best.state)
    field = fit.detached()
    environment = fit.light.radiance().detach()
    return Refined(field, environment, sky_visibility(field), best.psnr, started, schedule.steps, interrupted)


@dataclass(frozen=True, eq=False)
class _Objective:
    """Compute the loss of randomly drawn rays at one step."""

    field: HexaplaneField
    rays: TrueRays
    beta: float
    surface: SurfaceGrid
    lighting: Lighting | None

    def __call__(self, generator: Generator) -> Tensor:
        batch = self.rays[torch.randint(len(self.rays), (_RAYS,), generator=generator)]
        placed = self.surface.samples(batch.origins, batch.directions, _SAMPLES, generator)
        rendered = render_samples(self.field, batch.origins, batch.directions, self.beta, placed)
        return ray_loss(rendered, batch) + surface_loss(self.field, self.lighting, rendered, batch, generator)


class _Best:
    """Track the best state so far by held-out pixels, and how long the fitted ones have not improved.

    Held-out pixels stop improving while new views still do, so they do not end a fit.
    """

    def __init__(self, psnr: float, state: list[Tensor], fitted: float) -> None:
        self.psnr, self.state = psnr, state
        self._mark, self._waited = fitted, 0

    @property
    def settled(self) -> bool:
        """Return True if the fitted pixels have not improved for long."""
        return self._waited >= _PATIENCE

    def update(self, psnr: float, fit: "_Fit", fitted: float) -> None:
        """Keep a state if it is better. Small gains count once they have added up."""
        if psnr > self.psnr:
            self.psnr, self.state = psnr, fit.state()
        improved = fitted > self._mark + _IMPROVEMENT
        self._mark = fitted if improved else self._mark
        self._waited = 0 if improved else self._waited + 1


class _Fit:
    """Hold what is fitted: a copy of the initial field, and the light."""

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
        """Return all fitted parameters."""
        return [p for _, parameters in self._groups for p in parameters]

    @torch.no_grad()
    def begin_materials(self) -> None:
        """Start metallic at one half if nothing is known of it: as a dielectric, a metal gets painted."""
        last = self.field.heads.metallic_roughness[-1]
        assert isinstance(last, nn.Linear)
        if self.field.materials is None:
            last.bias[0] = 0

    def descend(self, gradients: list[Tensor | None], share: float) -> None:
        """Take one step of Adam; its learning rates fall with half a cosine.

        Skip the step if a gradient is not finite: a mirror direction straight up has no azimuth.
        """
        if not all(gradient is None or gradient.sum().isfinite() for gradient in gradients):
            return
        for group, (rate, _) in zip(self._optimizer.param_groups, self._groups, strict=True):
            group["lr"] = rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * share)) / 2)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()

    def state(self) -> list[Tensor]:
        """Copy all that the fit changes."""
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def restore(self, state: list[Tensor]) -> None:
        """Return to an earlier `state`."""
        for parameter, value in zip(self.parameters, state, strict=True):
            parameter.copy_(value)

    def detached(self) -> HexaplaneField:
        """Return the object with its tensors detached."""
        for grid in self._grids:
            grid.requires_grad_(False)
        self.field.heads.requires_grad_(False)
        return self.field


def _rays(capture: Capture, kept: TrueRays | None, generator: Generator) -> tuple[TrueRays, TrueRays]:
    """Return the rays that an object is fitted to, and those that it is judged by."""
    rays, held_out = object_rays(capture), held_out_pixels(capture, generator)
    fitted, judging = rays[(~held_out).nonzero()[:, 0]], rays[held_out.nonzero()[:, 0]]
    return (fitted if kept is None else joined(fitted, kept)), judging


def _reweighed(capture: Capture, surface: SurfaceGrid, kept: TrueRays | None, seed: int) -> TrueRays:
    """Return the rays that an object is fitted to, weighed by its surface.

    Those that it is judged by keep their weights, so that its states can be compared.
    """
    weighed = replace(capture, weights=view_weights(capture, surface.distances))
    return _rays(weighed, kept, Generator().manual_seed(seed))[0]


def _beta_at(share: float) -> float:
    return float(_FIRST_BETA * (LAST_BETA / _FIRST_BETA) ** min(1.0, share / _SHARP_AT))


@torch.no_grad()
def _psnr(fit: _Fit, rays: TrueRays, sky: SkyVisibility) -> float:
    """Compute the PSNR of radiance field and shaded materials together, at the last surface width."""
    surface = SurfaceGrid.of(fit.field, LAST_BETA, rays.origins)
    placed = surface.samples(rays.origins, rays.directions, _SAMPLES)
    rendered = render_samples(fit.field, rays.origins, rays.directions, LAST_BETA, placed)
    hit = (rendered.opacity[:, 0] > _LEAST_OPACITY).nonzero()[:, 0]
    seen = rendered.of(hit)
    lit = torch.ones_like(rays.colours)
    shaded = shade_rays(seen, rays.origins[hit], rays.directions[hit], fit.light.radiance(), sky)
    lit[hit] = display(shaded).clamp(0, 1) * seen.opacity + 1 - seen.opacity
    radiated, shown = (
        (rays.weights * (colours - rays.colours).square()).mean()
        for colours in (rendered.appearance.colour, lit)
    )
    error = (radiated + shown) / rays.weights.mean()
    return -10 * math.log10(float(error) / 2 + 1e-10)
