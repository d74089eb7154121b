"""Make the initial field of a fit: from the views' visual hull, or from LIRM's prediction."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.directional import Encoding
from clearpane.reconstruction.field.evidence import (
    COLOUR_CHANNELS,
    VOLUME_CHANNELS,
    Evidence,
    Sight,
    add_colours,
    add_masks,
    add_views,
    evidence_features,
    hull_normals,
    voxel_centres,
)
from clearpane.reconstruction.field.field import Heads, HexaplaneField, srgb_mean_to_linear
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.observing import observe_capture

EVIDENCE_SIDE = 128
"""Voxels along a side of the initial hull of a fit; LIRM's grid has the size it was trained with."""

_CHANNELS, _PLANE_SIDE, _VOLUME_SIDE = 8, 160, 48
_PANORAMA_SIZE = (32, 64)
_NOISE = 0.05
# LIRM's materials are taken within this distance of its surface, metres; 0 and 1 have no logit.
_NEAR, _LEAST = 0.03, 0.01
_AT_ONCE = 1 << 16


def start_from_hull(
    capture: Capture, seed: int = 0, encoding: Encoding = "panoramas", panoramas: int = 2
) -> HexaplaneField:
    """Start from the visual hull with the views' mean colours, and random planes.

    Args:
        encoding: Encoding of the view direction for the colour; ``benchmarks/lirm/directional_encodings.py``
            compares them.
        panoramas: Number of panoramas for the encoding "panoramas".
    """
    empty = Evidence.empty(EVIDENCE_SIDE, capture.pictures)
    evidence = add_views(empty, capture.pictures, capture.masks, capture.cameras, capture.weights)
    return _fresh(evidence_features(evidence), seed, encoding, panoramas)


@torch.no_grad()
def start_from_lirm(capture: Capture, lirm: Lirm, seed: int = 0) -> HexaplaneField:
    """Start from the surface and the materials that LIRM predicts, with the views' colours on that surface.

    Everything else is as in `start_from_hull`: planes and heads of LIRM's own would have to unlearn what they
    know of coarser grids.
    """
    (predicted,) = lirm.fields(observe_capture(capture, lirm))
    empty = Evidence.empty(EVIDENCE_SIDE, capture.pictures)
    evidence = add_masks(empty, capture.masks, capture.cameras)
    distance = _distances(predicted, evidence.hull)
    evidence = replace(evidence, distance=distance)
    surface = Sight.of((distance < 0).to(distance), capture.cameras)
    sight = Sight(evidence.hull, surface.depths, capture.cameras)
    coloured = add_colours(evidence, capture.pictures, capture.masks, sight, capture.weights)
    features = evidence_features(coloured)
    return _with_materials(_fresh(features, seed), predicted)


@torch.no_grad()
def start_from_memory(memory: Memory, lirm: Lirm, seed: int = 0) -> HexaplaneField:
    """Start from the surface and the materials that LIRM predicts after some rounds of views of one object.

    Colours are those of its evidence, on its coarser grid. Without evidence it is LIRM's own field.
    """
    (predicted,) = lirm.fields(memory)
    if predicted.evidence is None:
        planes = F.interpolate(
            predicted.planes, (_PLANE_SIDE, _PLANE_SIDE), mode="bilinear", align_corners=False
        )
        heads = copy.deepcopy(predicted.heads).requires_grad_(True)
        return replace(predicted, planes=planes, heads=heads)
    features = F.interpolate(predicted.evidence, (EVIDENCE_SIDE,) * 3, mode="trilinear", align_corners=False)
    distance = _distances(predicted, features[0, 0])
    features[0, 0], features[0, -3:] = distance, hull_normals(distance)
    finer = features.contiguous(memory_format=torch.channels_last_3d)
    return _with_materials(_fresh(finer, seed), predicted)


def _distances(predicted: HexaplaneField, like: Tensor) -> Tensor:
    """Evaluate a predicted surface at the voxels of a grid [G, G, G]."""
    places = voxel_centres(EVIDENCE_SIDE, like).reshape(-1, 3).split(_AT_ONCE)
    return torch.cat([predicted.signed_distance(part) for part in places]).reshape(like.shape)


def _with_materials(start: HexaplaneField, predicted: HexaplaneField) -> HexaplaneField:
    """Return a start whose materials are predicted ones, near its surface."""
    assert start.evidence is not None
    last = start.heads.metallic_roughness[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.bias)
    distance = start.evidence[0, 0]
    places = voxel_centres(EVIDENCE_SIDE, distance).reshape(-1, 3)
    near = (distance.flatten().abs() < _NEAR).nonzero()[:, 0]
    # Far from the surface: the views' colours, and the surface's mean material.
    materials = torch.zeros(len(places), 5)
    materials[:, :3] = srgb_mean_to_linear(start.evidence[0, COLOUR_CHANNELS].flatten(1).T)
    up = places.new_tensor([0.0, 1.0, 0.0])
    for part in near.split(_AT_ONCE):
        seen = predicted.appearance(places[part], up.expand(len(part), 3))
        materials[part] = torch.cat([seen.albedo, seen.metallic, seen.roughness], dim=-1)
    far = torch.ones(len(places), dtype=torch.bool).index_fill(0, near, False)
    materials[far, 3:] = materials[near, 3:].mean(0) if len(near) else 0.5
    logits = materials.clamp(_LEAST, 1 - _LEAST).logit().T.reshape(1, 5, *distance.shape)
    return replace(start, materials=logits.contiguous(memory_format=torch.channels_last_3d))


def _fresh(
    features: Tensor, seed: int, encoding: Encoding = "panoramas", panoramas: int = 2
) -> HexaplaneField:
    """Return a field with random planes and the initial heads around features of the evidence."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return _NOISE * torch.randn(*shape, generator=generator)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(_CHANNELS, encoding, evidence=True)
    return HexaplaneField(
        noise(6, _CHANNELS, _PLANE_SIDE, _PLANE_SIDE),
        noise(panoramas, _CHANNELS, *_PANORAMA_SIZE) if encoding == "panoramas" else None,
        features,
        noise(1, VOLUME_CHANNELS, *(_VOLUME_SIDE,) * 3).contiguous(memory_format=torch.channels_last_3d),
        None,  # fits that start from directional colours end worse (docs/lirm.md)
        heads,
    )
