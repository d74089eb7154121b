"""Change an object between rounds of views: a small ball is put on a large one, and taken away again.

The pictures are drawn in closed form, so that it is known where each ball is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras, picture_rays
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.field.rendering import Field
from clearpane.reconstruction.fitting.refine import refine
from clearpane.reconstruction.fitting.schedule import RefineSettings
from clearpane.reconstruction.fitting.starting import start_from_memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.progressive import Rounds
from clearpane.synthesis.objects.samples import draw_cameras

_ROUNDS = (("the large ball", 8, False), ("a small one on it", 5, True), ("without it again", 5, False))
_SIDE, _POINTS, _SEED = 96, 4000, 5
# Light falls from above and from the right.
_LIGHT = (0.4, 0.8, 0.45)


@dataclass(frozen=True)
class Ball:
    """Describe a ball.

    Attributes:
        centre, radius: Position and size, metres.
        colour: Colour in full light, sRGB.
    """

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]


LARGE = Ball((0.0, -0.1, 0.0), 0.3, (0.8, 0.7, 0.4))
SMALL = Ball((0.1, 0.31, 0.05), 0.13, (0.3, 0.4, 0.8))


def drawn(cameras: Cameras, balls: list[Ball]) -> tuple[Tensor, Tensor]:
    """Draw balls on white: pictures [V, 3, H, W] and masks [V, 1, H, W]."""
    origins, directions = picture_rays(cameras)
    nearest = torch.full(origins.shape[:-1], torch.inf)
    shown = torch.ones_like(origins)
    light = F.normalize(torch.tensor(_LIGHT), dim=0)
    for ball in balls:
        start = origins - torch.tensor(ball.centre)
        along = (start * directions).sum(-1)
        root = along**2 - (start**2).sum(-1) + ball.radius**2
        depth = -along - root.clamp(min=0).sqrt()
        normal = (start + depth[..., None] * directions) / ball.radius
        lit = (0.4 + 0.6 * (normal @ light).clamp(min=0))[..., None] * torch.tensor(ball.colour)
        front = (root > 0) & (depth < nearest)
        shown = torch.where(front[..., None], lit, shown)
        nearest = torch.where(front, depth, nearest)
    return shown.movedim(-1, 1), nearest.isfinite().float()[:, None]


def inside_share(field: Field, ball: Ball) -> float:
    """Return the share of a ball's volume that lies inside a field's surface."""
    generator = Generator().manual_seed(0)
    directions = F.normalize(torch.randn(_POINTS, 3, generator=generator), dim=-1)
    radii = ball.radius * torch.rand(_POINTS, 1, generator=generator) ** (1 / 3)
    with torch.no_grad():
        distance = field.signed_distance(torch.tensor(ball.centre) + radii * directions)
    return float((distance < 0).float().mean())


def changing_object(lirm: Lirm, steps: int) -> list[dict[str, float | str]]:
    """Reconstruct in rounds; return for each the shares of the balls inside the surface.

    ``small`` and ``large`` are shares after a fit of ``steps`` steps, ``predicted`` that of the small ball in
    LIRM's prediction, ``kept`` the share of the earlier pixels that the object has not outdated.
    """
    rows: list[dict[str, float | str]] = []
    earlier = None
    for number, (name, count, both) in enumerate(_ROUNDS):
        cameras = draw_cameras(count, _SIDE, Generator().manual_seed(_SEED + number))
        pictures, masks = drawn(cameras, [LARGE, SMALL] if both else [LARGE])
        names = tuple(f"view {i}" for i in range(count))
        capture = Capture(pictures, masks, cameras, names, Placement(np.zeros(3), np.eye(3), 1.0))
        observed = Rounds(lirm, earlier).observe(capture)
        start = start_from_memory(observed.state.memory, lirm)
        kept = observed.earlier
        fitted = refine(capture, start, RefineSettings(steps), kept=kept.beside(capture))
        before = len(earlier.kept.rays) if earlier is not None else 0
        rows.append(
            {
                "round": name,
                "views": count,
                "kept": len(kept.rays) / before if before else 1.0,
                "predicted": inside_share(start, SMALL),
                "small": inside_share(fitted.field, SMALL),
                "large": inside_share(fitted.field, LARGE),
            }
        )
        earlier = observed.state
    return rows
