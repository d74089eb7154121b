"""Edits side by side, which kontext-small learns after the single ones, so that it can make panels."""

import torch
from torch import Generator, Tensor

from benchmarks.flux.edits import EDITS
from clearpane.separation.panel.separator import join_panels

# Captions of the last or the middle panel; the other one shows one of the other edits.
_DARKER = "darken"
OTHERS = tuple(name for name in EDITS if name != _DARKER)


def panel_sentence(name: str, darker_last: bool) -> str:
    """Return the sentence given to the model, made of the single edits' words."""
    edited, darker = (EDITS[x].sentence.removesuffix(".") for x in (name, _DARKER))
    middle, right = (edited, darker) if darker_last else (darker, edited)
    return (
        "Three panels side by side, of one photograph: on the left the photograph; "
        f"in the middle {middle}; on the right {right}."
    )


def make_panel(name: str, darker_last: bool, clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the input, and the input beside the edited and the darkened picture.

    Args:
        name: Name of the edit.
        darker_last: True to put the darkened picture on the right, False in the middle.
        clean: [3, H, W], sRGB in [0, 1].

    Returns:
        Pictures [3, H, W] and [3, H, 3 W].
    """
    given, wanted = EDITS[name].make(clean, generator)
    darker = EDITS[_DARKER].make(given, generator)[1]
    pair = (wanted, darker) if darker_last else (darker, wanted)
    return given, join_panels(given, *pair)


def draw_panel(clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor, str]:
    """Draw a random panel edit: input, panel and sentence."""
    name = OTHERS[int(torch.randint(len(OTHERS), (), generator=generator))]
    darker_last = bool(torch.randint(2, (), generator=generator))
    return *make_panel(name, darker_last, clean, generator), panel_sentence(name, darker_last)
