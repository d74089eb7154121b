"""SIRR-LMM (arXiv 2601.07209): an image editor paints the panel [I : T : R] of a photograph.

Three pictures side by side make one: the photograph I, its transmission T, its reflection R. The reference
is [I : white : white]; a fixed sentence says what the panels are, and a LoRA has taught the editor to paint
them.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.separation.base import ModelOptions, Quality
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.keeping import WINDOW, keep_untouched
from clearpane.separation.flux.loading import (
    Loading,
    base_fingerprint,
    check_memory,
    find_base,
    load_backbone,
    out_of_memory,
)
from clearpane.separation.flux.lora import LORA_FILE, load_lora
from clearpane.separation.flux.memory import backbone_size, removal_bytes
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import LocalCorrection, shrink, working_size

SETTINGS_FILE, TASK_FILE = "panel.json", "task_embedding.safetensors"

# Looks that quality "best" takes the mean of.
_LOOKS = 4


@dataclass(frozen=True)
class PanelSettings:
    """What a trained panel has to be used with; stored beside its weights as panel.json.

    Attributes:
        base: directory (absolute) or hub name of the base model it was trained on.
        fingerprint: of that base model, see `base_fingerprint`.
        side: a photograph is seen at up to ``side * side`` pixels.
        rank: of the LoRA.
        guidance: what the distilled guidance was told in training.
        caption: the sentence that the task embedding encodes.
    """

    base: str
    fingerprint: str
    side: int
    rank: int
    guidance: float
    caption: str

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def load_settings(path: Path) -> PanelSettings:
    """Read panel.json.

    Raises:
        ClearpaneError: it is missing or damaged.
    """
    try:
        return PanelSettings(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ClearpaneError(
            f"{path}: missing; --weights names the output folder of clearpane train panel"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise ClearpaneError(f"{path}: damaged ({error})") from error


def join_panels(*pictures: Tensor) -> Tensor:
    """Put pictures, B x 3 x h x w each, side by side from left to right."""
    return torch.cat(pictures, dim=-1)


def cut_panels(panel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three pictures of a panel, from left to right."""
    first, second, third = panel.chunk(3, dim=-1)
    return first, second, third


def reference_panel(photo: Tensor) -> Tensor:
    """[I : white : white], what the editor is given. B x 3 x h x w -> B x 3 x h x 3 w."""
    white = torch.ones_like(photo)
    return join_panels(photo, white, white)


class PanelSeparator:
    """Separates photographs with a panel.

    ``Layers.transmission`` is the physical T, as dim as the glass makes it.

    Args:
        backbone: with the LoRA in its transformer.
        task: the caption's encoding.
        settings: of the panel.
        sampling: steps and seed; its guidance should be that of the settings.
        on_step: called after each step of a picture with how many are done, and of how many.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: TaskEmbedding,
        settings: PanelSettings,
        sampling: Sampling,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
    ) -> None:
        self._backbone = backbone
        self._task = task.to(backbone.device, backbone.vae.dtype)
        self._settings = settings
        self._sampling = sampling
        self._on_step = on_step

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """See :meth:`clearpane.separation.base.Separator.separate`; the same seed gives the same layers.

        ``quality="best"`` takes the mean over four seeds, at four times the time.

        Raises:
            ClearpaneError: a confidence is asked for, which only the compact separator has; sampling broke
                down; or memory ran out.
        """
        if confidence:
            raise ClearpaneError("the panel has no confidence map; --confidence goes with --model compact")
        try:
            return self._separate(image, quality)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self._backbone.device) from error

    def _separate(self, image: np.ndarray, quality: Quality) -> Layers:
        height, width = image.shape[:2]
        size = working_size(height, width, self._settings.side**2)
        small = np.clip(image, 0, 1) if size == (height, width) else shrink(image, *size)
        count = _LOOKS if quality == "best" else 1
        looks = [self.look(small, i, count) for i in range(count)]
        seen = looks[0][0]
        transmission, reflection = (np.mean([look[i] for look in looks], axis=0) for i in (1, 2))
        return Layers(
            keep_untouched(image, seen, transmission),
            LocalCorrection.fit(seen, reflection, WINDOW).apply(image),
        )

    @torch.no_grad()
    def look(
        self, image: np.ndarray, index: int = 0, count: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The photograph as the VAE shows it, T and R, all h x w x 3, at the size of ``image``.

        It is the ``index``-th of ``count`` looks, which differ in their noise.
        """
        height, width = image.shape[:2]
        multiple = self._backbone.multiple
        photo = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        photo = F.pad(photo, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        reference = self._backbone.encode(reference_panel(photo))
        steps, done = self._sampling.steps, itertools.count(index * self._sampling.steps + 1)
        latents = sample(
            self._backbone,
            reference,
            self._task,
            replace(self._sampling, seed=self._sampling.seed + index),
            on_step=lambda: self._on_step(next(done), count * steps),
        )
        seen = cut_panels(self._backbone.decode(reference))[0]
        _, transmission, reflection = cut_panels(self._backbone.decode(latents))
        pictures = (x[0, :, :height, :width].float().clamp(0, 1) for x in (seen, transmission, reflection))
        first, second, third = (x.permute(1, 2, 0).cpu().numpy() for x in pictures)
        return first, second, third


def load_panel(options: ModelOptions) -> PanelSeparator:
    """Load a trained panel and the base model it belongs to.

    Args:
        options: ``weights`` is the folder that clearpane train panel wrote: the LoRA, the task embedding,
            panel.json. ``base`` is by default the one it was trained on.

    Raises:
        ClearpaneError: a file is missing or damaged, or does not fit the base model.
    """
    weights = options.weights
    if weights is None:
        raise ClearpaneError(
            "the panel needs --weights, the output folder of clearpane train panel; its base model is not "
            "part of Clearpane either"
        )
    settings = load_settings(weights / SETTINGS_FILE)
    task = load_task_embedding(weights / TASK_FILE)
    loading = Loading(options.precision, options.device, options.offload)
    try:
        base = find_base(options.base or settings.base)
    except ClearpaneError as error:
        raise ClearpaneError(f"{error}; --base says where the panel's base model is") from error
    if base_fingerprint(base) != settings.fingerprint:
        raise ClearpaneError(f"{weights}: was trained on another base model than {base}; give it by --base")
    size = backbone_size(base)
    needed = removal_bytes(size, options.precision, settings.side, options.offload)
    check_memory(needed, loading.find_device(), settings.side)
    backbone = load_backbone(base, loading)
    load_lora(backbone.transformer, weights / LORA_FILE, settings.rank)
    sampling = Sampling(options.steps, options.seed, settings.guidance)
    return PanelSeparator(backbone, task, settings, sampling, options.on_step)
