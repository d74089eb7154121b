"""Effects of dust, lens and exposure on a scene's layers: all are linear, so that I = T + R still holds."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.optics.lens import lateral_chromatic_aberration, polynomial_vignetting
from clearpane.optics.sensor import expose, white_balance
from clearpane.synthesis.glass.layers import SceneLayers
from clearpane.synthesis.glass.scene import GlassScene

# Share of the light that dust scatters back, evenly in all directions.
_DUST_ALBEDO = 0.5


def apply_camera(layers: SceneLayers, scenes: Sequence[GlassScene]) -> SceneLayers:
    """Convert radiance at the pane to linear light on the sensor, for all five layers alike.

    Dust on the front face attenuates T and R by its coverage and adds scattered light to R: the mean of the
    reflected world times the dust's albedo. Its pattern is fixed to the picture and soft, as if out of focus.
    Then come chromatic aberration, vignetting, exposure and white balance.

    Args:
        layers: Layers [B, 3, H, W] as returned by a renderer.
        scenes: The B scenes.
    """
    return SceneLayers.concatenated([_one(layers[i : i + 1], s) for i, s in enumerate(scenes)])


def _one(layers: SceneLayers, scene: GlassScene) -> SceneLayers:
    parts = [
        layers.transmission,
        layers.reflection,
        layers.background,
        layers.mirror_reflection,
    ]
    if scene.pane.dust:
        height, width = layers.input.shape[-2:]
        hidden = scene.pane.dust * dust_pattern(height, width, scene.pane.dust_seed).to(parts[0])
        ambient = layers.mirror_reflection.mean(dim=(-2, -1), keepdim=True)
        parts[0] = (1 - hidden) * parts[0]
        parts[1] = (1 - hidden) * parts[1] + hidden * _DUST_ALBEDO * ambient
    return SceneLayers.composed(*(_sensor(part, scene) for part in parts))


def _sensor(light: Tensor, scene: GlassScene) -> Tensor:
    aberration = scene.camera.chromatic_aberration
    if aberration:
        light = lateral_chromatic_aberration(light, (1 + aberration / 2, 1.0, 1 - aberration / 2)).clamp(
            min=0
        )
    if scene.camera.vignetting:
        light = polynomial_vignetting(light, (-scene.camera.vignetting,))
    return white_balance(expose(light, scene.post.exposure), scene.post.white_balance, axis=-3)


def dust_pattern(height: int, width: int, seed: int) -> Tensor:
    """Draw the coverage of a pane with dust [H, W] in [0, 1]: wiped streaks and clouds, with specks."""
    generator = Generator().manual_seed(seed)
    clouds = torch.zeros(height, width)
    for octave in range(4):
        cells = 3 * 2**octave
        noise = torch.rand(1, 1, cells, cells, generator=generator)
        clouds = (
            clouds
            + F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)[0, 0] / 2**octave
        )
    clouds = ((clouds - clouds.min()) / (clouds.max() - clouds.min() + 1e-6)) ** 2
    specks = torch.rand(1, 1, 96, 96, generator=generator) ** 60
    spots = F.interpolate(specks, (height, width), mode="bilinear", align_corners=True)[0, 0]
    return (0.7 * clouds + spots).clamp(0, 1)
