"""GenSIRR (arXiv 2512.06358): an image editor removes the reflection from a photograph.

The photograph is the editor's reference; a task embedding takes the role of a prompt; the VAE may be the
equivariant one. The initial noise is chosen after one step (`branching`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.separation.difference import reflected_light
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.editing_size import EditingSize
from clearpane.separation.flux.editor import EditorSeparator
from clearpane.separation.flux.folders import TEXT_PARTS, find_base, folder_fingerprint
from clearpane.separation.flux.keeping import keep_untouched
from clearpane.separation.flux.loading import Loading, check_removal_memory, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, load_lora
from clearpane.separation.flux.memory import backbone_size
from clearpane.separation.flux.sampling import Sampling, follow, predict_velocity, sample
from clearpane.separation.flux.settings import check_task, find_trained_base, load_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding
from clearpane.separation.gensirr.branching import Scorer, sample_branches
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.gensirr.scorers import choose_scorer
from clearpane.separation.layers import Layers

SETTINGS_FILE, TASK_FILE = "gensirr.json", "task_embedding.safetensors"
TRANSFORMER_FOLDER, VAE_FOLDER, SCHEDULER_FOLDER = "transformer", "vae", "scheduler"

REFLECTION_NOTE = "the reflection is the difference I - T in linear light; GenSIRR itself gives T alone"
REMOVAL_SENTENCE = "please remove the reflection within the image."
"""Prompt of the editor, and initial value of its task embedding."""


@dataclass(frozen=True)
class GensirrSettings:
    """Settings that a trained GenSIRR must be used with; stored beside its weights as gensirr.json.

    Attributes:
        base: Directory (absolute) or hub name of the base model; None if the folder holds the whole model.
        fingerprint: Fingerprint of that base model, see `base_fingerprint`; None likewise.
        side: Side in pixels of the size that a photograph is resized to, see `EditingSize`.
        rank: Rank of the LoRA; 0 if the whole transformer was trained.
        guidance: Scale of the distilled guidance in training.
        sentence: Sentence that initialised the task embedding.
        one_step: True if the transformer takes one step from the photograph's noiseless latents.
        vae: Fingerprint of the VAE in the folder, see `folder_fingerprint`; None for the base's VAE.
        enlarge: True to bring the short side to ``side``, as GenSIRR's authors do.
    """

    base: str | None
    fingerprint: str | None
    side: int
    rank: int
    guidance: float
    sentence: str
    one_step: bool
    vae: str | None = None
    enlarge: bool = False


def write_index(folder: Path) -> None:
    """Make a folder with a transformer, a VAE and a scheduler a FluxKontextPipeline without text encoders."""
    parts: dict[str, Any] = {
        "_class_name": FluxKontextPipeline.__name__,
        TRANSFORMER_FOLDER: ["diffusers", FluxTransformer2DModel.__name__],
        VAE_FOLDER: ["diffusers", AutoencoderKL.__name__],
        SCHEDULER_FOLDER: ["diffusers", FlowMatchEulerDiscreteScheduler.__name__],
    }
    parts |= {name: [None, None] for name in TEXT_PARTS}
    with atomic_path(folder / "model_index.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def one_step(backbone: Backbone, reference: Tensor, task: TaskEmbedding, sampling: Sampling) -> Tensor:
    """Remove the reflection from latents in the one step that `regression_loss` teaches: ``reference - v``.

    Raises:
        ClearpaneError: The transformer returned a value that is not finite.
    """
    velocity = predict_velocity(backbone, reference, reference, task, replace(sampling, steps=1), 0.0, 1)
    return follow(reference, velocity, -1.0)


class GensirrSeparator(EditorSeparator):
    """Separator that runs GenSIRR.

    ``Layers.transmission`` has the brightness of the scene without the glass, ``Layers.reflection`` is
    ``max(I - T, 0)`` in linear light. With ``quality="best"`` each of four passes has its own candidates.

    Args:
        backbone: Base model with the trained weights in its transformer and VAE.
        task: Task embedding.
        settings: Settings of the training.
        sampling: Steps and random seed; the guidance should be that of the settings.
        candidates: Number of noises to choose from after one step.
        scorer: Function that scores candidates; required for more than one, not allowed for one.
        on_step: Function called after each step with the number of steps done and their total.
        notes: ``Layers.notes`` of every result.

    Raises:
        ValueError: There are several candidates without a scorer, or a scorer with only one.
    """

    name = "GenSIRR"

    def __init__(
        self,
        backbone: Backbone,
        task: TaskEmbedding,
        settings: GensirrSettings,
        sampling: Sampling,
        candidates: int = 1,
        scorer: Scorer | None = None,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
        notes: tuple[str, ...] = (),
    ) -> None:
        if (candidates > 1) != (scorer is not None):
            raise ValueError(f"{candidates} candidates and {'a' if scorer else 'no'} scorer")
        size = EditingSize(settings.side, settings.enlarge)
        super().__init__(backbone, task, size, sampling, on_step)
        self._one_step = settings.one_step
        self._candidates = candidates
        self._scorer = scorer
        self._notes = notes

    @property
    def _draws_noise(self) -> bool:
        return not self._one_step

    @property
    def _steps(self) -> int:
        return 1 if self._one_step else super()._steps

    def _edit(self, photo: Tensor, index: int, on_step: Callable[[], None]) -> Sequence[Tensor]:
        backbone, task = self._backbone, self._task
        reference = backbone.encode(photo)
        sampling = replace(self._sampling, seed=self._sampling.seed + index * self._candidates)
        if self._one_step:
            latents = one_step(backbone, reference, task, sampling)
            on_step()
        elif self._scorer is not None:
            latents, _ = sample_branches(
                backbone, reference, task, sampling, self._candidates, self._scorer, on_step
            )
        else:
            latents = sample(backbone, reference, task, sampling, on_step=on_step)
        return backbone.decode(reference), backbone.decode(latents)

    def _compose(self, image: np.ndarray, seen: np.ndarray, *made: np.ndarray) -> Layers:
        transmission = keep_untouched(image, seen, made[0])
        reflection = reflected_light(image, transmission)
        return Layers(transmission, reflection, notes=self._notes, reflection_note=REFLECTION_NOTE)


def load_gensirr(options: GensirrOptions) -> GensirrSeparator:
    """Load a trained GenSIRR and, if it is a LoRA, its base model.

    If the depth estimator cannot be loaded, branching is off, and every result says so in its notes.

    Args:
        options: Options; ``weights`` is the folder that clearpane train gensirr or clearpane convert gensirr
            wrote, ``base`` defaults to the base model it was trained on.

    Raises:
        ClearpaneError: A file is missing or damaged, or does not fit the base model.
    """
    weights = options.weights
    made_by = "clearpane train gensirr or clearpane convert gensirr"
    settings = load_settings(GensirrSettings, weights / SETTINGS_FILE, made_by)
    task = load_task_embedding(weights / TASK_FILE)
    if settings.base is None:
        if options.base:
            raise ClearpaneError(f"{weights}: holds the whole model, so there is no `base` to give")
        base = find_base(str(weights))
    else:
        base = find_trained_base(weights, options.base or settings.base, settings.fingerprint)
    loading = Loading(options.precision, options.device, options.offload)
    device = loading.find_device()
    candidates = 1 if settings.one_step else options.candidates
    settings = replace(
        settings,
        side=options.side or settings.side,
        enlarge=settings.enlarge if options.enlarge is None else options.enlarge,
    )
    side = EditingSize(settings.side, settings.enlarge).square
    check_removal_memory(backbone_size(base), loading, side, pictures=1, candidates=candidates)
    scorer: Scorer | None = None
    notes: tuple[str, ...] = ()
    if options.candidates > candidates:
        notes = (f"{weights} takes one step, without noise: there are no candidates to choose from",)
    if settings.one_step and options.steps != GensirrOptions.steps:
        notes += (f"{weights} takes one step, whatever `steps` says",)
    if candidates > 1:
        try:
            scorer = choose_scorer(options, device)
        except ClearpaneError as error:
            candidates, notes = 1, (f"branching is off: {error}",)
    vae = weights / VAE_FOLDER if settings.vae else None
    if vae and (not vae.is_dir() or folder_fingerprint(vae) != settings.vae):
        raise ClearpaneError(f"{vae}: is not the VAE that {weights} was trained with")
    backbone = load_backbone(base, loading, vae)
    check_task(task, backbone, weights / TASK_FILE)
    if settings.rank:
        load_lora(backbone.transformer, weights / LORA_FILE, settings.rank)
    sampling = Sampling(options.steps, options.seed, settings.guidance)
    return GensirrSeparator(backbone, task, settings, sampling, candidates, scorer, options.on_step, notes)
