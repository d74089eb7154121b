"""Measure how much of one side of an object leaks to the other: six planes, three, and the paper's layout.

    python -m benchmarks.lirm.plane_leakage

Features and a head are fitted to the colours of an object's surface points, without rendering: what is left
is what the layout of the planes cannot tell apart. Front and back of each object show different pictures.
Writes docs/figures/plane_leakage.md. Needs the extra [3d].
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.field import mlp
from clearpane.reconstruction.field.hexaplane import PAIRS, sample_hexaplane

_CHANNELS = 8
_EXTENT = 0.4  # half a card's side and a ball's radius, metres
_POINTS, _RATE = 4096, 1e-2
Layout = Callable[[Tensor, Tensor], Tensor]
Shape = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Options:
    """Compare the layouts."""

    steps: int = 600
    """Steps of each fit."""
    side: int = 48
    """Side of each of the six planes, in cells; the other layouts have as many parameters."""
    texture: int = 24
    """Side of the pictures on front and back, in cells."""
    seeds: int = 3
    """Fits of each layout and object."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the table."""


def three_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Sample a tri-plane [3, C, N, N]: the planes of a pair are one."""
    return sample_hexaplane(planes.repeat_interleave(2, 0), points)


def double_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Sample three planes of double length [3, C, N, 2 N], whose halves are the sides; the paper's layout."""
    unit, sampled = points / HALF_SIZE, []
    for plane, (column, row, third) in zip(planes, PAIRS, strict=True):
        along = (unit[:, column] + torch.where(unit[:, third] < 0, -1.0, 1.0)) / 2
        place = torch.stack([along, unit[:, row]], dim=-1)[None, None]
        sampled.append(F.grid_sample(plane[None], place, align_corners=False)[0, :, 0].T)
    return torch.cat(sampled, dim=-1)


def layouts(side: int) -> dict[str, tuple[Layout, tuple[int, ...]]]:
    """Return the ways to sample, each with the shape of its planes; all have as many parameters."""
    return {
        "six planes, blended (here)": (sample_hexaplane, (6, _CHANNELS, side, side)),
        "three planes of double length (paper)": (double_planes, (3, _CHANNELS, side, 2 * side)),
        "three planes": (three_planes, (3, _CHANNELS, round(side * 2**0.5), round(side * 2**0.5))),
    }


def card(thickness: float) -> Shape:
    """Make a card of this thickness in metres, whose front faces +z."""
    return lambda place, front: torch.cat([_EXTENT * place, front * thickness / 2], dim=-1)


def ball(place: Tensor, front: Tensor) -> Tensor:
    """Project each side's places onto half a ball."""
    inside = place * (1 - place.square().flip(-1) / 2).sqrt()  # a square onto a disc
    depth = (1 - inside.square().sum(-1, keepdim=True)).clamp(min=0).sqrt()
    return _EXTENT * torch.cat([inside, front * depth], dim=-1)


OBJECTS: dict[str, Shape] = {"card of 4 cm": card(0.04), "card of 1 cm": card(0.01), "ball": ball}


def surface(
    shape: Shape, textures: Tensor, count: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw points of the surface: positions [P, 3], their colours, and those opposite, [P, 3]."""
    place = 2 * torch.rand(count, 2, generator=generator) - 1
    front = torch.where(torch.rand(count, 1, generator=generator) < 0.5, -1.0, 1.0)
    both = F.grid_sample(textures, place[None, None].expand(2, -1, -1, -1), align_corners=False)[:, :, 0]
    back = (front < 0).T
    own, other = torch.where(back, both[1], both[0]).T, torch.where(back, both[0], both[1]).T
    return shape(place, front), own, other


def fit(options: Options, layout: str, shape: Shape, seed: int) -> tuple[float, float]:
    """Fit one layout to one object.

    Returns:
        PSNR of the colours in dB, and the share of the opposite colour in each: 0 without leakage, 0.5 for a
        layout that cannot tell the sides apart.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    textures = torch.rand(2, 3, options.texture, options.texture, generator=generator)
    sample, size = layouts(options.side)[layout]
    planes = (0.1 * torch.randn(size, generator=generator)).requires_grad_()
    head = mlp(3 * _CHANNELS, 3, 2)
    optimizer = torch.optim.Adam([planes, *head.parameters()], lr=_RATE)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - step / options.steps)
        points, colours, _ = surface(shape, textures, _POINTS, generator)
        loss = (torch.sigmoid(head(sample(planes, points))) - colours).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        points, colours, opposite = surface(shape, textures, 4 * _POINTS, generator)
        error = torch.sigmoid(head(sample(planes, points))) - colours
    difference = opposite - colours
    leaked = float((error * difference).sum() / difference.square().sum())
    return float(-10 * error.square().mean().log10()), leaked


def main(options: Options) -> int:
    """Fit all, print and write the table."""
    rows = []
    for layout in layouts(options.side):
        cells = [layout]
        for shape in OBJECTS.values():
            scores = torch.tensor([fit(options, layout, shape, seed) for seed in range(options.seeds)])
            mean, spread = scores.mean(0).tolist(), scores.std(0).tolist()
            cells += [f"{mean[0]:.1f} ± {spread[0]:.1f}", f"{100 * mean[1]:.1f} ± {100 * spread[1]:.1f} %"]
        rows.append(cells)
        print(*cells, sep="  ", flush=True)
    head = [""]
    for name in OBJECTS:
        head += [f"{name}: PSNR, dB", "leaked"]
    text = (
        "# Leakage from front to back\n\n"
        f"Planes of features and a head, fitted in {options.steps} steps to the colours of the surface's "
        "points. Front and back show different random pictures. All layouts have the same number of "
        "parameters. Leaked is the share of the opposite side's colour in a point's: 0 is right, 50 % means "
        f"that the sides cannot be told apart. Mean ± standard deviation over {options.seeds} seeds. Six "
        "planes are blended within 1 cm of the middle, so a card of 1 cm lies in the blended band.\n\n"
        + table(head, rows)
        + f"\n<sub>{Machine(**describe_machine())}.</sub>\n"
    )
    write_page(options.output / "plane_leakage.md", text, __spec__.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
