"""Keep a sample of the pixels of all views so far, of a constant size, for fits that come later."""

from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.fitting.true_rays import TrueRays, object_rays

KEPT = 65_536
"""Rays that are kept: 1.8 MB. Eight views of 256 pixels have about 200,000 on and around the object."""


# Pixels of less weight are not kept: a state has no weights.
_TRUSTED = 0.5


@dataclass(frozen=True, eq=False)
class KeptRays:
    """Hold a sample of the pixels of earlier views.

    Attributes:
        rays: Sampled rays, about as many of each view.
        views: Number of views that they are from.
    """

    rays: TrueRays
    views: int

    def with_views(self, capture: Capture, generator: Generator) -> "KeptRays":
        """Return a sample, of `KEPT` rays, of these views and new ones, with an equal share of each view."""
        new, views = object_rays(capture), self.views + len(capture.names)
        new = new[(new.weights >= _TRUSTED)[:, 0].nonzero()[:, 0]]
        old = min(round(KEPT * self.views / views), len(self.rays))
        parts = [_drawn(self.rays, old, generator), _drawn(new, KEPT - old, generator)]
        return KeptRays(joined(*parts), views)

    def beside(self, capture: Capture) -> TrueRays:
        """Return the rays, repeated until each of their views has about as many as a view of a capture."""
        if not len(self.rays):
            return self.rays
        each = len(object_rays(capture)) / len(capture.names)
        times = max(1, round(each * self.views / len(self.rays)))
        return joined(*[self.rays] * times)


def no_rays() -> KeptRays:
    """Return the sample before the first view."""
    nothing = torch.zeros(0, 3)
    return KeptRays(TrueRays(nothing, nothing, nothing, nothing[:, :1], nothing[:, :1]), 0)


def joined(*parts: TrueRays) -> TrueRays:
    """Return the rays of all parts, one part after the other."""
    names = (field.name for field in fields(TrueRays))
    return TrueRays(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _drawn(rays: TrueRays, count: int, generator: Generator) -> TrueRays:
    """Draw rays, each about equally often."""
    rounds = -(-count // max(1, len(rays)))
    order = [torch.randperm(len(rays), generator=generator) for _ in range(rounds)]
    return rays[torch.cat([torch.zeros(0, dtype=torch.long), *order])[:count]]


def ray_tensors(rays: TrueRays) -> dict[str, Tensor]:
    """Return rays as tensors for a file; colours and masks have 8 bits."""
    values = torch.cat([rays.colours, rays.masks], dim=-1)
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    return {"rays.origins": rays.origins, "rays.directions": rays.directions, "rays.pixels": pixels}


def rays_of(tensors: dict[str, Tensor]) -> TrueRays:
    """Return the rays of `ray_tensors`."""
    pixels = tensors["rays.pixels"].float() / 255
    known = torch.ones_like(pixels[:, 3:])
    return TrueRays(tensors["rays.origins"], tensors["rays.directions"], pixels[:, :3], pixels[:, 3:], known)
