"""Light that rays meet in a glass scene: texture lookups in the background, the screen or the dome."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.synthesis.glass.geometry import COVER, pane_normal, screen_rectangle, view_tangents
from clearpane.synthesis.glass.scene import GlassScene
from clearpane.synthesis.glass.textures import SceneTextures


@dataclass(frozen=True, eq=False)
class SceneTensors:
    """The parameters of B scenes as tensors, [B, 1, 1, 1] unless said otherwise."""

    normal: Tensor  # [B, 3, 1, 1]
    pane_distance: Tensor
    thickness: Tensor
    ior: Tensor
    absorption: Tensor  # [B, 3, 1, 1]
    background_distance: Tensor
    world_distance: Tensor
    dome_rotation: Tensor  # radians
    tangents: Tensor  # [B, 2, 1, 1], half the view across and down
    filter_axis: Tensor | None  # [B, 3, 1, 1]
    filtered: Tensor  # [B, 1, 1, 1], true for scenes with a filter
    background: Tensor  # [B, 3, h, w]
    world: Tensor  # [B, 3, h, w]; a dome's is padded by one column at either side, wrapped around
    # Centre, across and down [3] of the first scene's screen; None for domes.
    screen: tuple[Tensor, Tensor, Tensor] | None


def scene_tensors(
    scenes: Sequence[GlassScene], textures: Sequence[SceneTextures], height: int, width: int
) -> SceneTensors:
    """Convert scenes and their textures to tensors for pictures height x width, on the textures' device."""
    background = torch.stack([t.background for t in textures])
    world = torch.stack([t.world for t in textures])
    device = background.device

    def numbers(rows: Sequence[object]) -> Tensor:
        tensor = torch.tensor(rows, dtype=torch.float32, device=device)
        return tensor.reshape(len(rows), -1, 1, 1)

    angles = [math.radians(s.camera.polarizer or 0.0) for s in scenes]
    filtered = numbers([s.camera.polarizer is not None for s in scenes]) > 0
    is_dome = scenes[0].world.shape == "dome"
    screen = screen_rectangle(scenes[0], height, width)

    def as_vector(v: np.ndarray) -> Tensor:
        return torch.tensor(v, dtype=torch.float32, device=device)

    return SceneTensors(
        normal=numbers([pane_normal(s.pane).tolist() for s in scenes]),
        pane_distance=numbers([s.pane.distance for s in scenes]),
        thickness=numbers([s.pane.thickness for s in scenes]),
        ior=numbers([s.pane.ior for s in scenes]),
        absorption=numbers([s.pane.absorption for s in scenes]),
        background_distance=numbers([s.background.distance for s in scenes]),
        world_distance=numbers([s.world.distance for s in scenes]),
        dome_rotation=numbers([math.radians(s.world.rotation) for s in scenes]),
        tangents=numbers([view_tangents(s.camera.field_of_view, height, width) for s in scenes]),
        filter_axis=numbers([[math.cos(a), math.sin(a), 0.0] for a in angles]) if filtered.any() else None,
        filtered=filtered,
        background=background,
        world=F.pad(world, (1, 1, 0, 0), mode="circular") if is_dome else world,
        screen=None
        if is_dome
        else (as_vector(screen.centre), as_vector(screen.across), as_vector(screen.down)),
    )


def look_up(texture: Tensor, position: Tensor) -> Tensor:
    """Sample a texture bilinearly, black outside, and average over the subsamples.

    Args:
        texture: Texture [B, 3, h, w].
        position: Positions x and y from -1 to 1, [B, 2, S, H, W].

    Returns:
        Mean over the subsamples [B, 3, H, W].
    """
    batch, _, samples, height, width = position.shape
    grid = position.permute(0, 2, 3, 4, 1).reshape(batch, samples * height, width, 2)
    found = F.grid_sample(texture, grid, align_corners=False)
    return found.reshape(batch, 3, samples, height, width).mean(dim=2)


def dome_places(p: SceneTensors, point: Tensor, direction: Tensor) -> Tensor:
    """Compute map coordinates u and v [B, 2, S, H, W] of the points where rays meet the dome.

    Args:
        p: Tensors of B scenes.
        point: Ray origins near the dome's centre, relative to it, [B, 3, S, H, W].
        direction: Unit directions [B, 3, S, H, W].

    Returns:
        u in turns, from the left edge of the map (modulo 1), and v from -1 at its top to 1 at its bottom.
    """
    radius = p.world_distance[..., None]
    forward = (point * direction).sum(dim=1, keepdim=True)
    distance = torch.sqrt((forward**2 - (point**2).sum(dim=1, keepdim=True) + radius**2).clamp(min=1e-9))
    x, y, z = (point + (distance - forward) * direction).unbind(dim=1)
    u = (torch.atan2(x, z) - p.dome_rotation) / (2 * math.pi) + 0.5
    v = torch.asin((y / radius[:, 0]).clamp(-1, 1)) * (2 / math.pi)
    return torch.stack([u, v], dim=1)


def look_up_dome(p: SceneTensors, places: Tensor) -> Tensor:
    """Sample the dome at map coordinates [B, 2, S, H, W]; mean over the subsamples [B, 3, H, W]."""
    turns, v = places.unbind(dim=1)
    columns = p.world.shape[-1]
    # The texture is padded by one column at either side.
    u = (2 * (turns - torch.floor(turns)) - 1) * ((columns - 2) / columns)
    return look_up(p.world, torch.stack([u, v], dim=1))


def look_behind(p: SceneTensors, origin: Tensor, direction: Tensor) -> Tensor:
    """Sample one scene's background along rays [S, H, W, 3], black beside it: [S, 3, H, W]."""
    distance = p.background_distance.item()
    forward = direction[..., 2:]
    ahead = forward > 1e-6
    reach = (distance - origin[..., 2:]) / torch.where(ahead, forward, 1.0)
    point = origin[..., :2] + reach * direction[..., :2]
    position = point / (COVER * distance * p.tangents.reshape(2))
    return look_up_each(p.background, torch.where(ahead, position, 2.0))


def look_before(p: SceneTensors, origin: Tensor, direction: Tensor) -> Tensor:
    """Sample one scene's reflected world along rays [S, H, W, 3]: [S, 3, H, W]."""
    if p.screen is None:
        centre = torch.cat([torch.zeros_like(p.pane_distance).expand(-1, 2, 1, 1), p.pane_distance], dim=1)
        # Every subsample as a separate picture.
        points = (origin - centre.reshape(3)).movedim(-1, 1)[:, :, None]
        directions = direction.movedim(-1, 1)[:, :, None]
        places = (dome_places(p, a[None], b[None]) for a, b in zip(points, directions, strict=True))
        return torch.cat([look_up_dome(p, place) for place in places])
    centre, across, down = p.screen
    normal = torch.linalg.cross(across, down)
    along = (direction * normal).sum(dim=-1)
    towards = along.abs() > 1e-9
    reach = ((centre - origin) * normal).sum(dim=-1) / torch.where(towards, along, 1.0)
    point = origin + reach[..., None] * direction - centre
    position = torch.stack([(point * a).sum(dim=-1) / (a * a).sum() for a in (across, down)], dim=-1)
    return look_up_each(p.world, torch.where((towards & (reach > 0))[..., None], position, 2.0))


def look_up_each(texture: Tensor, position: Tensor) -> Tensor:
    """Sample a texture [1, 3, h, w] bilinearly at [S, H, W, 2], black outside, no mean: [S, 3, H, W]."""
    return F.grid_sample(texture.expand(len(position), -1, -1, -1), position, align_corners=False)
