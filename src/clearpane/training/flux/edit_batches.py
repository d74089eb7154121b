"""Photographs and their truths for GenSIRR: reading glass scenes, drawing the windows of a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from clearpane.synthesis.draws import uniform
from clearpane.training.flux.fine_tuning import PhotographRecipe
from clearpane.training.flux.panel_batches import draw_size
from clearpane.training.pictures import load_glass_scenes, load_pairs, random_crop


@dataclass(frozen=True, eq=False)
class EditPair:
    """Hold a photograph through glass and the scene without the glass, each [3, H, W] uint8."""

    input: Tensor
    truth: Tensor


def load_glass_edits(folder: Path, part: int = 0, parts: int = 1) -> list[EditPair]:
    """Read glass scenes with T at the brightness of the scene without the glass; see `load_glass_scenes`."""
    return [EditPair(scene.input, scene.background) for scene in load_glass_scenes(folder, part, parts)]


def load_real_edits(folder: Path) -> list[EditPair]:
    """Read a folder of real pairs; see `load_pairs`."""
    return [EditPair(pair.input, pair.truth) for pair in load_pairs(folder)]


def draw_edits(
    recipe: PhotographRecipe,
    glass: Sequence[EditPair],
    real: Sequence[EditPair],
    multiple: int,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Draw photographs and truths of one step, [B, 3, h, w] in [0, 1]: the same random windows of both."""
    size = draw_size(recipe.side, multiple, generator)
    crops = []
    for _ in range(recipe.batch):
        source = real if real and uniform(0, 1, generator) < recipe.real_share else glass
        pair = source[int(torch.randint(len(source), (), generator=generator))]
        crops.append(random_crop((pair.input, pair.truth), size, generator, recipe.zoom))
    photos, truths = (torch.stack(x) for x in zip(*crops, strict=True))
    return photos, truths
