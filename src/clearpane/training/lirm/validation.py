"""Validate LIRM during training: score new views of objects that it is not trained on."""

from collections.abc import Iterable

import numpy as np
import torch

from clearpane.evaluation.metrics import psnr
from clearpane.geometry.cameras import spread_order
from clearpane.reconstruction.field.rendering import RenderOptions, render_views
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.synthesis.objects.samples import ObjectSample
from clearpane.training.lirm.objective import LAST_BETA, stack_views

FINAL_RENDERING = RenderOptions(LAST_BETA, samples=128, occupancy=48)
"""Rendering options of validation: finer than in training, where time matters."""
# As in `benchmarks/lirm/feed_forward.py`; two new views of each object are enough to rank checkpoints.
_SHOWN, _NEW = 8, 2


@torch.no_grad()
def new_view_psnr(lirm: Lirm, samples: Iterable[ObjectSample]) -> float:
    """Compute the mean PSNR, dB, of whole pictures on white: two new views of each object.

    Eight other views are shown in one round, each the farthest from those before.
    """
    device = next(lirm.parameters()).device
    scores = []
    for sample in samples:
        views = len(sample.cameras.camera_to_world)
        new = list(range(0, views, -(-views // _NEW)))
        shown = torch.tensor(spread_order(sample.cameras, new)[:_SHOWN])
        (field,) = lirm([stack_views([sample], [shown], False, device)])
        rendered = render_views(field, sample.cameras[new].to(device), FINAL_RENDERING)["colour"]
        pairs = zip(rendered.clamp(0, 1).cpu(), sample.views.colour[new], strict=True)
        scores += [psnr(a.movedim(0, -1).numpy(), b.movedim(0, -1).numpy()) for a, b in pairs]
    return float(np.mean(scores))
