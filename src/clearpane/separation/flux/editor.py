"""Base of separators built on an image editor: edit a small copy, restore size and detail."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.editing_size import EditingSize
from clearpane.separation.flux.loading import out_of_memory
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.interface import Quality
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import enlarge, shrink
from clearpane.separation.separator import Separator

# Number of forward passes that quality "best" averages.
_PASSES = 4


class EditorSeparator(Separator):
    """Separator that runs an image editor on a photograph.

    Args:
        backbone: Base model with the trained weights loaded.
        task: Task embedding.
        size: Size that the photograph is resized to.
        sampling: Steps, random seed and guidance.
        on_step: Function called after each step with the number of steps done and their total.
    """

    name: ClassVar[str]
    """Name of the separator in error messages."""

    def __init__(
        self,
        backbone: Backbone,
        task: TaskEmbedding,
        size: EditingSize,
        sampling: Sampling,
        on_step: Callable[[int, int], None],
    ) -> None:
        self._backbone = backbone
        self._task = task.to(backbone.device, backbone.vae.dtype)
        self._size = size
        self._sampling = sampling
        self._on_step = on_step

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate a picture; the same seed gives the same layers. See `Separator.separate`.

        ``quality="best"`` takes the mean over four seeds, in four times the time; without noise it has no
        effect.

        Raises:
            ClearpaneError: A confidence map is requested, which only the compact separator has; sampling
                diverged; or memory ran out.
        """
        if confidence:
            raise ClearpaneError(f"{self.name} has no confidence map; `confidence` goes with `model=compact`")
        height, width = image.shape[:2]
        size = self._size.fit(height, width)
        larger = size[0] > height or size[1] > width
        given = resized(np.clip(image, 0, 1), *size)
        count = _PASSES if quality == "best" and self._draws_noise else 1
        try:
            passes = [self.run_once(given, i, count) for i in range(count)]
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self._backbone.device) from error
        pictures = (np.mean(same, axis=0) for same in zip(*passes, strict=True))
        # Detail is transferred at the photograph's size, not at that of the enlarged one.
        seen, *made = (resized(x, height, width) if larger else x for x in pictures)
        return self._compose(image, seen, *made)

    @torch.no_grad()
    def run_once(self, image: np.ndarray, index: int = 0, count: int = 1) -> Sequence[np.ndarray]:
        """Run the editor once. Return I as the VAE reproduces it, T, and R if predicted, each [h, w, 3].

        This is pass ``index`` of ``count``; passes differ in their noise.
        """
        height, width = image.shape[:2]
        multiple = self._backbone.multiple
        photo = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        photo = F.pad(photo, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        steps = self._steps
        done = iter(range(index * steps + 1, (index + 1) * steps + 1))
        made = self._edit(photo, index, lambda: self._on_step(next(done), count * steps))
        if not all(x.isfinite().all() for x in made):
            raise ClearpaneError(
                "the VAE's result is not finite; its weights may be damaged, or `precision` too coarse for "
                "them"
            )
        cut = (x[0, :, :height, :width].float().clamp(0, 1) for x in made)
        return [x.permute(1, 2, 0).cpu().numpy() for x in cut]

    @property
    def _draws_noise(self) -> bool:
        return True

    @property
    def _steps(self) -> int:
        return self._sampling.steps

    @abstractmethod
    def _edit(self, photo: Tensor, index: int, on_step: Callable[[], None]) -> Sequence[Tensor]:
        """Return [1, 3, h, w] pictures: the photograph through the VAE, and the predicted layers."""

    @abstractmethod
    def _compose(self, image: np.ndarray, seen: np.ndarray, *made: np.ndarray) -> Layers:
        """Make layers of the photograph's own size from the small pictures."""


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrink [h, w, 3] in [0, 1] by means over areas, or enlarge it, bilinear."""
    if picture.shape[:2] == (height, width):
        return picture
    larger = height > picture.shape[0] or width > picture.shape[1]
    return enlarge(picture, height, width) if larger else shrink(picture, height, width)
