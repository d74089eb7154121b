"""LIRM: views in, planes of features out, by self-attention over all tokens at once.

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
    """Pictures of B objects from V cameras each.

    Attributes:
        pictures: the object on white, sRGB in [0, 1], [B, V, 3, H, W].
        masks: how much of a pixel is the object, [B, V, 1, H, W].
        cameras: [B, V].
        backgrounds: what surrounds the object, like the pictures, or None where nothing is known of it.
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
    """The sizes of a LIRM; the values it starts with are the paper's.

    Attributes:
        blocks: of self-attention.
        width: of a token.
        heads: of each block's attention.
        patch: the side of a picture's token, pixels.
        plane_side: tokens along a side of each of the six planes.
        plane_stride: texels along a side of each of those.
        channels: of planes and panoramas.
        encoding: how colour knows directions.
        panoramas: how many, 1, 2 or 4; the map they are cut from is square for 1 and 4, twice as wide for 2.
        panorama_side: tokens along a side of each panorama.
        evidence: voxels along a side of the evidence grid; 0 does without it.
        volume: voxels along a side of what a network makes of it, a multiple of 4.
        view_features: channels of what a network sees in each view and the evidence is joined by.
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
"""At most 8 M parameters, for two cores."""


def attention_heads(values: Tensor, heads: int) -> Tensor:
    """[B, N, width] -> [B, heads, N, width / heads]."""
    batch, count, width = values.shape
    return values.reshape(batch, count, heads, width // heads).transpose(1, 2)


class Block(nn.Module):
    """Self-attention, then an MLP four times as wide, each on normed tokens and added to them.

    Queries and keys are normed too: bf16 keeps its head then.
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
        """[B, N, width] -> the same."""
        mixed = self.mixing(self.first(tokens)).chunk(3, dim=-1)
        query, key, value = (attention_heads(x, self.heads) for x in mixed)
        query = self.query_norm(at_least_float32(query)).to(value)
        key = self.key_norm(at_least_float32(key)).to(value)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.mlp(self.second(tokens))
        return result


class Lirm(nn.Module):
    """The large inverse rendering model.

    Args:
        config: its sizes.
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
        """Look at a round of views: what is known after it.

        The order of the views makes no difference (but for rounding).

        Args:
            views: [B, V]; sizes that are multiples of the patch.
            memory: of the rounds before; none, it is the first.
        """
        batch = len(views.pictures)
        seen = self.views(views.pictures, views.masks, views.backgrounds, views.cameras)
        asked = self.fuse(memory.tokens if memory else None, self._positions(), batch)
        tokens = torch.cat([asked, seen], dim=1)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return Memory(self.norm(tokens[:, : asked.shape[1]]), *self._evidence(views, memory))

    def fields(self, memory: Memory) -> list[HexaplaneField]:
        """Return the objects' current fields, one for each."""
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
            volume = made.contiguous(memory_format=torch.channels_last_3d)  # quick to look up
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
        """Return the objects after some rounds of views."""
        memory = None
        for views in rounds:
            memory = self.observe(views, memory)
        if memory is None:
            raise ValueError("a reconstruction needs at least one round of views")
        return self.fields(memory)

    def _positions(self) -> Tensor:
        if self.panoramas is None:
            return self.planes.positions
        return torch.cat([self.planes.positions, self.panoramas.positions])

    def _evidence(
        self, views: Views, memory: Memory | None
    ) -> tuple[tuple[Evidence, ...], tuple[Tensor, ...]]:
        """Of each object, and the sums of the views' features."""
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
