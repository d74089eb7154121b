"""Train GenSIRR (arXiv 2512.06358, stage II): an editor and its task embedding remove reflections."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, init_empty_weights
from diffusers import FluxTransformer2DModel
from torch import Generator, Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from tyro.conf import Positional

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.files import atomic_folder
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.folders import (
    PICTURE_PARTS,
    TEXT_PARTS,
    absolute_base,
    base_fingerprint,
    check_part,
    find_base,
    folder_fingerprint,
)
from clearpane.separation.flux.loading import Loading, check_memory, encode_text, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, add_lora, save_lora, train_in_float32
from clearpane.separation.flux.memory import backbone_size, full_training_bytes, training_bytes
from clearpane.separation.flux.options import Precision
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.flux.task_embedding import LearnableTask, TaskEmbedding, random_task
from clearpane.separation.gensirr.separator import (
    REMOVAL_SENTENCE,
    SCHEDULER_FOLDER,
    SETTINGS_FILE,
    TASK_FILE,
    TRANSFORMER_FOLDER,
    VAE_FOLDER,
    GensirrSettings,
    write_index,
)
from clearpane.separation.pretrained import card_facts
from clearpane.training.flux.edit_batches import draw_edits, load_glass_edits, load_real_edits
from clearpane.training.flux.fine_tuning import (
    check_photographs,
    check_recipe,
    fine_tune,
    warn_of_small_pictures,
)
from clearpane.training.flux.flow_matching import TimestepSampling, flow_matching_loss, regression_loss
from clearpane.training.loop import whole
from clearpane.training.model_card import write_run_card
from clearpane.training.precision import has_bfloat16, mixed_precision
from clearpane.training.runner import parameter_holder
from clearpane.training.scenes_by_draw import load_by_draw

# Settings of a recipe that may change when a run resumes.
_FREE = {"data", "base", "vae", "real", "output", "cpu", "gradient_checkpointing", "checkpoint_every"}

DESCRIPTION = """\
Trains the transformer and the task embedding of GenSIRR: FLUX.1 Kontext takes
the reflection out of a photograph. Run the same command again to resume an
interrupted run.

Examples:
  clearpane synthesize --output glass --layers I,T,R,B --size 768 \\
      --count 1000 --backgrounds photos --environments hdris
  clearpane train gensirr-vae photos --base KONTEXT --output revae
  clearpane train gensirr glass --base KONTEXT --vae revae/vae --output gensirr
  clearpane remove window.jpg --output clean --model gensirr --weights gensirr
"""


@dataclass(frozen=True)
class TrainGensirr:
    """Train GenSIRR's transformer and task embedding (needs the extras [train] and [flux])."""

    data: Positional[Path]
    """Folder with data sets of glass scenes, made by clearpane synthesize with --layers I,T,R,B."""
    base: str
    """Base model: a directory in diffusers' format, or a name on the model hub."""
    output: Path
    """Folder of the run: the model for clearpane remove, the checkpoint and the log."""
    vae: Path | None = None
    """Directory of a VAE made by clearpane train gensirr-vae; default: the base model's VAE."""
    real: Path | None = None
    """Folder with real pairs (NNN_input.jpg, NNN_transmission.jpg)."""
    real_share: float = 0.3
    """Share of real pairs, if --real is given; the rest are glass scenes."""
    full: bool = False
    """Train the whole transformer instead of a LoRA."""
    rank: int = 16
    """Rank of the LoRA."""
    targets: Literal["attention", "all"] = "all"
    """Layers that the LoRA changes: those of attention, or all in the blocks."""
    embedding: Literal["learned", "fixed", "random"] = "learned"
    """Task embedding: learned from the encoded sentence, fixed to it, or learned from random numbers."""
    sentence: str = REMOVAL_SENTENCE
    """Instruction for the editor; it is encoded once, so no text encoder is needed afterwards."""
    one_step: bool = False
    """Learn to remove the reflection in one step, by regression without noise."""
    steps: int = 20000
    """Number of optimiser steps."""
    batch: int = 1
    """Photographs in a step, on each device; the paper uses 32 in all."""
    side: int = 512
    """Size of a training photograph: about SIDE x SIDE pixels."""
    zoom: float = 1.8
    """Largest width of a crop relative to that size; larger crops are shrunk."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW; default: 1e-5 for the whole transformer, 1e-4 for a LoRA. It stays
    constant after a warm-up."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """Optimiser; adamw8bit stores the moments in 8 bits and needs bitsandbytes."""
    guidance: float = DEFAULT_GUIDANCE
    """Guidance scale given to the distilled model, in training and inference."""
    timesteps: TimestepSampling = "logit-normal"
    """Distribution of sigma in training, before it is shifted as in sampling."""
    average: float = 0.99
    """Decay of the averaged weights (EMA), which are the ones saved."""
    precision: Precision = "bfloat16"
    """Precision of the base model's weights; 8bit and nf4 need an NVIDIA GPU and a LoRA. Trained weights are
    always float32."""
    shard: bool = False
    """Shard weights, gradients and moments over all devices (FSDP), for --full on several GPUs."""
    cpu: bool = False
    """Train on the CPU even if there is a GPU."""
    gradient_checkpointing: bool = True
    """Store fewer activations and recompute them: less memory, a third more time."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    seed: int = 0
    """Random seed."""

    @property
    def rate(self) -> float:
        """Return the learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-5 if self.full else 1e-4

    @property
    def set_bfloat16(self) -> bool | None:
        """The number format that it sets, see `mixed_precision`; where all is trained, the faster one."""
        if self.precision == "float32":
            return False
        return None if self.full else True


def check(recipe: TrainGensirr) -> None:
    """Raise ClearpaneError if the settings of a recipe are invalid."""
    check_recipe(recipe, recipe.rate)
    check_photographs(recipe)
    if recipe.full and recipe.precision in ("8bit", "nf4"):
        raise ClearpaneError(f"`full` trains the weights themselves; {recipe.precision} needs a LoRA")
    if recipe.shard and not recipe.full:
        raise ClearpaneError("`shard` needs `full`; a LoRA is small, and several GPUs share its batch anyway")
    if recipe.shard and recipe.optimizer == "adamw8bit":
        raise ClearpaneError("`shard` spreads the moments already; use it without `optimizer=adamw8bit`")


def needed_bytes(recipe: TrainGensirr, base: Path, device_type: str, devices: int) -> int:
    """Estimate the bytes of memory that training needs on each device, with gradient checkpointing."""
    size = backbone_size(base)
    if not recipe.full:
        return training_bytes(size, recipe.precision, recipe.side, recipe.rank, 1, recipe.batch)
    return full_training_bytes(
        size,
        recipe.precision if has_bfloat16(device_type) else "float32",
        recipe.side,
        recipe.batch,
        moments=2 if recipe.optimizer == "adamw8bit" else 8,
        devices=devices if recipe.shard else 1,
    )


class GensirrLoss(nn.Module):
    """Compute the loss of a step; a module, so that Accelerate can distribute it over several devices."""

    def __init__(self, recipe: TrainGensirr, backbone: Backbone, task: LearnableTask) -> None:
        super().__init__()
        self.transformer = backbone.transformer
        self.task = task
        self._recipe, self._backbone = recipe, backbone

    def forward(self, photos: Tensor, truths: Tensor, generator: Generator) -> Tensor:
        """Compute the loss of flow matching, or of regression with ``one_step``, from photos to truths."""
        recipe, backbone = self._recipe, self._backbone
        with torch.no_grad():
            reference, target = (backbone.encode(x) for x in (photos, truths))
        task = self.task().to(backbone.device, target.dtype)
        # Of weights that are trained, copies in bfloat16 would be kept for all blocks at once.
        with mixed_precision(backbone.device.type, recipe.set_bfloat16, cache_enabled=not recipe.full):
            if recipe.one_step:
                return regression_loss(backbone, target, reference, task, recipe.guidance)
            return flow_matching_loss(
                backbone,
                target,
                reference,
                task,
                recipe.guidance,
                generator,
                timesteps=recipe.timesteps,
            )


def shard_over_devices(
    transformer: FluxTransformer2DModel, task: nn.Module, device: torch.device, count: int
) -> None:
    """Shard a model over all processes, block by block (FSDP2, torch.distributed.fsdp.fully_shard).

    Accelerate's FSDP is not used, as it supports GPUs only: this one is tested on CPUs too.
    """
    mesh = init_device_mesh(device.type, (count,))
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    for part in (*blocks, transformer, task):
        fully_shard(part, mesh=mesh)


def new_optimizer(recipe: TrainGensirr, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Make AdamW with moments of the recipe's precision.

    Raises:
        MissingExtraError: The package bitsandbytes is missing.
    """
    settings: dict[str, Any] = {"lr": recipe.rate, "betas": (0.9, 0.999), "weight_decay": 1e-2}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise MissingExtraError("`optimizer=adamw8bit`", "flux") from error
    result: torch.optim.Optimizer = AdamW8bit(parameters, **settings)
    return result


def export(
    recipe: TrainGensirr, base: Path, backbone: Backbone, weights: dict[str, Tensor], task: TaskEmbedding
) -> None:
    """Write the files for `clearpane remove`: settings last, so that a folder with settings is complete.

    Args:
        weights: Trained weights of the transformer, by their names in it.
        task: Task embedding.
    """
    output, transformer = recipe.output, backbone.transformer
    (output / SETTINGS_FILE).unlink(missing_ok=True)  # an old one would vouch for incomplete files
    if recipe.full:
        config = FluxTransformer2DModel.load_config(base / "transformer")
        with init_empty_weights():
            trained = FluxTransformer2DModel.from_config(config)
        kind = torch.float32 if recipe.precision == "float32" else torch.bfloat16
        trained.load_state_dict({name: value.to(kind) for name, value in weights.items()}, assign=True)
        with atomic_folder(output / TRANSFORMER_FOLDER, overwrite=True) as folder:
            trained.save_pretrained(folder)
    else:
        save_lora(output / LORA_FILE, weights, transformer)
    vae = recipe.vae or (base / "vae" if recipe.full else None)
    if vae:
        with atomic_folder(output / VAE_FOLDER, overwrite=True) as folder:
            for path in (vae / "config.json", *vae.glob("*.safetensors"), *vae.glob("*.index.json")):
                shutil.copyfile(path, folder / path.name)
    if recipe.full:
        with atomic_folder(output / SCHEDULER_FOLDER, overwrite=True) as folder:
            backbone.scheduler.save_pretrained(folder)
        write_index(output)
    task.save(output / TASK_FILE)
    settings = GensirrSettings(
        base=None if recipe.full else absolute_base(recipe.base),
        fingerprint=None if recipe.full else base_fingerprint(base),
        side=recipe.side,
        rank=0 if recipe.full else recipe.rank,
        guidance=recipe.guidance,
        sentence=recipe.sentence,
        one_step=recipe.one_step,
        vae=folder_fingerprint(recipe.vae) if recipe.vae else None,
    )
    save_settings(settings, output / SETTINGS_FILE)


def run(recipe: TrainGensirr) -> int:
    """Train, or resume from the run's checkpoint, and write the result. Return the exit code.

    Raises:
        ClearpaneError: The recipe is invalid, or a file cannot be read or written.
    """
    check(recipe)
    base = find_base(recipe.base, (*PICTURE_PARTS, *TEXT_PARTS))
    if recipe.vae:
        check_part(recipe.vae)
    accelerator = Accelerator(cpu=recipe.cpu)
    glass = load_by_draw(load_glass_edits, recipe.data, recipe.output, accelerator)
    real = load_real_edits(recipe.real) if recipe.real else []
    warn_of_small_pictures([*glass.own, *real], recipe.side)
    if recipe.shard and accelerator.num_processes == 1:
        raise ClearpaneError("`shard` needs several processes: start the training with accelerate launch")
    device = accelerator.device
    needed = needed_bytes(recipe, base, device.type, accelerator.num_processes)
    check_memory(needed, device, recipe.side, "lower `batch` or `side`, or choose a coarser `precision`")
    recipe.output.mkdir(parents=True, exist_ok=True)
    text = encode_text(base, recipe.sentence)
    precision: Precision = "float32" if recipe.full else recipe.precision
    backbone = load_backbone(base, Loading(precision, str(device)), recipe.vae)
    torch.manual_seed(recipe.seed)
    if recipe.full:
        backbone.transformer.requires_grad_(True)
    else:
        add_lora(backbone.transformer, recipe.rank, recipe.targets)
        train_in_float32(backbone.transformer)
    if recipe.gradient_checkpointing:
        backbone.transformer.enable_gradient_checkpointing()
    generator = torch.Generator().manual_seed(recipe.seed)
    start = random_task(text, generator) if recipe.embedding == "random" else text
    task = LearnableTask(start).to(device).requires_grad_(recipe.embedding != "fixed")
    if recipe.shard:
        shard_over_devices(backbone.transformer, task, device, accelerator.num_processes)

    loss: nn.Module = GensirrLoss(recipe, backbone, task)
    parameters = {name: p for name, p in loss.named_parameters() if p.requires_grad}
    held = parameter_holder(parameters)
    optimizer = accelerator.prepare(new_optimizer(recipe, held.parameters()))
    if not recipe.shard:
        loss = accelerator.prepare(loss)
    facts: dict[str, Any] = {
        "fingerprint": base_fingerprint(base),
        "vae": recipe.vae and folder_fingerprint(recipe.vae),
        "scenes": glass.total,
        "pairs": len(real),
    }

    def loss_of(draw: int, generator: Generator) -> Tensor:
        photos, truths = draw_edits(recipe, glass.of(draw), real, backbone.multiple, generator)
        result: Tensor = loss(photos, truths, generator)
        return result

    weights = fine_tune(recipe, _FREE, facts, held, optimizer, recipe.rate, loss_of, accelerator)
    if weights is None:
        return 130
    # Sharded tensors are gathered by all processes together.
    learnt = {name: weights.get(f"task.{name}", whole(value)) for name, value in task.state_dict().items()}
    if accelerator.is_main_process:
        kind = text.prompt_embeds.dtype
        embedding = TaskEmbedding(**learnt).to("cpu", kind if recipe.embedding == "fixed" else torch.float32)
        own = "transformer."
        trained = {n.removeprefix(own): x.cpu() for n, x in weights.items() if n.startswith(own)}
        export(recipe, base, backbone, trained, embedding)
        counted = {"glass scenes": glass.total, "real pairs": len(real)}
        write_run_card(recipe, card_facts("gensirr", recipe.base), counted, _FREE)
        print(f"wrote {recipe.output / SETTINGS_FILE}")
    return 0
