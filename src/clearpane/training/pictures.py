"""Load training pictures into memory, and crop and augment them with a seeded generator."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.dataset.shards import StoredSample, read_part
from clearpane.synthesis.draws import uniform

# Every sixteenth natural picture is never trained on: harm on clean pictures is measured there.
HELD_OUT_EVERY = 16


@dataclass(frozen=True, eq=False)
class Pair:
    """Hold a photograph through glass and its ground truth, each [3, H, W] uint8."""

    name: str
    input: Tensor
    truth: Tensor


# Pillow would open many more, some by running other programs.
_FORMATS = ("JPEG", "PNG", "WEBP")


def load_picture(path: Path) -> Tensor:
    """Read a picture, [3, H, W] uint8.

    Raises:
        ClearpaneError: The file cannot be read.
    """
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            pixels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ClearpaneError(f"{path}: cannot be read as a training picture ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def natural_paths(folder: Path, *, held_out: bool = False) -> list[Path]:
    """List the natural pictures of a folder in order, without the held-out ones, or only those.

    Raises:
        ClearpaneError: The folder holds none.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix in {".webp", ".jpg", ".png"})
    if not paths:
        raise ClearpaneError(f"{folder}: no pictures (webp, jpg, png) to train on")
    return [p for i, p in enumerate(paths) if (i % HELD_OUT_EVERY == 0) == held_out]


def load_natural(folder: Path, *, held_out: bool = False) -> list[Tensor]:
    """Load all natural pictures to train on, or those held out, [3, H, W] uint8."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(load_picture, natural_paths(folder, held_out=held_out)))


def load_pairs(folder: Path) -> list[Pair]:
    """Read the real pairs ``*_input.jpg`` and ``*_transmission.jpg`` of a folder, ordered by name.

    Raises:
        ClearpaneError: The folder holds none, a file cannot be read, or the pictures of a pair differ in
            size.
    """
    inputs = sorted(folder.glob("*_input.jpg"))
    if not inputs:
        raise ClearpaneError(f"{folder}: no real pairs (*_input.jpg with *_transmission.jpg)")
    return [_load_pair(path) for path in inputs]


def _load_pair(path: Path) -> Pair:
    name = path.name.removesuffix("_input.jpg")
    pair = Pair(name, load_picture(path), load_picture(path.with_name(f"{name}_transmission.jpg")))
    if pair.input.shape != pair.truth.shape:
        raise ClearpaneError(f"{path}: its truth {name}_transmission.jpg has another size")
    return pair


@dataclass(frozen=True, eq=False)
class GlassPictures:
    """Hold the pictures of a rendered glass scene.

    Attributes:
        input: Photograph I as the camera saved it [3, H, W] uint8.
        background: T / t [3, H, W] uint8: B in the position where T shows it, which glass shifts by some
            pixels.
        reflection: Reflection R [3, H, W] uint8.
        transmittance: Ratio t of the means of T and B [3].
    """

    input: Tensor
    background: Tensor
    reflection: Tensor
    transmittance: Tensor


def load_glass_scenes(folder: Path, part: int = 0, parts: int = 1) -> list[GlassPictures]:
    """Read the glass scenes in a folder: data sets of ``clearpane synthesize`` with I, T, R and B.

    Of several parts, one is read; see `read_part`. Scenes whose camera has a tone curve are left out:
    I = t B + R does not hold in their pictures.

    Raises:
        ClearpaneError: There is no such data set, it lacks one of the layers, or a shard cannot be read.
    """
    samples = read_glass_sets(folder, part, parts)
    return [_glass_pictures(folder, sample) for sample in samples if sample.scene.post.contrast == 1]


def read_glass_sets(folder: Path, part: int = 0, parts: int = 1) -> Iterator[StoredSample]:
    """Read the samples of all data sets in a folder and its sub-folders, or one of several parts of them.

    Raises:
        ClearpaneError: There is no data set, or a shard cannot be read.
    """
    shards = sorted(folder.rglob("shard-*.tar"))
    if not shards:
        raise ClearpaneError(f"{folder}: no shards of glass scenes; make them with clearpane synthesize")
    return read_part(shards, part, parts)


def stored_pixels(srgb: np.ndarray) -> Tensor:
    """Convert [H, W, 3] sRGB in [0, 1] to [3, H, W] uint8; values outside are clipped."""
    pixels = (srgb.clip(0, 1) * 255).round().astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _glass_pictures(folder: Path, sample: StoredSample) -> GlassPictures:
    if sample.photograph is None or not {"T", "R", "B"} <= set(sample.layers):
        raise ClearpaneError(
            f"{folder}: training needs the layers I, T, R and B; make it with `layers=I,T,R,B`"
        )

    transmission, background, reflection = (sample.layers[letter] for letter in "TBR")
    light = np.maximum(background.sum(axis=(0, 1)), 1e-6)
    transmittance = np.maximum(transmission.sum(axis=(0, 1)) / light, 0.05).astype(np.float32)
    return GlassPictures(
        stored_pixels(sample.photograph),
        stored_pixels(linear_to_srgb(transmission / transmittance)),
        stored_pixels(linear_to_srgb(reflection)),
        torch.from_numpy(transmittance),
    )


def random_crop(
    pictures: tuple[Tensor, ...], size: int | tuple[int, int], generator: Generator, zoom: float = 1.8
) -> list[Tensor]:
    """Cut the same random window out of several aligned pictures, as float in [0, 1].

    The window is 1 to ``zoom`` times ``size`` (height and width, or one number for both), log-uniform, as far
    as the picture is large enough. It is shrunk to ``size``, and flipped left to right half the time.
    """
    target = (size, size) if isinstance(size, int) else size
    sides = pictures[0].shape[-2:]
    scale = math.exp(uniform(0, math.log(zoom), generator))
    scale = min(scale, *(side / wanted for side, wanted in zip(sides, target, strict=True)))
    height, width = (round(scale * wanted) for wanted in target)
    top = int(torch.randint(sides[0] - height + 1, (), generator=generator))
    left = int(torch.randint(sides[1] - width + 1, (), generator=generator))
    flip = uniform(0, 1, generator) < 0.5
    crops = []
    for picture in pictures:
        crop = picture[:, top : top + height, left : left + width].float() / 255
        if flip:
            crop = crop.flip(-1)
        if (height, width) != target:
            crop = F.interpolate(crop[None], target, mode="bilinear", antialias=True, align_corners=False)[
                0
            ].clamp(0, 1)
        crops.append(crop)
    return crops


def jitter(pictures: list[Tensor], generator: Generator) -> list[Tensor]:
    """Change the exposure and white balance of several pictures by the same factors.

    The exposure changes by a factor of 0.6 to 1.4 in linear light, the white balance by up to 15 %; in one
    case in ten the channels are shuffled.
    """
    gain = uniform(0.6, 1.4, generator) * (1 + 0.3 * (torch.rand(3, 1, 1, generator=generator) - 0.5))
    order = torch.randperm(3, generator=generator) if uniform(0, 1, generator) < 0.1 else torch.arange(3)
    return [linear_to_srgb((srgb_to_linear(p[order]) * gain).clamp(0, 1)) for p in pictures]


def remix(photo: Tensor, truth: Tensor, generator: Generator) -> Tensor:
    """Weaken or strengthen what the glass did to a real pair's photograph, in linear light.

    The result is ``I' = clip(B + a (I - B))`` with a drawn from 0.3 to 1.3. Where I = t B + R, which is
    everywhere but in saturated pixels, this is again a photograph through glass, ``I' = (1 - a + a t) B + a
    R``. GenSIRR (arXiv 2512.06358) mixes pictures like this to make its encoder equivariant; here it augments
    real pairs.

    Args:
        photo, truth: Pictures [3, H, W], sRGB in [0, 1].
        generator: Random generator.
    """
    scene = srgb_to_linear(truth)
    mixed = torch.lerp(scene, srgb_to_linear(photo), uniform(0.3, 1.3, generator))
    return linear_to_srgb(mixed.clamp(0, 1))


def deepen_shadows(picture: Tensor, generator: Generator) -> Tensor:
    """Raise sRGB values to a random power of 1 to 2.5: shadows get darker, skies and lamps stay bright.

    Without such backgrounds, a network would take whatever is bright in a dark picture for a reflection.
    """
    return picture ** uniform(1.0, 2.5, generator)


def add_distractors(picture: Tensor, generator: Generator) -> Tensor:
    """Paste one to three labels, lamps, lit parts of a wall or skies into a picture, in linear light.

    They belong to the scene behind the glass: negative examples against taking whatever is bright, sharp or
    of another colour for a reflection.

    Args:
        picture: Picture [3, H, W], sRGB in [0, 1].
        generator: Random generator.
    """
    light = srgb_to_linear(picture)
    height, width = picture.shape[-2:]
    size = min(height, width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for _ in range(int(torch.randint(1, 4, (), generator=generator))):
        # Tilted coordinates around a random point: u to the right, v down, in shorter sides of the picture.
        angle = uniform(-0.35, 0.35, generator)
        x = (columns - uniform(0, width, generator)) / size
        y = (rows - uniform(0, height, generator)) / size
        u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
        add = DISTRACTORS[int(torch.randint(len(DISTRACTORS), (), generator=generator))]
        light = add(light, u, v, uniform(0.2, 0.8, generator) / size, generator)
    return linear_to_srgb(light.clamp(0, 1))


def _rectangle(u: Tensor, v: Tensor, width: float, height: float, edge: float) -> Tensor:
    """Return 1 inside a rectangle around the origin and 0 outside, with logistic edges of scale ``edge``."""
    return torch.sigmoid((width / 2 - u.abs()) / edge) * torch.sigmoid((height / 2 - v.abs()) / edge)


def add_label(light: Tensor, u: Tensor, v: Tensor, edge: float, generator: Generator) -> Tensor:
    """Add a card with lines that resemble lettering: dark on light, or light on a colour.

    Args:
        light: Linear light [3, H, W].
        u, v: Coordinates of the pixels relative to the object [H, W], in shorter sides of the picture.
        edge: Softness of the object's edges, in the same unit.
        generator: Random generator.
    """
    width, height = uniform(0.08, 0.5, generator), uniform(0.05, 0.3, generator)
    light_letters = uniform(0, 1, generator) < 0.4
    colour = torch.rand(3, 1, 1, generator=generator) if light_letters else torch.tensor(1.0)
    card = colour * uniform(0.4, 1, generator) * (1 + 0.2 * (torch.rand(3, 1, 1, generator=generator) - 0.5))
    ink = uniform(0.7, 1, generator) if light_letters else uniform(0, 0.2, generator)
    lines, letters = (int(n) for n in torch.randint(2, 7, (2,), generator=generator))
    pattern = torch.rand(2 * lines + 1, 6 * letters + 2, generator=generator) < 0.55
    pattern[::2], pattern[:, 0], pattern[:, -1] = False, False, False
    row = ((v / height + 0.5) * len(pattern)).long().clamp(0, len(pattern) - 1)
    column = ((u / width + 0.5) * pattern.shape[1]).long().clamp(0, pattern.shape[1] - 1)
    shown = torch.where(pattern[row, column], ink, card)
    return torch.lerp(light, shown, _rectangle(u, v, width, height, edge))


def add_lamp(light: Tensor, u: Tensor, v: Tensor, edge: float, generator: Generator) -> Tensor:
    """Add a bright round or oval lamp, usually a warm one, with its halo; arguments as for `add_label`."""
    radius, warmth = uniform(0.01, 0.1, generator), uniform(-0.1, 0.6, generator)
    distance = (u.square() + (uniform(0.6, 1.6, generator) * v).square()).sqrt()
    halo = uniform(0, 0.4, generator) * torch.exp(-(distance - radius).clamp(min=0) / (1.5 * radius))
    lamp = uniform(0.8, 4, generator) * torch.sigmoid((radius - distance) / edge) + halo
    return light + lamp * torch.tensor([1.0, 1 - 0.4 * warmth, 1 - 0.9 * warmth])[:, None, None]


def light_up(light: Tensor, u: Tensor, v: Tensor, edge: float, generator: Generator) -> Tensor:
    """Light a part of the scene with a separate light; arguments as for `add_label`."""
    width, height = uniform(0.2, 1, generator), uniform(0.2, 1, generator)
    tint = 1 + 0.3 * (torch.rand(3, 1, 1, generator=generator) - 0.5)
    gain = uniform(1.5, 5, generator) * tint
    return light * torch.lerp(torch.tensor(1.0), gain, _rectangle(u, v, width, height, edge))


def add_sky(light: Tensor, u: Tensor, v: Tensor, edge: float, generator: Generator) -> Tensor:
    """Add a blue or white sky above a skyline, plain, glowing or cloudy; arguments as for `add_label`."""
    octaves = 2 ** torch.arange(6)[:, None, None]
    heights = 0.15 * torch.rand(6, 1, 1, generator=generator) / octaves
    phases = 2 * math.pi * torch.rand(6, 1, 1, generator=generator)
    skyline = (heights * torch.sin(3 * octaves * u + phases)).sum(dim=0)
    above = skyline - v
    blue = uniform(0, 1.2, generator)
    colour = uniform(0.25, 1, generator) * torch.tensor([math.exp(-blue), math.exp(-blue / 2), 1.0])
    glow = torch.rand(3, generator=generator) * uniform(0, 0.5, generator)
    sky = colour[:, None, None] + glow[:, None, None] * torch.exp(-4 * above.clamp(min=0))
    if uniform(0, 1, generator) < 0.4:
        noise = torch.rand(1, 1, 4, 9, generator=generator)
        cloud = F.interpolate(noise, u.shape, mode="bicubic", align_corners=True)[0]
        sky = torch.lerp(sky, torch.tensor(uniform(0.5, 1, generator)), (2 * cloud - 1).clamp(0, 1))
    return torch.lerp(light, sky, torch.sigmoid(above / edge))


DISTRACTORS = (add_label, add_lamp, light_up, add_sky)
