"""Let LIRM take in the views of a capture, all at once or after earlier ones."""

import torch
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm, Views

# Side of the views, pixels, and the most views in a round; training shows no more at once.
_SIDE, _MOST_VIEWS = 128, 8


@torch.no_grad()
def observe_capture(capture: Capture, lirm: Lirm, memory: Memory | None = None) -> Memory:
    """Take in all views, in rounds of as many views as LIRM was trained with; return the memory after them.

    Args:
        memory: Memory after earlier views of the same object in the same cube; None for the first ones.
    """
    pictures, masks = (
        F.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True).clamp(0, 1)[None]
        for x in (capture.pictures, capture.masks)
    )
    cameras = capture.cameras.resized(_SIDE, _SIDE)
    batched = Cameras(cameras.camera_to_world[None], cameras.intrinsics[None], _SIDE, _SIDE)
    views = Views(pictures, masks, batched)
    for first in range(0, pictures.shape[1], _MOST_VIEWS):
        memory = lirm.observe(views.part(first, first + _MOST_VIEWS), memory)
    assert memory is not None  # a capture has views
    return memory
