"""A model without a network, for what goes around one."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clearpane.separation.interface import Quality, SeparatorOptions
from clearpane.separation.layers import Layers
from clearpane.separation.separator import Separator


@dataclass(frozen=True)
class ToyOptions(SeparatorOptions):
    weights: Path = field(metadata={"origin": "the toy's directory"})
    times: int = 1


class ToySeparator(Separator):
    """Takes a share of all light as reflection."""

    def __init__(self, share: float) -> None:
        self.share = share

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        return Layers(image * (1 - self.share), image * self.share)


def load_toy(options: ToyOptions) -> ToySeparator:
    return ToySeparator(options.times * float((options.weights / "share.txt").read_text()))
