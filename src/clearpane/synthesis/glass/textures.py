"""The pictures of a glass scene as textures: linear light [3, H, W] float32."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.glass.scene import Background, GlassScene, Light, ReflectedWorld

# A light's edge is softened over this share of a texture's height, so that it does not alias.
_SOFT = 0.003


@dataclass(frozen=True, eq=False)
class SceneTextures:
    """Radiance emitted by a scene's surfaces.

    Attributes:
        background: Linear radiance of the background rectangle [3, h, w], row 0 at its top.
        world: Linear radiance of the reflected world [3, h, w]: the screen's, or the dome's equirectangular
            map (see `clearpane.synthesis.glass.geometry.dome_directions`).
    """

    background: Tensor
    world: Tensor


def load_texture(path: Path) -> Tensor:
    """Read a picture or HDR map in linear light [3, H, W] float32.

    Raises:
        ClearpaneError: It cannot be read, or holds values that are not finite.
    """
    picture = read_picture(path)
    pixels = torch.from_numpy(picture.pixels[..., :3]).permute(2, 0, 1).float()
    if not torch.isfinite(pixels).all():
        raise ClearpaneError(f"{path}: holds values that are not finite; fix or remove it")
    linear = srgb_to_linear(pixels).clamp(min=0)
    return linear.expand(3, -1, -1).contiguous()


def scene_textures(
    scene: GlassScene, background: Tensor, world: Tensor, height: int, width: int
) -> SceneTextures:
    """Make a scene's textures from its pictures.

    Args:
        scene: Scene with the background and the world.
        background, world: Pictures [3, H, W] of any size in linear light, as returned by `load_texture`.
        height, width: Texture size of rectangles; pictures are cropped to this aspect ratio and resized. A
            dome's map keeps its size.
    """
    return SceneTextures(
        _background_texture(scene.background, fitted(background, height, width)),
        _world_texture(scene.world, world if scene.world.shape == "dome" else fitted(world, height, width)),
    )


def fitted(picture: Tensor, height: int, width: int) -> Tensor:
    """Crop a picture [3, H, W] centrally to an aspect ratio and resize it to [3, height, width]."""
    rows, columns = picture.shape[-2:]
    scale = min(rows / height, columns / width)
    kept_rows, kept_columns = max(1, round(scale * height)), max(1, round(scale * width))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    part = picture[:, top : top + kept_rows, left : left + kept_columns]
    if part.shape[-2:] == (height, width):
        return part
    return F.interpolate(part[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]


def _background_texture(background: Background, picture: Tensor) -> Tensor:
    light = picture if background.contrast == 1 else picture.clamp(0, 1) ** background.contrast
    if background.mirrored:
        light = light.flip(-1)
    return light * background.radiance


def _world_texture(world: ReflectedWorld, picture: Tensor) -> Tensor:
    light = picture if world.contrast == 1 else picture.clamp(0, 1) ** world.contrast
    if world.highlight_gain:
        light = light + world.highlight_gain * (light - 0.7).clamp(min=0)
    brightness = torch.quantile(light.mean(dim=0).flatten()[::7], 0.95).clamp(min=1e-4)
    light = light * (world.radiance / brightness)
    light = light * torch.tensor(world.tint)[:, None, None]
    for lamp in world.lights:
        light = _paint(light, lamp, world.radiance)
    return light


def _paint(texture: Tensor, light: Light, scale: float) -> Tensor:
    """Paint a light onto a texture, with soft edges."""
    height, width = texture.shape[-2:]
    y = (torch.arange(height) + 0.5)[:, None] / height - light.y
    x = (torch.arange(width) + 0.5)[None] / width - light.x
    x, y = 2 * x / light.width, 2 * y / light.height
    reach = torch.hypot(x, y) if light.shape == "disc" else torch.maximum(x.abs(), y.abs())
    soft = max(2 * _SOFT / light.height, 1e-6)
    cover = ((1 - reach) / soft + 0.5).clamp(0, 1)
    colour = torch.tensor(light.radiance)[:, None, None] * scale
    return texture * (1 - cover) + colour * cover


def texture_size(height: int, width: int, longest: int = 512) -> tuple[int, int]:
    """Return the height and width of a rectangle's texture: as pictures height x width, ``longest`` long.

    >>> texture_size(192, 256)
    (384, 512)
    """
    scale = longest / max(height, width)
    return max(1, math.ceil(height * scale)), max(1, math.ceil(width * scale))
