"""Predict planes of features from views by self-attention over all tokens at once: LIRM.

Source: LIRM (arXiv 2504.20026), section 3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.field.directional import Encoding
from clearpane.reconstruction.field.evidence import (
    Evidence,
    Sight,
    add_colours,
    add_masks,
    directional_colours,
    evidence_features,
)
from clearpane.reconstruction.field.field import Heads, HexaplaneField
from clearpane.reconstruction.lirm.evidence_network import EvidenceNetwork
from clearpane.reconstruction.lirm.memory import Fuse, Memory
from clearpane.reconstruction.lirm.precision import at_least_float32
from clearpane.reconstruction.lirm.tokens import PlaneTokens, ViewTokens
from clearpane.reconstruction.lirm.view_features import ViewFeatures, add_features, agreement, empty_sums


@dataclass(frozen=True, eq=False)
class Views:
    """Hold pictures of B objects, each from V cameras.

    Attributes:
        pictures: Objects on white [B, V, 3, H, W], sRGB in [0, 1].
        masks: Coverage of the pixels by the object [B, V, 1, H, W], in [0, 1].
        cameras: Cameras [B, V].
        backgrounds: Surroundings of the objects [B, V, 3, H, W], or None where they are not known.
    """

    pictures: Tensor
    masks: Tensor
    cameras: Cameras
    backgrounds: Tensor | None = None

    def part(self, first: int, last: int) -> "Views":
        """Return views ``first`` to ``last`` - 1 of each object."""
        own = slice(first, last)
        height, width = self.cameras.height, self.cameras.width
        poses, intrinsics = (x[:, own] for x in (self.cameras.camera_to_world, self.cameras.intrinsics))
        return Views(
            self.pictures[:, own],
            self.masks[:, own],
            Cameras(poses, intrinsics, height, width),
            None if self.backgrounds is None else self.backgrounds[:, own],
        )


@dataclass(frozen=True)
class LirmConfig:
    """Configure the size of a LIRM; the defaults are the paper's.

    Attributes:
        blocks: Number of self-attention blocks.
        width: Width of a token.
        heads: Attention heads of each block.
        patch: Side of the patch of a picture's token, pixels.
        plane_side: Tokens along a side of each of the six planes.
        plane_stride: Texels along a side of each plane token.
        channels: Channels of planes and panoramas.
        encoding: Encoding of the view direction for the colour.
        panoramas: Number of panoramas, 1, 2 or 4; they are cut from a map that is square for 1 and 4, and
            twice as wide as high for 2.
        panorama_side: Tokens along a side of each panorama.
        evidence: Voxels along a side of the evidence grid; 0 to do without evidence.
        volume: Voxels along a side of the evidence network's grid, a multiple of 4.
        view_features: Channels of the learnt features of each view that complement the evidence.
    """

    blocks: int = 24
    width: int = 1024
    heads: int = 16
    patch: int = 8
    plane_side: int = 48
    plane_stride: int = 8
    channels: int = 32
    encoding: Encoding = "panoramas"
    panoramas: int = 4
    panorama_side: int = 16
    evidence: int = 0
    volume: int = 48
    view_features: int = 16


LIRM_SMALL = LirmConfig(
    blocks=4,
    width=192,
    heads=6,
    patch=16,
    plane_side=8,
    plane_stride=8,
    channels=16,
    panoramas=2,
    panorama_side=4,
    evidence=48,
    volume=48,
)
"""Configuration with at most 8 M parameters, for two cores."""


def attention_heads(values: Tensor, heads: int) -> Tensor:
    """Split tokens into attention heads: [B, N, width] -> [B, heads, N, width / heads]."""
    batch, count, width = values.shape
    return values.reshape(batch, count, heads, width // heads).transpose(1, 2)


class Block(nn.Module):
    """Apply self-attention, then an MLP four times as wide, each with pre-normalisation and a residual.

    Queries and keys are normalised too, which keeps bfloat16 stable.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixing = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the block: [B, N, width] -> [B, N, width]."""
        mixed = self.mixing(self.first(tokens)).chunk(3, dim=-1)
        query, key, value = (attention_heads(x, self.heads) for x in mixed)
        query = self.query_norm(at_least_float32(query)).to(value)
        key = self.key_norm(at_least_float32(key)).to(value)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.mlp(self.second(tokens))
        return result


class Lirm(nn.Module):
    """Predict relightable objects from views: the large inverse rendering model.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: LirmConfig) -> None:
        super().__init__()
        self.config = config
        self.views = ViewTokens(config.patch, config.width)
        self.planes = PlaneTokens(6, config.plane_side, config.width, config.plane_stride, config.channels)
        panoramas = config.panoramas if config.encoding == "panoramas" else 0
        self.panoramas = (
            PlaneTokens(panoramas, config.panorama_side, config.width, config.plane_stride, config.channels)
            if panoramas
            else None
        )
        self.fuse = Fuse(config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.view_features = ViewFeatures(config.view_features) if config.evidence else None
        self.evidence_network = (
            EvidenceNetwork(config.volume, 1 + 2 * config.view_features) if config.evidence else None
        )
        self.heads = Heads(config.channels, config.encoding, bool(config.evidence))
        self.gradient_checkpointing = False

    def observe(self, views: Views, memory: Memory | None = None) -> Memory:
        """Take in a round of views, and return the memory after it.

        The order of the views makes no difference, except for rounding.

        Args:
            views: Views [B, V] whose picture sides are multiples of the patch.
            memory: Memory after the earlier rounds; None in the first round.
        """
        batch = len(views.pictures)
        seen = self.views(views.pictures, views.masks, views.backgrounds, views.cameras)
        asked = self.fuse(memory.tokens if memory else None, self.token_positions(), batch)
        tokens = torch.cat([asked, seen], dim=1)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return Memory(self.norm(tokens[:, : asked.shape[1]]), *self._evidence(views, memory))

    def fields(self, memory: Memory) -> list[HexaplaneField]:
        """Return the current field of each object."""
        of_planes = self.planes.positions.shape[0]
        planes = at_least_float32(self.planes(memory.tokens[:, :of_planes]))
        panoramas = None
        if self.panoramas:
            panoramas = at_least_float32(self.panoramas(memory.tokens[:, of_planes:]))
        evidence = [evidence_features(e) for e in memory.evidence]
        knows_directions = self.config.encoding != "none"
        directional = [directional_colours(e) for e in memory.evidence if knows_directions]
        volume = None
        if self.evidence_network:
            features = torch.stack([agreement(sums) for sums in memory.features])
            made = at_least_float32(self.evidence_network(torch.cat(evidence), features))
            volume = made.contiguous(memory_format=torch.channels_last_3d)  # fast to sample
        return [
            HexaplaneField(
                planes[i],
                None if panoramas is None else panoramas[i],
                evidence[i] if evidence else None,
                None if volume is None else volume[i : i + 1],
                directional[i] if directional else None,
                self.heads,
            )
            for i in range(len(planes))
        ]

    def forward(self, rounds: list[Views]) -> list[HexaplaneField]:
        """Return the fields of the objects after some rounds of views."""
        memory = None
        for views in rounds:
            memory = self.observe(views, memory)
        if memory is None:
            raise ValueError("a reconstruction needs at least one round of views")
        return self.fields(memory)

    def token_positions(self) -> Tensor:
        """Return the learnt positions of the tokens of planes and panoramas, [N, width]."""
        if self.panoramas is None:
            return self.planes.positions
        return torch.cat([self.planes.positions, self.panoramas.positions])

    def _evidence(
        self, views: Views, memory: Memory | None
    ) -> tuple[tuple[Evidence, ...], tuple[Tensor, ...]]:
        """Return the evidence of each object, and the sums of the views' features."""
        if self.view_features is None:
            return (), ()
        batch, like, config = len(views.pictures), views.pictures, self.config
        features = self.view_features(views.pictures, views.masks)
        evidence = memory.evidence if memory else [Evidence.empty(config.evidence, like)] * batch
        sums = memory.features if memory else [empty_sums(config.view_features, config.volume, like)] * batch
        seen = []
        for i in range(batch):
            pictures, masks, cameras = views.pictures[i], views.masks[i], views.cameras[i]
            carved = add_masks(evidence[i], masks, cameras)
            sight = Sight.of(carved.hull, cameras)
            coloured = add_colours(carved, pictures, masks, sight)
            seen.append((coloured, add_features(sums[i], features[i], sight)))
        return tuple(e for e, _ in seen), tuple(s for _, s in seen)
