"""How well LIRM does while it is trained: new views of objects that it is not trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.cameras import spread_order
from clearpane.reconstruction.rendering import RenderOptions, render_views
from clearpane.reconstruction.transformer import Lirm
from clearpane.synthesis.object_samples import ObjectSample
from clearpane.training.lirm_objective import stack_views

OPTIONS = RenderOptions(beta=1 / 2000, samples=128, occupancy=48)
"""The width of the surface at the end of training, by which results are measured."""
_SHOWN, _NEW = 8, 2


@torch.no_grad()
def new_view_psnr(lirm: Lirm, samples: Sequence[ObjectSample]) -> Tensor:
    """PSNR of whole pictures on white, dB: the mean over two new views of each object, [N].

    Eight others are shown in one round, each the farthest from those before.
    """
    device = next(lirm.parameters()).device
    scores = []
    for sample in samples:
        views = len(sample.cameras.camera_to_world)
        new = list(range(0, views, -(-views // _NEW)))
        shown = torch.tensor(spread_order(sample.cameras, new)[:_SHOWN])
        (field,) = lirm([stack_views([sample], [shown], False, device)])
        rendered = render_views(field, sample.cameras[new].to(device), OPTIONS)["colour"].clamp(0, 1).cpu()
        error = F.mse_loss(rendered, sample.views.colour[new], reduction="none").mean(dim=(1, 2, 3))
        scores.append(-10 * error.clamp(min=1e-10).log10().mean())
    return torch.stack(scores)
