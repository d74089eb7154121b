"""Materials of random objects: texture sets from a folder, or procedural ones with fine detail and letters.

A material is a repeating picture of six channels: linear albedo (3), metallic, roughness, height. It is
projected onto a surface along three axes and blended according to the side that a point is on.
"""

import math
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.images.formats import PICTURE_SUFFIXES
from clearpane.images.reading import read_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.draws import uniform

TEXTURE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Material:
    """A texture and its placement.

    Attributes:
        levels: Texture and its halvings, [6, S, S], [6, S / 2, S / 2] and so on.
        period: Period of repetition, metres.
        offset: Offset of the texture, metres [2].
    """

    levels: tuple[Tensor, ...]
    period: float
    offset: Tensor

    def to(self, device: torch.device | str) -> "Material":
        """Return a copy on another device."""
        levels = tuple(level.to(device) for level in self.levels)
        return Material(levels, self.period, self.offset.to(device))


def load_materials(folder: Path) -> tuple[Tensor, ...]:
    """Read texture sets: subfolders with albedo and roughness maps, and metallic ones for metals.

    Heights are derived from brightness: dark parts are low.

    Returns:
        One texture [6, S, S] for each set, S = 256.

    Raises:
        ClearpaneError: There is no such folder or no set in it, or a map is missing or cannot be read.
    """
    if not folder.is_dir():
        raise ClearpaneError(f"{folder}: no such folder; name one that has a folder for each material")
    sets = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not sets:
        raise ClearpaneError(f"{folder}: no materials in it; each is a folder with albedo and roughness maps")
    return tuple(_load_set(path) for path in sets)


def _load_set(folder: Path) -> Tensor:
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES}
    missing = [name for name in ("albedo", "roughness") if name not in found]
    if missing:
        raise ClearpaneError(f"{folder}: no {missing[0]} map in it, as {missing[0]}.jpg or .png")
    albedo = srgb_to_linear(_load_map(found["albedo"]))  # the other maps are data, not light
    roughness = _load_map(found["roughness"])
    metallic = _load_map(found["metallic"]) if "metallic" in found else torch.zeros_like(roughness)
    return torch.cat([albedo, metallic[:1], roughness[:1], stretched(albedo.mean(0, keepdim=True))])


def _load_map(path: Path) -> Tensor:
    """Read the stored values of a map [3, S, S] in [0, 1]."""
    pixels = torch.from_numpy(read_picture(path).pixels[..., :3]).permute(2, 0, 1).float()
    size = (TEXTURE_SIZE, TEXTURE_SIZE)
    shrunk = F.interpolate(pixels[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return shrunk.expand(3, -1, -1).clamp(0, 1)


def stretched(values: Tensor) -> Tensor:
    """Rescale values to [0, 1] by their minimum and maximum."""
    return (values - values.min()) / (values.max() - values.min()).clamp(min=1e-6)


def material_values(
    material: Material, local: Tensor, weights: Tensor, footprint: float, height: bool = False
) -> Tensor:
    """Sample albedo, metallic and roughness [P, 5] at points, or their height alone [P, 1].

    Args:
        material: Material to sample.
        local: Points in the surface's axes, metres [P, 3].
        weights: Weights of the projections along x, y and z [P, 3].
        footprint: Length over which detail is averaged, metres.
        height: True to return the height instead.
    """
    texel = material.period / TEXTURE_SIZE
    wanted = math.log2(max(footprint / texel, 1.0))
    texture = material.levels[min(round(wanted), len(material.levels) - 1)]
    texture = texture[5:] if height else texture[:5]
    wrapped = F.pad(texture[None], (1, 1, 1, 1), mode="circular")
    size = texture.shape[-1]
    total = local.new_zeros(len(local), len(texture))
    for axis, (column, row) in enumerate(((2, 1), (0, 2), (0, 1))):
        place = (local[:, [column, row]] + material.offset) / material.period
        place = (2 * (place - place.floor()) - 1) * size / (size + 2)
        seen = F.grid_sample(wrapped, place[None, None], align_corners=False)[0, :, 0].T
        total = total + weights[:, axis, None] * seen
    return total


def draw_material(generator: Generator, textures: tuple[Tensor, ...] = ()) -> Material:
    """Draw a material: a given texture set, perhaps tinted, or a procedural one."""
    if textures and uniform(0, 1, generator) < 0.4:
        texture = textures[int(torch.randint(len(textures), (), generator=generator))].clone()
        if uniform(0, 1, generator) < 0.5:
            texture[:3] = (texture[:3] * _colour(generator)[:, None, None] * 1.5).clamp(0, 1)
    else:
        texture = procedural_texture(generator)
    levels = [texture]
    while levels[-1].shape[-1] > 4:
        levels.append(F.avg_pool2d(levels[-1], 2))
    offset = torch.rand(2, generator=generator)
    return Material(tuple(levels), uniform(0.3, 1.0, generator), offset)


def procedural_texture(generator: Generator) -> Tensor:
    """Draw two finishes in a pattern, each a metal or a dielectric of one colour [6, S, S]."""
    pattern = _pattern(generator)
    first, second = _finish(generator), _finish(generator)
    if uniform(0, 1, generator) < 0.25:
        pattern = torch.zeros_like(pattern)  # plain
    base = first[:, None, None] * (1 - pattern) + second[:, None, None] * pattern
    grain = fractal_noise(generator, 4)
    strength = uniform(0, 0.3, generator)
    albedo = (base[:3] * (1 + strength * (2 * grain - 1))).clamp(0, 1)
    roughness = (base[4:] + 0.2 * strength * (2 * grain - 1)).clamp(0.05, 1)
    height = grain if uniform(0, 1, generator) < 0.5 else pattern
    return torch.cat([albedo, base[3:4], roughness, height[None]])


def _finish(generator: Generator) -> Tensor:
    """Draw linear albedo, metallic and roughness [5]."""
    metal = uniform(0, 1, generator) < 0.25
    colour = _colour(generator)
    if metal:  # metals are bright and pale
        colour = 0.5 + 0.5 * colour
    roughness = uniform(0.1, 0.6, generator) if metal else uniform(0.15, 1.0, generator)
    return torch.cat([colour, torch.tensor([float(metal), roughness])])


def _colour(generator: Generator) -> Tensor:
    """Draw a linear colour, uniform in sRGB and sometimes a grey."""
    colour = torch.rand(3, generator=generator)
    if uniform(0, 1, generator) < 0.2:
        colour = colour.mean().expand(3)
    return srgb_to_linear(0.05 + 0.9 * colour)


def fractal_noise(generator: Generator, octaves: int) -> Tensor:
    """Draw smooth periodic noise in [0, 1], [S, S]."""
    total = torch.zeros(TEXTURE_SIZE, TEXTURE_SIZE)
    cells = 2 ** int(torch.randint(2, 5, (), generator=generator))
    for octave in range(octaves):
        side = min(cells * 2**octave, TEXTURE_SIZE)
        noise = F.pad(torch.rand(1, 1, side, side, generator=generator), (2, 2, 2, 2), mode="circular")
        scale = TEXTURE_SIZE // side
        smooth = F.interpolate(noise, scale_factor=scale, mode="bicubic", align_corners=False)[0, 0]
        total += smooth[2 * scale : -2 * scale, 2 * scale : -2 * scale] / 2**octave
    return stretched(total)


def _pattern(generator: Generator) -> Tensor:
    """Draw a mask of the second finish [S, S] in [0, 1]."""
    kinds = (_stripes, _checks, _dots, _spots, _letters)
    return kinds[int(torch.randint(len(kinds), (), generator=generator))](generator)


def _grid() -> tuple[Tensor, Tensor]:
    """Return y and x in [0, 1], [S, S] each."""
    axis = (torch.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def _edge(signed: Tensor) -> Tensor:
    """Return 0 for negative and 1 for positive values, with an edge some texels wide.

    The values must change by about 1 over the texture.
    """
    return (0.5 + signed * TEXTURE_SIZE / 4).clamp(0, 1)


def _stripes(generator: Generator) -> Tensor:
    y, x = _grid()
    across, along = (int(n) for n in torch.randint(0, 7, (2,), generator=generator))
    phase = (across * x + along * y + 0.02 * fractal_noise(generator, 2)) % 1.0
    return _edge((phase - 0.5).abs() - uniform(0.1, 0.4, generator))


def _checks(generator: Generator) -> Tensor:
    y, x = _grid()
    count = 2 * int(torch.randint(1, 7, (), generator=generator))
    return (((x * count).floor() + (y * count).floor()) % 2).float()


def _dots(generator: Generator) -> Tensor:
    y, x = _grid()
    count = int(torch.randint(2, 9, (), generator=generator))
    away = torch.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) / count
    return _edge(uniform(0.2, 0.45, generator) / count - away)


def _spots(generator: Generator) -> Tensor:
    return _edge(fractal_noise(generator, 3) - uniform(0.3, 0.7, generator))


def _letters(generator: Generator) -> Tensor:
    """Draw rows of letters and digits."""
    picture = Image.new("L", (TEXTURE_SIZE, TEXTURE_SIZE))
    draw = ImageDraw.Draw(picture)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits
    size = int(torch.randint(18, 80, (), generator=generator))
    font = ImageFont.load_default(size)
    for top in range(0, TEXTURE_SIZE, size + 2):
        chosen = torch.randint(len(alphabet), (3 * TEXTURE_SIZE // size,), generator=generator)
        draw.text((0, top), "".join(alphabet[i] for i in chosen), fill=255, font=font)
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)
