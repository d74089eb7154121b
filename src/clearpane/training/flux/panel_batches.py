"""The panels [I : T : R] that an editor is trained to paint: rendered scenes, and real pairs without R."""

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

# Height over width of a training picture, drawn between these: upright and across, as wide as screens are.
_ASPECTS = (9 / 16, 16 / 9)


@dataclass(frozen=True, eq=False)
class PanelPictures:
    """One photograph through glass, taken apart; each 3 x H x W uint8.

    Attributes:
        input: I.
        transmission: T as dim as the glass makes it; of real pairs B, which is all that is known.
        reflection: R; None where it is not known.
    """

    input: Tensor
    transmission: Tensor
    reflection: Tensor | None


@dataclass(frozen=True, eq=False)
class PanelBatch:
    """The panels of one step, B x 3 x h x 3 w, sRGB in [0, 1].

    Attributes:
        panel: [I : T : R].
        reference: [I : white : white].
        known: B x 1 x 1 x 3, 0 where one of the three pictures is not known.
    """

    panel: Tensor
    reference: Tensor
    known: Tensor


def load_glass_panels(folder: Path) -> list[PanelPictures]:
    """Load the scenes of all data sets in a folder that ``clearpane synthesize`` made with I, T and R.

    Raises:
        ClearpaneError: there are none, a shard lacks one of these layers, or cannot be read.
    """
    return [_panel_pictures(folder, sample) for sample in read_glass_sets(folder)]


def _panel_pictures(folder: Path, sample: StoredSample) -> PanelPictures:
    if sample.photograph is None or not {"T", "R"} <= set(sample.layers):
        raise ClearpaneError(
            f"{folder}: training needs the layers I, T and R; make the set with `layers=I,T,R`"
        )
    layers = (torch.from_numpy(sample.layers[letter].astype(np.float32)).permute(2, 0, 1) for letter in "TR")
    # With the photograph's tone curve: where there is no reflection T is to look as I does.
    pictures = [layer_picture(layer, sample.scene.post).permute(1, 2, 0).numpy() for layer in layers]
    return PanelPictures(*(stored_pixels(x) for x in (sample.photograph, *pictures)))


def load_real_panels(folder: Path) -> list[PanelPictures]:
    """Real pairs, whose R is not known.

    Raises:
        ClearpaneError: there are none, or one cannot be read.
    """
    return [PanelPictures(pair.input, pair.truth, None) for pair in load_pairs(folder)]


def draw_size(side: int, multiple: int, generator: Generator) -> tuple[int, int]:
    """Height and width of a step's pictures: about ``side * side`` pixels, of an aspect that is drawn."""
    narrow, wide = _ASPECTS
    aspect = math.exp(uniform(math.log(narrow), math.log(wide), generator))
    height, width = (
        max(multiple, multiple * round(side * factor / multiple)) for factor in (aspect**0.5, aspect**-0.5)
    )
    return height, width


def draw_panels(
    pictures: Sequence[PanelPictures], size: tuple[int, int], zoom: float, generator: Generator
) -> PanelBatch:
    """Crop the panels of given pictures: the same random window of each one's layers.

    Args:
        size: height and width of one of the three pictures.
        zoom: how much wider than ``size`` the window may be, before it is shrunk.
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
