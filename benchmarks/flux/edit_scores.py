"""Score kontext-small and its fine-tunes on the edits that the base was trained on."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.flux.edits import EDITS
from benchmarks.flux.panel_edits import OTHERS, make_panel, panel_sentence
from clearpane.evaluation.metrics import psnr
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import cut_panels, reference_panel
from clearpane.training.pictures import random_crop

HELD_OUT, SAMPLING_STEPS = 32, 8
CROP, ZOOM = 64, 5.0
"""Side of a picture, and how much wider a crop may be before it is shrunk to that side."""


def score_edits(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, float]:
    """Compute the mean PSNR by edit, given its sentence."""
    return {
        name: mean_psnr(make_edit(backbone, encode(EDITS[name].sentence), given), wanted)
        for name, (given, wanted) in edit_pictures(held_out).items()
    }


@torch.no_grad()
def score_others(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, dict[str, float]]:
    """Compute the same for doing nothing, for the next edit's sentence, and for the VAE alone."""
    names, rows = list(EDITS), {}
    for index, (name, (given, wanted)) in enumerate(edit_pictures(held_out).items()):
        other = EDITS[names[(index + 1) % len(names)]].sentence
        pictures = {
            "nothing": given,
            "other_sentence": make_edit(backbone, encode(other), given),
            "vae": backbone.decode(backbone.encode(wanted)).clamp(0, 1),
        }
        rows[name] = {key: mean_psnr(made, wanted) for key, made in pictures.items()}
    return rows


@torch.no_grad()
def score_panels(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, float]:
    """Compute the mean PSNR by edit of a panel's middle picture; of darkened ones on the right, over all
    edits."""
    scores: dict[str, float] = {}
    darker = []
    for name in OTHERS:
        generator = torch.Generator().manual_seed(1)
        clean = [random_crop((picture,), CROP, generator, ZOOM)[0] for picture in held_out[:HELD_OUT]]
        given, wanted = (
            torch.stack(x) for x in zip(*(make_panel(name, True, c, generator) for c in clean), strict=True)
        )
        reference = backbone.encode(reference_panel(given))
        latents = sample(backbone, reference, encode(panel_sentence(name, True)), Sampling(SAMPLING_STEPS))
        made = cut_panels(backbone.decode(latents).clamp(0, 1))
        _, middle, right = (mean_psnr(*pair) for pair in zip(made, cut_panels(wanted), strict=True))
        scores[name] = middle
        darker.append(right)
    return scores | {"darken": float(np.mean(darker))}


def mean_psnr(made: Tensor, wanted: Tensor) -> float:
    """Average the PSNR over the pictures of a batch."""
    pairs = zip(*(x.permute(0, 2, 3, 1).numpy() for x in (made, wanted)), strict=True)
    return float(np.mean([psnr(*pair) for pair in pairs]))


def edit_pictures(held_out: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return for each edit the inputs and the targets, [N, 3, 64, 64]; the same in every call."""
    generator = torch.Generator().manual_seed(1)
    clean = [random_crop((picture,), CROP, generator, ZOOM)[0] for picture in held_out[:HELD_OUT]]
    return {
        name: tuple(torch.stack(x) for x in zip(*(edit.make(c, generator) for c in clean), strict=True))
        for name, edit in EDITS.items()
    }


@torch.no_grad()
def make_edit(backbone: Backbone, task: TaskEmbedding, given: Tensor) -> Tensor:
    """Edit pictures."""
    latents = sample(backbone, backbone.encode(given), task, Sampling(SAMPLING_STEPS))
    return backbone.decode(latents).clamp(0, 1)


def draw_sheet(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> np.ndarray:
    """Draw a row for each edit: input, result and target of four pictures."""
    rows = []
    for name, (given, wanted) in edit_pictures(held_out[:4]).items():
        made = make_edit(backbone, encode(EDITS[name].sentence), given)
        shown = [x for triple in zip(given, made, wanted, strict=True) for x in triple]
        rows.append(torch.cat([F.pad(x, (2, 2, 2, 2), value=1) for x in shown], dim=2))
    return torch.cat(rows, dim=1).permute(1, 2, 0).numpy()
