"""Train SIRR-LMM's panel (arXiv 2601.07209): a LoRA teaches an image editor to paint [I : T : R]."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.folders import (
    PICTURE_PARTS,
    TEXT_PARTS,
    absolute_base,
    base_fingerprint,
    find_base,
)
from clearpane.separation.flux.loading import Loading, check_memory, encode_text, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, add_lora, save_lora, train_in_float32
from clearpane.separation.flux.memory import backbone_size, training_bytes
from clearpane.separation.flux.options import Precision
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import SETTINGS_FILE, TASK_FILE, PanelSettings
from clearpane.separation.pretrained import card_facts
from clearpane.synthesis.dataset.shards import PANEL_CAPTION
from clearpane.synthesis.draws import uniform
from clearpane.training.flux.fine_tuning import (
    check_photographs,
    check_recipe,
    fine_tune,
    warn_of_small_pictures,
)
from clearpane.training.flux.flow_matching import TimestepSampling, flow_matching_loss
from clearpane.training.flux.panel_batches import (
    PanelPictures,
    draw_panels,
    draw_size,
    load_glass_panels,
    load_real_panels,
)
from clearpane.training.loop import step_generator
from clearpane.training.model_card import write_run_card
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import parameter_holder
from clearpane.training.scenes_by_draw import load_by_draw

# Settings of a recipe that may change when a run resumes.
_FREE = {"data", "base", "real", "output", "cpu", "gradient_checkpointing", "draw_every", "checkpoint_every"}
# Number of scenes held out of training, whose panels are drawn for TensorBoard.
_DRAWN = 2
_DRAWING_STEPS = 12

DESCRIPTION = """\
Trains the panel of SIRR-LMM: a LoRA with which FLUX.1 Kontext paints the
photograph, its transmission and its reflection side by side. Run the same
command again to resume an interrupted run.

Examples:
  clearpane synthesize --output glass --layers I,T,R --size 768 \\
      --count 1000 --backgrounds photos --environments hdris
  clearpane train panel glass --base FLUX.1-Kontext-dev --output panel
  clearpane remove window.jpg --output clean --model panel --weights panel
"""


@dataclass(frozen=True)
class TrainPanel:
    """Train the panel (needs the extras [train] and [flux])."""

    data: Positional[Path]
    """Folder with data sets of glass scenes, made by clearpane synthesize with --layers I,T,R or more."""
    base: str
    """Base model: a directory in diffusers' format, or a name on the model hub."""
    output: Path
    """Folder of the run: the LoRA, the encoded caption and panel.json; checkpoint, log and drawings."""
    real: Path | None = None
    """Folder with real pairs (NNN_input.jpg, NNN_transmission.jpg); their reflection is not known and not in
    the loss."""
    real_share: float = 0.2
    """Share of panels from real pairs, if --real is given."""
    steps: int = 4000
    """Number of optimiser steps."""
    batch: int = 1
    """Panels in a step, on each device."""
    side: int = 512
    """Size of each of the three pictures: about SIDE x SIDE pixels."""
    zoom: float = 1.8
    """Largest width of a crop relative to that size; larger crops are shrunk."""
    rank: int = 16
    """Rank of the LoRA."""
    targets: Literal["attention", "all"] = "all"
    """Layers that the LoRA changes: those of attention, or all in the blocks."""
    learning_rate: float = 1e-4
    """Peak learning rate of AdamW, constant after a warm-up of 100 steps."""
    guidance: float = DEFAULT_GUIDANCE
    """Guidance scale given to the distilled model, in training and inference."""
    timesteps: TimestepSampling = "logit-normal"
    """Distribution of sigma in training, before it is shifted as in sampling."""
    caption: str = PANEL_CAPTION
    """Instruction for the editor; it is encoded once and saved beside the LoRA."""
    average: float = 0.99
    """Decay of the averaged weights (EMA), which are the ones saved."""
    precision: Precision = "bfloat16"
    """Precision of the base model's weights; 8bit and nf4 need an NVIDIA GPU. The LoRA is always float32."""
    cpu: bool = False
    """Train on the CPU even if there is a GPU."""
    gradient_checkpointing: bool = True
    """Store fewer activations and recompute them: less memory, a third more time."""
    draw_every: int = 500
    """Steps between drawings of panels for TensorBoard; 0 for none."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    seed: int = 0
    """Random seed."""

    @property
    def set_bfloat16(self) -> bool | None:
        """The number format that it sets, see `mixed_precision`: that of the base model's weights."""
        return self.precision != "float32"


def check(recipe: TrainPanel) -> None:
    """Raise ClearpaneError if the settings of a recipe are invalid."""
    check_recipe(recipe, recipe.learning_rate)
    check_photographs(recipe)
    if recipe.draw_every < 0:
        raise ClearpaneError(f"`draw_every={recipe.draw_every}`: give 0 or more")


class PanelLoss(nn.Module):
    """Compute the loss of a step; a module, so that Accelerate can distribute it over several devices."""

    def __init__(self, recipe: TrainPanel, backbone: Backbone, task: TaskEmbedding) -> None:
        super().__init__()
        self.transformer = backbone.transformer
        self._recipe, self._backbone, self._task = recipe, backbone, task

    def forward(self, pictures: Sequence[PanelPictures], generator: torch.Generator) -> Tensor:
        """Compute the flow-matching loss on random windows of these pictures."""
        recipe, backbone = self._recipe, self._backbone
        size = draw_size(recipe.side, backbone.multiple, generator)
        batch = draw_panels(pictures, size, recipe.zoom, generator)
        with torch.no_grad():
            target, reference = (backbone.encode(x) for x in (batch.panel, batch.reference))
        known = batch.known.repeat_interleave(target.shape[-1] // 3, dim=-1).to(target)
        with mixed_precision(backbone.device.type, recipe.set_bfloat16):
            return flow_matching_loss(
                backbone,
                target,
                reference,
                self._task,
                recipe.guidance,
                generator,
                known,
                timesteps=recipe.timesteps,
            )


def choose_pictures(
    recipe: TrainPanel,
    glass: Sequence[PanelPictures],
    real: Sequence[PanelPictures],
    generator: torch.Generator,
) -> list[PanelPictures]:
    """Draw the pictures of one step."""
    chosen = []
    for _ in range(recipe.batch):
        source = real if real and uniform(0, 1, generator) < recipe.real_share else glass
        chosen.append(source[int(torch.randint(len(source), (), generator=generator))])
    return chosen


def export(
    recipe: TrainPanel,
    base: Path,
    transformer: FluxTransformer2DModel,
    weights: dict[str, Tensor],
    task: TaskEmbedding,
) -> None:
    """Write the LoRA with these weights, the encoded caption and panel.json."""
    save_lora(recipe.output / LORA_FILE, weights, transformer)
    task.save(recipe.output / TASK_FILE)
    settings = PanelSettings(
        absolute_base(recipe.base),
        base_fingerprint(base),
        recipe.side,
        recipe.rank,
        recipe.guidance,
        recipe.caption,
    )
    save_settings(settings, recipe.output / SETTINGS_FILE)


@torch.no_grad()
def draw(
    recipe: TrainPanel, backbone: Backbone, task: TaskEmbedding, scenes: Sequence[PanelPictures]
) -> Tensor:
    """Draw a sheet [3, H, W]: each scene's painted panel above its ground truth."""
    size = (max(1, recipe.side // backbone.multiple) * backbone.multiple,) * 2
    rows = []
    for scene in scenes:
        batch = draw_panels([scene], size, 1, step_generator(recipe.seed, 0))
        sampling = Sampling(_DRAWING_STEPS, recipe.seed, recipe.guidance)
        reference = backbone.encode(batch.reference)
        with mixed_precision(backbone.device.type, recipe.set_bfloat16):
            latents = sample(backbone, reference, task, sampling)
        rows += [backbone.decode(latents)[0].float().cpu(), batch.panel[0]]
    return torch.cat(rows, dim=1).clamp(0, 1)


def run(recipe: TrainPanel) -> int:
    """Train, or resume from the run's checkpoint, and write the LoRA. Return the exit code.

    Raises:
        ClearpaneError: The recipe is invalid, or a file cannot be read or written.
    """
    check(recipe)
    base = find_base(recipe.base, (*PICTURE_PARTS, *TEXT_PARTS))
    accelerator = Accelerator(cpu=recipe.cpu)
    glass = load_by_draw(load_glass_panels, recipe.data, recipe.output, accelerator)
    if 0 in glass.parts and len(glass.of(0)) <= _DRAWN:
        raise ClearpaneError(
            f"{recipe.data}: {glass.total} glass scenes are too few; make more with clearpane synthesize"
        )
    real = load_real_panels(recipe.real) if recipe.real else []
    warn_of_small_pictures([*glass.own, *real], recipe.side)
    size = backbone_size(base)
    needed = training_bytes(size, recipe.precision, recipe.side, recipe.rank, batch=recipe.batch)
    remedy = "lower `batch` or `side`, or choose a coarser `precision`"
    check_memory(needed, accelerator.device, recipe.side, remedy)
    recipe.output.mkdir(parents=True, exist_ok=True)
    text = encode_text(base, recipe.caption)
    backbone = load_backbone(base, Loading(recipe.precision, str(accelerator.device)))
    task = text.to(backbone.device, backbone.vae.dtype)
    torch.manual_seed(recipe.seed)
    parameters = add_lora(backbone.transformer, recipe.rank, recipe.targets)
    train_in_float32(backbone.transformer)
    if recipe.gradient_checkpointing:
        backbone.transformer.enable_gradient_checkpointing()

    held = parameter_holder(parameters)
    optimizer = torch.optim.AdamW(held.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
    loss, optimizer = accelerator.prepare(PanelLoss(recipe, backbone, task), optimizer)
    facts = {"fingerprint": base_fingerprint(base), "scenes": glass.total - _DRAWN, "pairs": len(real)}

    def loss_of(draw: int, generator: torch.Generator) -> Tensor:
        scenes = glass.of(draw)[0 if draw % glass.draws else _DRAWN :]
        result: Tensor = loss(choose_pictures(recipe, scenes, real, generator), generator)
        return result

    def draw_some(writer: SummaryWriter, step: int) -> None:
        if recipe.draw_every and (step % recipe.draw_every == 0 or step == recipe.steps):
            writer.add_image("painted above true", draw(recipe, backbone, task, glass.of(0)[:_DRAWN]), step)

    weights = fine_tune(
        recipe, _FREE, facts, held, optimizer, recipe.learning_rate, loss_of, accelerator, draw_some
    )
    if weights is None:
        return 130
    if accelerator.is_main_process:
        export(recipe, base, backbone.transformer, weights, text)
        counted = {"glass scenes": glass.total - _DRAWN, "real pairs": len(real)}
        write_run_card(recipe, card_facts("panel", recipe.base), counted, _FREE)
        print(f"wrote {recipe.output / LORA_FILE}")
    return 0
