"""SIRR-LMM (arXiv 2601.07209): an image editor paints the panel [I : T : R] of a photograph.

Three pictures side by side make one: the photograph I, its transmission T, its reflection R. The reference
is [I : white : white]; a fixed sentence says what the panels are, and a LoRA has taught the editor to paint
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.editor import EditorSeparator
from clearpane.separation.flux.keeping import WINDOW, keep_untouched
from clearpane.separation.flux.loading import Loading, check_removal_memory, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, load_lora
from clearpane.separation.flux.memory import backbone_size
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.settings import check_task, find_trained_base, load_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.separation.layers import Layers
from clearpane.separation.panel.options import PanelOptions
from clearpane.separation.resolution import LocalCorrection

SETTINGS_FILE, TASK_FILE = "panel.json", "task_embedding.safetensors"


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


def join_panels(*pictures: Tensor) -> Tensor:
    """Put pictures, B x 3 x h x w each, side by side from left to right."""
    return torch.cat(pictures, dim=-1)


def cut_panels(panel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split a panel into its three pictures, from left to right."""
    first, second, third = panel.chunk(3, dim=-1)
    return first, second, third


def reference_panel(photo: Tensor) -> Tensor:
    """[I : white : white], what the editor is given. B x 3 x h x w -> B x 3 x h x 3 w."""
    white = torch.ones_like(photo)
    return join_panels(photo, white, white)


class PanelSeparator(EditorSeparator):
    """Separates photographs with a panel.

    ``Layers.transmission`` is the physical T, as dim as the glass makes it.

    Args:
        backbone: with the LoRA in its transformer.
        task: the caption's encoding.
        settings: of the panel.
        sampling: steps and seed; its guidance should be that of the settings.
        on_step: called after each step of a picture with how many are done, and of how many.
    """

    name = "the panel"

    def __init__(
        self,
        backbone: Backbone,
        task: TaskEmbedding,
        settings: PanelSettings,
        sampling: Sampling,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
    ) -> None:
        super().__init__(backbone, task, settings.side, sampling, on_step)

    def _edit(self, photo: Tensor, index: int, on_step: Callable[[], None]) -> Sequence[Tensor]:
        backbone = self._backbone
        reference = backbone.encode(reference_panel(photo))
        sampling = replace(self._sampling, seed=self._sampling.seed + index)
        latents = sample(backbone, reference, self._task, sampling, on_step=on_step)
        seen, _, _ = cut_panels(backbone.decode(reference))
        _, transmission, reflection = cut_panels(backbone.decode(latents))
        return seen, transmission, reflection

    def _compose(self, image: np.ndarray, seen: np.ndarray, *made: np.ndarray) -> Layers:
        transmission, reflection = made
        return Layers(
            keep_untouched(image, seen, transmission),
            LocalCorrection.fit(seen, reflection, WINDOW, flat_gain=0).apply(image),
        )


def load_panel(options: PanelOptions) -> PanelSeparator:
    """Load a trained panel and the base model it belongs to.

    Args:
        options: ``weights`` is the folder that clearpane train panel wrote: the LoRA, the task embedding,
            panel.json. ``base`` is by default the one it was trained on.

    Raises:
        ClearpaneError: a file is missing or damaged, or does not fit the base model.
    """
    weights = options.weights
    settings = load_settings(PanelSettings, weights / SETTINGS_FILE, "clearpane train panel")
    task = load_task_embedding(weights / TASK_FILE)
    base = find_trained_base(weights, options.base or settings.base, settings.fingerprint)
    loading = Loading(options.precision, options.device, options.offload)
    check_removal_memory(backbone_size(base), loading, settings.side)
    backbone = load_backbone(base, loading)
    check_task(task, backbone, weights / TASK_FILE)
    load_lora(backbone.transformer, weights / LORA_FILE, settings.rank)
    sampling = Sampling(options.steps, options.seed, settings.guidance)
    return PanelSeparator(backbone, task, settings, sampling, options.on_step)
