"""Make the initial field of a fit: from the views' visual hull, or from LIRM's prediction."""

import copy
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.directional import Encoding
from clearpane.reconstruction.field.evidence import VOLUME_CHANNELS, Evidence, add_views, evidence_features
from clearpane.reconstruction.field.field import Heads, HexaplaneField
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.observing import observe_capture

EVIDENCE_SIDE = 128
"""Voxels along a side of the initial hull of a fit; LIRM's grid has the size it was trained with."""

_CHANNELS, _PLANE_SIDE, _VOLUME_SIDE = 8, 160, 48
_PANORAMA_SIZE = (32, 64)
_NOISE = 0.05


def start_from_hull(
    capture: Capture, seed: int = 0, encoding: Encoding = "panoramas", panoramas: int = 2
) -> HexaplaneField:
    """Start from the visual hull with the views' mean colours, and random planes.

    Args:
        encoding: Encoding of the view direction for the colour; ``benchmarks/lirm/directional_encodings.py``
            compares them.
        panoramas: Number of panoramas for the encoding "panoramas".
    """
    generator = torch.Generator().manual_seed(seed)
    evidence = add_views(
        Evidence.empty(EVIDENCE_SIDE, capture.pictures), capture.pictures, capture.masks, capture.cameras
    )

    def noise(*shape: int) -> Tensor:
        return _NOISE * torch.randn(*shape, generator=generator)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(_CHANNELS, encoding, evidence=True)
    return HexaplaneField(
        noise(6, _CHANNELS, _PLANE_SIDE, _PLANE_SIDE),
        noise(panoramas, _CHANNELS, *_PANORAMA_SIZE) if encoding == "panoramas" else None,
        evidence_features(evidence),
        noise(1, VOLUME_CHANNELS, *(_VOLUME_SIDE,) * 3).contiguous(memory_format=torch.channels_last_3d),
        None,  # fits that start from directional colours end worse (docs/lirm.md)
        heads,
    )


def start_from_lirm(capture: Capture, lirm: Lirm) -> HexaplaneField:
    """Start from LIRM's prediction for all views, in rounds of as many views as it was trained with."""
    return start_from_memory(observe_capture(capture, lirm), lirm)


@torch.no_grad()
def start_from_memory(memory: Memory, lirm: Lirm) -> HexaplaneField:
    """Start from LIRM's prediction after some rounds of views of one object."""
    (field,) = lirm.fields(memory)
    planes = F.interpolate(field.planes, (_PLANE_SIDE, _PLANE_SIDE), mode="bilinear", align_corners=False)
    return replace(field, planes=planes, heads=copy.deepcopy(field.heads).requires_grad_(True))
