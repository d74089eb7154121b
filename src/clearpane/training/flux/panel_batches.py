"""Make the panels [I : T : R] for training: from rendered scenes, and from real pairs without R."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from clearpane.errors import ClearpaneError
from clearpane.separation.panel.separator import join_panels, reference_panel
from clearpane.synthesis.dataset.shards import StoredSample
from clearpane.synthesis.draws import uniform
from clearpane.synthesis.glass.layers import layer_picture
from clearpane.training.pictures import load_pairs, random_crop, read_glass_sets, stored_pixels

# Smallest and largest height over width of a training picture: portrait and landscape, as wide as screens.
_ASPECTS = (9 / 16, 16 / 9)


@dataclass(frozen=True, eq=False)
class PanelPictures:
    """Hold one photograph through glass and its layers, each [3, H, W] uint8.

    Attributes:
        input: Photograph I.
        transmission: Transmission T, dimmed by the glass; for real pairs B, the only known layer.
        reflection: Reflection R, or None if not known.
    """

    input: Tensor
    transmission: Tensor
    reflection: Tensor | None


@dataclass(frozen=True, eq=False)
class PanelBatch:
    """Hold the panels of one step, [B, 3, h, 3 w], sRGB in [0, 1].

    Attributes:
        panel: Panels [I : T : R].
        reference: Inputs to the editor [I : white : white].
        known: Mask [B, 1, 1, 3] over the three pictures; 0 for an unknown one.
    """

    panel: Tensor
    reference: Tensor
    known: Tensor


def load_glass_panels(folder: Path, part: int = 0, parts: int = 1) -> list[PanelPictures]:
    """Load the scenes of all data sets in a folder that ``clearpane synthesize`` made with I, T and R.

    Of several parts, one is read; see `read_part`.

    Raises:
        ClearpaneError: There are none, a shard lacks one of these layers, or a shard cannot be read.
    """
    return [_panel_pictures(folder, sample) for sample in read_glass_sets(folder, part, parts)]


def _panel_pictures(folder: Path, sample: StoredSample) -> PanelPictures:
    if sample.photograph is None or not {"T", "R"} <= set(sample.layers):
        raise ClearpaneError(
            f"{folder}: training needs the layers I, T and R; make the set with `layers=I,T,R`"
        )
    layers = (torch.from_numpy(sample.layers[letter].astype(np.float32)).permute(2, 0, 1) for letter in "TR")
    # With the photograph's tone curve: where there is no reflection, T must look like I.
    pictures = [layer_picture(layer, sample.scene.post).permute(1, 2, 0).numpy() for layer in layers]
    return PanelPictures(*(stored_pixels(x) for x in (sample.photograph, *pictures)))


def load_real_panels(folder: Path) -> list[PanelPictures]:
    """Load real pairs, whose R is not known.

    Raises:
        ClearpaneError: There are none, or one cannot be read.
    """
    return [PanelPictures(pair.input, pair.truth, None) for pair in load_pairs(folder)]


def draw_size(side: int, multiple: int, generator: Generator) -> tuple[int, int]:
    """Draw the height and width of a step's pictures: about ``side * side`` pixels, random aspect ratio."""
    narrow, wide = _ASPECTS
    aspect = math.exp(uniform(math.log(narrow), math.log(wide), generator))
    height, width = (
        max(multiple, multiple * round(side * factor / multiple)) for factor in (aspect**0.5, aspect**-0.5)
    )
    return height, width


def draw_panels(
    pictures: Sequence[PanelPictures], size: tuple[int, int], zoom: float, generator: Generator
) -> PanelBatch:
    """Crop panels from given pictures: the same random window for all layers of a picture.

    Args:
        pictures: Pictures to crop.
        size: Height and width of each of the three pictures, pixels.
        zoom: Largest width of the window relative to ``size``; larger windows are shrunk.
        generator: Random generator.
    """
    panels, references, known = [], [], []
    for picture in pictures:
        layers = [picture.input, picture.transmission]
        if picture.reflection is not None:
            layers.append(picture.reflection)
        photo, transmission, *rest = random_crop(tuple(layers), size, generator, zoom)
        panels.append(join_panels(photo, transmission, rest[0] if rest else torch.ones_like(photo)))
        references.append(reference_panel(photo))
        known.append(torch.tensor([1.0, 1.0, float(bool(rest))])[None, None])
    return PanelBatch(torch.stack(panels), torch.stack(references), torch.stack(known))
