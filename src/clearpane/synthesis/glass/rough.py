"""Rough faces in the analytic renderer: each order is blurred according to the slopes of the faces.

A microfacet surface of parameter alpha = roughness^2 has slopes of standard deviation ``m = alpha / sqrt 2``
along each axis. A slope deflects a reflection by twice its angle and a refraction by (n - 1) times. The
deflections by all faces that an order meets add up as variances, and a deflection seen from the camera is
reduced by the share of the path that lies behind the glass::

    front reflection   2 m
    ghosts             sqrt((2 n)^2 + 2 (n - 1)^2) m      (twice through the front, once off the back)
    transmission       sqrt 2 (n - 1) m
    in the picture     deflection * path behind the glass / whole path * focal length in pixels

This is an approximation for small roughness: round blurs (those of slanted panes are elongated), Gaussian
(GGX has longer tails), one width for the whole picture, no light lost to masking.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clearpane.optics.lens import focal_length
from clearpane.synthesis.blending import gaussian_blur
from clearpane.synthesis.glass.scene import GlassScene


def rough_blurs(scene: GlassScene, longest: int) -> tuple[float, float, float]:
    """Compute the blur of a scene's front reflection, ghosts and transmission, standard deviations in pixels.

    Args:
        scene: Scene with the pane's roughness and the distances.
        longest: Length of the picture's longer side, pixels.
    """
    slope = scene.pane.roughness**2 / math.sqrt(2)
    n = scene.pane.ior
    focal = focal_length(longest, math.radians(scene.camera.field_of_view))
    reflected = scene.world.distance / (scene.world.distance + scene.pane.distance)
    passed = (scene.background.distance - scene.pane.distance) / scene.background.distance
    return (
        2 * slope * reflected * focal,
        math.sqrt((2 * n) ** 2 + 2 * (n - 1) ** 2) * slope * reflected * focal,
        math.sqrt(2) * (n - 1) * slope * passed * focal,
    )


def blur_rough_layers(
    scenes: Sequence[GlassScene], layers: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Blur the layers of rough panes: front reflection, ghosts and transmission, [B, 3, H, W] each."""
    if not any(scene.pane.roughness for scene in scenes):
        return layers
    longest = max(layers[0].shape[-2:])
    widths = [rough_blurs(scene, longest) for scene in scenes]
    first, ghosts, transmission = (
        torch.stack(
            [gaussian_blur(x, w[k]) if w[k] > 0.05 else x for x, w in zip(layer, widths, strict=True)]
        )
        for k, layer in enumerate(layers)
    )
    return first, ghosts, transmission
