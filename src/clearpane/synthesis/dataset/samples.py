"""Training samples: glass scenes rendered and photographed by the simulated camera."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
from clearpane.synthesis.glass.camera import apply_camera
from clearpane.synthesis.glass.layers import LETTERS, SceneLayers, layer_picture, photograph
from clearpane.synthesis.glass.scene import GlassScene
from clearpane.synthesis.glass.textures import SceneTextures

Renderer = Literal["analytic", "mitsuba"]


@dataclass(frozen=True)
class SampleOptions:
    """Size and renderer of samples.

    Attributes:
        height, width: Picture size in pixels.
        renderer: ``analytic``, exact and fast, or ``mitsuba``, a path tracer used as a reference.
        samples: Samples per pixel (path tracer only).
        denoise: True to denoise R (path tracer only).
    """

    height: int = 256
    width: int = 256
    renderer: Renderer = "analytic"
    samples: int = 256
    denoise: bool = False


@dataclass(frozen=True, eq=False)
class Sample:
    """A scene with its pictures.

    Attributes:
        scene: Scene that was rendered.
        layers: Layers [1, 3, H, W], linear light on the sensor; I = T + R.
        photograph: I as saved by the camera [3, H, W], sRGB in [0, 1].
    """

    scene: GlassScene
    layers: SceneLayers
    photograph: Tensor

    def pictures(self) -> dict[str, Tensor]:
        """Return I (the photograph), T, R, B and MR by letter, each [3, H, W], sRGB in [0, 1]."""
        pictures = {
            letter: layer_picture(getattr(self.layers, name)[0], self.scene.post)
            for letter, name in LETTERS.items()
            if letter != "I"
        }
        return {"I": self.photograph, **pictures}


def render_sample(scene: GlassScene, sources: Sources, options: SampleOptions) -> Sample:
    """Render a scene and photograph it. The same scene, sources and options give the same sample.

    Raises:
        ClearpaneError: A picture of the scene is missing or cannot be read.
        MissingExtraError: The path tracer is not installed.
    """
    textures = sources.textures(scene, options.height, options.width)
    layers = apply_camera(_render(scene, textures, options), [scene])
    return Sample(scene, layers, photograph(layers.input[0], scene.post, scene.seed))


def _render(scene: GlassScene, textures: SceneTextures, options: SampleOptions) -> SceneLayers:
    if options.renderer == "analytic":
        return render_analytic([scene], [textures], AnalyticOptions(options.height, options.width))
    from clearpane.synthesis.glass.path_tracing import PathTracingOptions, path_trace

    tracing = PathTracingOptions(
        options.height, options.width, samples=options.samples, seed=scene.seed, denoise=options.denoise
    )
    return path_trace(scene, textures, tracing)
