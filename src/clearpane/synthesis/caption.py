"""The caption of the panel [I:T:R]."""

PANEL_CAPTION = (
    "Three panels side by side, of one scene: on the left a photograph taken through a pane of glass, with a "
    "reflection on it; in the middle the transmission, the scene behind the glass without the reflection; on "
    "the right the reflection alone, as it lies on the glass."
)
"""One sentence for the three panels input, transmission and reflection, put side by side from left to right.

SIRR-LMM (arXiv 2601.07209) trains and prompts its text-to-image model with one such fixed sentence: it says
what each panel is, never what a picture shows. It fits into the 77 tokens of a CLIP text encoder. Models are
trained on exactly these words, so they do not change from one version to the next.
"""
