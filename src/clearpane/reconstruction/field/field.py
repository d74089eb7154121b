"""Map features at a point to distance, material, normal and colour: the heads, and the field they form.

Source: LIRM (arXiv 2504.20026), section 3.1; the number of layers of each head is the paper's.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.directional import (
    HARMONICS,
    Encoding,
    mirror_directions,
    sample_panoramas,
    spherical_harmonics,
)
from clearpane.reconstruction.field.evidence import EVIDENCE_CHANNELS, VOLUME_CHANNELS, sample_volume
from clearpane.reconstruction.field.hexaplane import sample_hexaplane
from clearpane.reconstruction.field.rendering import Appearance

_HIDDEN = 32
# SDF = tanh(mlp) SDF_RANGE + the distance to a small sphere, |x| - 0.1 R.
_SDF_RANGE, _SPHERE = 1.732 * 1.5 * HALF_SIZE, 0.1 * HALF_SIZE
# Logit of a metallic of 5 %.
_DIELECTRIC = -3.0
# Largest distance between the surface and the visual hull, metres; concave objects need most.
_HULL_RANGE = 0.3


def mlp(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """Make an MLP of ``layers`` linear layers, 32 wide, with ReLU between them."""
    widths = [inputs, *[_HIDDEN] * (layers - 1), outputs]
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class Heads(nn.Module):
    """Decode features into distance, material, normal and colour.

    Args:
        channels: Channels of one plane.
        encoding: Encoding of the view direction for the colour.
        evidence: True if the features include the evidence of the pixels.
    """

    def __init__(self, channels: int, encoding: Encoding, evidence: bool) -> None:
        super().__init__()
        self.encoding, self.evidence = encoding, evidence
        features = 3 * channels + (VOLUME_CHANNELS + EVIDENCE_CHANNELS if evidence else 0)
        directional = {"panoramas": channels, "harmonics": HARMONICS, "none": 0}[encoding]
        self.distance = mlp(features, 1, 2)
        self.albedo = mlp(features, 3, 2)
        self.metallic_roughness = mlp(features, 2, 2)
        self.normal = mlp(features, 3, 3)
        self.colour = mlp(features + directional + (encoding != "none"), 3, 3)
        # Position among the panoramas: a rough surface needs another one than a smooth surface.
        self.number = mlp(features, 1, 2) if encoding == "panoramas" else None
        if evidence:  # the initial output is the hull, its normals and colours, with a metallic of 5 %
            for head in (self.distance, self.colour, self.albedo, self.normal, self.metallic_roughness):
                last = head[-1]
                assert isinstance(last, nn.Linear)
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            with torch.no_grad():
                self.metallic_roughness[-1].get_parameter("bias")[0] = _DIELECTRIC


@dataclass(frozen=True, eq=False)
class HexaplaneField:
    """Combine the features of one object and the heads that decode them into a renderable field.

    Attributes:
        planes: Hexa-plane [6, C, N, N].
        panoramas: Panoramas of features [K, C, H, W], or None.
        evidence: Evidence of the pixels [1, 11, G, G, G], or None.
        volume: Output of the evidence network [1, 16, S, S, S], or None without evidence.
        directional: Coefficients of `directional_colours` [1, 12, G, G, G], or None: then colours start from
            their mean.
        heads: Networks that decode the features.
        materials: Logits of albedo (3), metallic and roughness [1, 5, G, G, G] that the heads' outputs are
            added to, or None: then albedo starts from the mean colours.
    """

    planes: Tensor
    panoramas: Tensor | None
    evidence: Tensor | None
    volume: Tensor | None
    directional: Tensor | None
    heads: Heads
    materials: Tensor | None = None

    def features(self, points: Tensor) -> Tensor:
        """Return the features of points: [P, 3] -> [P, F]."""
        sampled = sample_hexaplane(self.planes, points)
        if self.evidence is None or self.volume is None:
            return sampled
        seen = sample_volume(self.evidence, points)
        around = sample_volume(self.volume, points)
        return torch.cat([sampled, around, seen[:, :1] / HALF_SIZE, seen[:, 1:]], dim=-1)

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        """Compute ``tanh(mlp) 1.732 * 1.5 R + |x| - 0.1 R``, with evidence ``tanh(mlp) 0.3 + d_hull``.

        Metres: [P, 3] -> [P, 1]. ``features`` saves computing the points' features again.
        """
        features = self.features(points) if features is None else features
        offset = torch.tanh(self.heads.distance(features)).to(points.dtype)
        if self.evidence is None:
            result: Tensor = offset * _SDF_RANGE + points.norm(dim=-1, keepdim=True) - _SPHERE
            return result
        hull = features[:, -EVIDENCE_CHANNELS, None].to(points.dtype) * HALF_SIZE
        return offset * _HULL_RANGE + hull

    def appearance(self, points: Tensor, view: Tensor, features: Tensor | None = None) -> Appearance:
        """Decode points seen from ``view`` [P, 3]; ``features`` saves computing their features again."""
        heads = self.heads
        features = self.features(points) if features is None else features
        normal = heads.normal(features)
        if self.evidence is not None:
            normal = normal + features[:, -3:]
        normal = F.normalize(normal, dim=-1)
        mirror = mirror_directions(view, normal)
        facing = (normal.detach() * view).sum(-1, keepdim=True)
        directional = [features] if heads.encoding == "none" else [features, facing]
        if heads.encoding == "panoramas":
            assert self.panoramas is not None and heads.number is not None
            number = torch.sigmoid(heads.number(features))
            directional.append(sample_panoramas(self.panoramas, number, mirror))
        elif heads.encoding == "harmonics":
            directional.append(spherical_harmonics(mirror))
        colour = heads.colour(torch.cat(directional, dim=-1))
        albedo = heads.albedo(features)
        material = heads.metallic_roughness(features)
        if self.evidence is not None:  # relative to the point's colours in the views
            mean = features[:, -EVIDENCE_CHANNELS + 3 : -EVIDENCE_CHANNELS + 6]
            seen = mean if self.directional is None else self._colour_seen_from(points, view)
            colour = colour + torch.logit(seen.clamp(0.01, 0.99))
            if self.materials is None:
                albedo = albedo + torch.logit(srgb_mean_to_linear(mean.clamp(0.01, 0.99)))
        if self.materials is not None:
            known = sample_volume(self.materials, points)
            albedo, material = albedo + known[:, :3], material + known[:, 3:]
        material = torch.sigmoid(material)
        return Appearance(
            torch.sigmoid(colour), torch.sigmoid(albedo), material[:, :1], material[:, 1:], normal
        )

    def _colour_seen_from(self, points: Tensor, view: Tensor) -> Tensor:
        """Return ``a + B v`` of `directional_colours`: [P, 3]."""
        assert self.directional is not None
        offset, slope = sample_volume(self.directional, points).split([3, 9], dim=-1)
        result: Tensor = offset + (slope.unflatten(-1, (3, 3)) @ view.to(slope)[..., None])[..., 0]
        return result


def srgb_mean_to_linear(mean: Tensor) -> Tensor:
    """Guess an albedo from a mean colour: its linear light, kept within (0, 1)."""
    return (mean**2.2).clamp(1e-3, 0.99)
