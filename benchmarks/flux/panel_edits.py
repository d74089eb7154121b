"""Edits side by side, which kontext-small is taught after the single ones: large editors paint panels too."""

import torch
from torch import Generator, Tensor

from benchmarks.flux.edits import EDITS
from clearpane.separation.panel.separator import join_panels

# What the last or the middle panel shows; the other one shows one of the other edits.
_DARKER = "darken"
OTHERS = tuple(name for name in EDITS if name != _DARKER)


def panel_sentence(name: str, darker_last: bool) -> str:
    """What the model is told: made of the words that the single edits have."""
    edited, darker = (EDITS[x].sentence.removesuffix(".") for x in (name, _DARKER))
    middle, right = (edited, darker) if darker_last else (darker, edited)
    return (
        "Three panels side by side, of one photograph: on the left the photograph; "
        f"in the middle {middle}; on the right {right}."
    )


def make_panel(name: str, darker_last: bool, clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The picture to edit, and it beside the edited and the darkened one.

    Args:
        name: the edit.
        darker_last: the darkened one is on the right, not in the middle.
        clean: 3 x H x W, sRGB in [0, 1].

    Returns:
        3 x H x W and 3 x H x 3 W.
    """
    given, wanted = EDITS[name].make(clean, generator)
    darker = EDITS[_DARKER].make(given, generator)[1]
    pair = (wanted, darker) if darker_last else (darker, wanted)
    return given, join_panels(given, *pair)


def draw_panel(clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor, str]:
    """A random one: the picture to edit, the panel, and what the model is told."""
    name = OTHERS[int(torch.randint(len(OTHERS), (), generator=generator))]
    darker_last = bool(torch.randint(2, (), generator=generator))
    return *make_panel(name, darker_last, clean, generator), panel_sentence(name, darker_last)
