"""SIRR-LMM (arXiv 2601.07209): an image editor paints the panel [I : T : R] of a photograph.

Three pictures side by side make one panel: the photograph I, its transmission T, its reflection R. The
reference is [I : white : white]; a fixed sentence says what the panels are, and a LoRA has trained the
editor to paint them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.editing_size import EditingSize
from clearpane.separation.flux.editor import EditorSeparator
from clearpane.separation.flux.keeping import keep_untouched, with_detail
from clearpane.separation.flux.loading import Loading, check_removal_memory, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, load_lora
from clearpane.separation.flux.memory import backbone_size
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.settings import check_task, find_trained_base, load_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.separation.layers import Layers
from clearpane.separation.panel.options import PanelOptions

SETTINGS_FILE, TASK_FILE = "panel.json", "task_embedding.safetensors"


@dataclass(frozen=True)
class PanelSettings:
    """Settings that a trained panel must be used with; stored beside its weights as panel.json.

    Attributes:
        base: Directory (absolute) or hub name of the base model it was trained on.
        fingerprint: Fingerprint of that base model, see `base_fingerprint`.
        side: Side in pixels of the square whose area a photograph is resized to, at most.
        rank: Rank of the LoRA.
        guidance: Scale of the distilled guidance in training.
        caption: Sentence that the task embedding encodes.
    """

    base: str
    fingerprint: str
    side: int
    rank: int
    guidance: float
    caption: str


def join_panels(*pictures: Tensor) -> Tensor:
    """Join pictures [B, 3, h, w] side by side, from left to right."""
    return torch.cat(pictures, dim=-1)


def cut_panels(panel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split a panel into its three pictures, from left to right."""
    first, second, third = panel.chunk(3, dim=-1)
    return first, second, third


def reference_panel(photo: Tensor) -> Tensor:
    """Return the editor's input [I : white : white]: [B, 3, h, w] -> [B, 3, h, 3 w]."""
    white = torch.ones_like(photo)
    return join_panels(photo, white, white)


class PanelSeparator(EditorSeparator):
    """Separator that runs a panel model.

    ``Layers.transmission`` is the physical T, with the dimming of the glass.

    Args:
        backbone: Base model with the LoRA in its transformer.
        task: Encoding of the caption.
        settings: Settings of the panel.
        sampling: Steps and random seed; the guidance should be that of the settings.
        on_step: Function called after each step with the number of steps done and their total.
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
        super().__init__(backbone, task, EditingSize(settings.side), sampling, on_step)

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
            with_detail(image, seen, reflection, flat_gain=0),
        )


def load_panel(options: PanelOptions) -> PanelSeparator:
    """Load a trained panel and its base model.

    Args:
        options: Options; ``weights`` is the folder that clearpane train panel wrote: the LoRA, the task
            embedding and panel.json. ``base`` defaults to the base model it was trained on.

    Raises:
        ClearpaneError: A file is missing or damaged, or does not fit the base model.
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
