"""Glass scenes rendered exactly, without noise: every ray splits into a few specular paths."""

from collections.abc import Sequence
from dataclasses import dataclass

from clearpane.synthesis.layers import SceneLayers
from clearpane.synthesis.scene import GlassScene
from clearpane.synthesis.textures import SceneTextures


@dataclass(frozen=True)
class AnalyticOptions:
    """How scenes are rendered.

    Attributes:
        height, width: of the pictures, pixels.
        subsamples: per pixel and axis (2: four rays a pixel), box filtered.
        orders: K, the terms of the series of bounces.
        polarized: follow s and p apart through all bounces, as light does; else average them at each bounce,
            as renderers without polarisation do (for comparison).
        lens_samples: rays a pixel over the lens for defocus; 0: each layer is blurred as a plane instead.
    """

    height: int = 256
    width: int = 256
    subsamples: int = 2
    orders: int = 3
    polarized: bool = True
    lens_samples: int = 0


def render_analytic(
    scenes: Sequence[GlassScene], textures: Sequence[SceneTextures], options: AnalyticOptions
) -> SceneLayers:
    raise NotImplementedError
