"""The five layers of a rendered glass scene, and the photograph made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from clearpane.optics.color import linear_to_srgb
from clearpane.optics.sensor import SensorNoise, add_noise, jpeg_round_trip, tone_curve
from clearpane.synthesis.glass.scene import Post

# The layers by the letters that files and options call them.
LETTERS = {
    "I": "input",
    "T": "transmission",
    "R": "reflection",
    "B": "background",
    "MR": "mirror_reflection",
}


@dataclass(frozen=True)
class SceneLayers:
    """The layers of scenes in linear light, B x 3 x H x W, >= 0; 1 is the sensor's white level, not a limit.

    Attributes:
        input: I = T + R, exactly; without noise, tone or compression.
        transmission: T.
        reflection: R.
        background: B, the scene with the glass away.
        mirror_reflection: MR, what a perfect mirror in place of the front face would show.
    """

    input: Tensor
    transmission: Tensor
    reflection: Tensor
    background: Tensor
    mirror_reflection: Tensor

    @classmethod
    def composed(
        cls, transmission: Tensor, reflection: Tensor, background: Tensor, mirror_reflection: Tensor
    ) -> "SceneLayers":
        """The layers with I as the sum of T and R."""
        return cls(transmission + reflection, transmission, reflection, background, mirror_reflection)

    @classmethod
    def concatenated(cls, parts: Sequence["SceneLayers"]) -> "SceneLayers":
        """The layers of several batches of scenes, in order."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __getitem__(self, index: slice) -> "SceneLayers":
        """The layers of some of the scenes."""
        return SceneLayers(*(getattr(self, f.name)[index] for f in fields(self)))


def layer_picture(layer: Tensor, post: Post) -> Tensor:
    """A noise-free layer as sRGB in [0, 1] with the photograph's tone curve: 3 x H x W, or B x 3 x H x W.

    The tone curve is applied to each layer alone, so that T and B look as photographs without the reflection
    would; the sum I = T + R holds in the linear layers.
    """
    return linear_to_srgb(tone_curve(layer.clamp(0, 1), post.contrast))


def photograph(layer: Tensor, post: Post, seed: int) -> Tensor:
    """What the camera saves of a layer, usually I: noise, saturation, tone, sRGB and perhaps JPEG (8 bits).

    Args:
        layer: 3 x H x W, linear light at the photograph's exposure.
        post: noise, tone and compression.
        seed: of the noise.

    Returns:
        3 x H x W float32 on the layer's device, sRGB, in [0, 1].
    """
    if post.full_well > 0:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(layer.shape, generator=generator).to(layer)
        layer = add_noise(layer, noise, SensorNoise(post.full_well, post.read_noise))
    picture = layer_picture(layer, post)
    if post.jpeg_quality is None:
        return picture
    pixels = np.ascontiguousarray(picture.detach().cpu().permute(1, 2, 0).numpy())
    return torch.from_numpy(jpeg_round_trip(pixels, post.jpeg_quality)).permute(2, 0, 1).to(layer)
