"""The five layers of a rendered glass scene, and the photograph made from them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from clearpane.optics.color import linear_to_srgb
from clearpane.optics.sensor import SensorNoise, add_noise, jpeg_round_trip, tone_curve
from clearpane.synthesis.glass.scene import Post

# Layer names by the letters used in files and options.
LETTERS = {
    "I": "input",
    "T": "transmission",
    "R": "reflection",
    "B": "background",
    "MR": "mirror_reflection",
}


@dataclass(frozen=True)
class SceneLayers:
    """The layers of scenes in linear light [B, 3, H, W], >= 0; 1 is the sensor's white level, not a limit.

    Attributes:
        input: I = T + R, exactly; without noise, tone curve or compression.
        transmission: T.
        reflection: R.
        background: B, the scene without the glass.
        mirror_reflection: MR, the view in a perfect mirror instead of the front face.
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
        """Build layers with I as the sum of T and R."""
        return cls(transmission + reflection, transmission, reflection, background, mirror_reflection)

    @classmethod
    def concatenated(cls, parts: Sequence["SceneLayers"]) -> "SceneLayers":
        """Concatenate the layers of several batches of scenes, in order."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __getitem__(self, index: slice) -> "SceneLayers":
        """Select the layers of some scenes."""
        return SceneLayers(*(getattr(self, f.name)[index] for f in fields(self)))


def layer_picture(layer: Tensor, post: Post) -> Tensor:
    """Encode a noise-free layer [3, H, W] or [B, 3, H, W] as sRGB in [0, 1] with the photograph's tone curve.

    The tone curve is applied to each layer separately, so that T and B look like photographs without the
    reflection; the sum I = T + R holds in the linear layers.
    """
    return linear_to_srgb(tone_curve(layer.clamp(0, 1), post.contrast))


def photograph(layer: Tensor, post: Post, seed: int) -> Tensor:
    """Simulate the photograph of a layer, usually I: noise, saturation, tone, sRGB and perhaps JPEG (8 bits).

    Args:
        layer: Layer [3, H, W], linear light at the photograph's exposure.
        post: Noise, tone curve and compression.
        seed: Random seed of the noise.

    Returns:
        Photograph [3, H, W] float32 on the layer's device, sRGB in [0, 1].
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
