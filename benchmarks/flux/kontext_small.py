"""Train and measure kontext-small, the base model of all experiments with FLUX.1 Kontext's kind of model.

    python -m benchmarks.flux.kontext_small DATA

An instruction editor of 9 M parameters, made of the classes of FLUX.1 Kontext: a VAE (a quarter of the
    resolution, 16 channels), two text encoders and a transformer. First the VAE is trained to reproduce
    natural pictures; then the other parts are trained on the edits of edits.py, each with its sentence, then
    also on two edits side by side (panel_edits.py); then the VAE is trained to encode a picture independently
    of its neighbours (vae_contexts.py), and the other parts are adapted to that. Writes
    kontext_small.safetensors beside this file, which the experiments start from (small_base.py), measures the
    stored weights, and writes docs/figures/kontext_small.{md,json,jpg}. An interrupted run resumes. Needs the
    extras [train] and [flux].
"""

import copy
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from accelerate import Accelerator
from diffusers import FluxKontextPipeline
from PIL import Image
from torch import Generator, Tensor, nn
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.flux.edit_scores import (
    CROP,
    HELD_OUT,
    SAMPLING_STEPS,
    ZOOM,
    draw_sheet,
    score_edits,
    score_others,
    score_panels,
)
from benchmarks.flux.edits import EDITS
from benchmarks.flux.panel_edits import OTHERS, draw_panel, panel_sentence
from benchmarks.flux.small_base import SENTENCES, WEIGHTS, load_pipeline, save_weights, weighted_parts
from benchmarks.flux.small_kontext import T5_LENGTH, SmallKontext, new_pipeline
from benchmarks.flux.vae_contexts import context_errors, context_loss, picture_loss
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import reference_panel
from clearpane.training.flux.flow_matching import flow_matching_loss
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.pictures import load_natural, random_crop
from clearpane.training.precision import mixed_precision
from clearpane.training.runner import Schedule, run_steps

_KL_WEIGHT, _LEARNING_RATE = 1e-4, 1e-3
# In the third and fifth stage: single edits per step; in addition the share of panels, and their number.
_SINGLE, _PANELS = 4, {48: (0.2, 8), 64: (0.6, 6), 96: (0.2, 2)}
_CONTEXTS = 6
STEPS = ("vae_steps", "steps", "panel_steps", "context_steps", "again_steps", "batch")
# Share of the VAE's crops whose channels come from three photographs.
_MIXED = 0.5


@dataclass(frozen=True)
class Rates:
    """Rates of a stage: peak learning rate, decay of the averaged weights."""

    learning_rate: float
    average: float


USUAL_RATES, CONTEXT_RATES = Rates(_LEARNING_RATE, 0.999), Rates(5e-4, 0.99)


@dataclass(frozen=True)
class Options:
    """Train the base of the small experiments."""

    data: Positional[Path]
    """Folder with natural."""
    vae_steps: int = 2500
    """Optimiser steps of the VAE."""
    steps: int = 2500
    """Optimiser steps of the transformer and the text encoders on single edits."""
    panel_steps: int = 3000
    """Optimiser steps of the same on single edits and on panels of two."""
    context_steps: int = 900
    """Optimiser steps of the VAE, to encode a picture independently of its neighbours."""
    again_steps: int = 4000
    """Optimiser steps of the other parts on that VAE."""
    batch: int = 16
    """Pictures per step."""
    seed: int = 0
    """Random seed."""
    threads: int = 2
    """CPU threads."""
    weights: Path = WEIGHTS
    """File of the trained weights."""
    cache: Path = ROOT / "build" / "benchmarks" / "kontext-small-training"
    """Folder of the checkpoints."""
    figures: Path = ROOT / "docs" / "figures"
    """Folder of kontext_small.md, .json and .jpg."""


def vae_loss(vae: nn.Module, pictures: Tensor, generator: Generator) -> Tensor:
    """Compute ``picture_loss(D(z), x) + 1e-4 KL``, z from the posterior, the KL averaged over latents."""
    posterior = vae.encode(2 * pictures - 1).latent_dist
    mean, deviation = posterior.mean.float(), posterior.std.float()
    drawn = mean + deviation * torch.randn(mean.shape, generator=generator)
    made = (vae.decode(drawn).sample.float() + 1) / 2
    divergence = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
    return picture_loss(made, pictures) + _KL_WEIGHT * divergence


def mix_channels(crops: Tensor, share: float, generator: Generator) -> Tensor:
    """Replace the channels R, G and B in a share of the crops by those of three random crops.

    In photographs the channels are nearly equal, and a VAE learns their differences last.
    """
    count = round(share * len(crops))
    sources = torch.randint(len(crops), (count, 3), generator=generator)
    mixed = crops[sources, torch.arange(3)]
    return torch.cat([mixed, crops[count:]])


class Editor(nn.Module):
    """Parts trained in the second stage: the transformer and both text encoders, on the frozen VAE."""

    def __init__(self, pipeline: FluxKontextPipeline) -> None:
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder = pipeline.text_encoder
        self.text_encoder_2 = pipeline.text_encoder_2


def encode_task(pipeline: FluxKontextPipeline, sentences: list[str]) -> TaskEmbedding:
    """Encode a sentence for each picture."""
    prompt, pooled, _ = pipeline.encode_prompt(sentences, max_sequence_length=T5_LENGTH)
    return TaskEmbedding(prompt, pooled)


def train(
    name: str,
    options: Options,
    model: nn.Module,
    steps: int,
    loss_of: Callable[[Generator], Tensor],
    start: str = "",
    rates: Rates = USUAL_RATES,
) -> None:
    """Train or resume one stage; the model is left with its averaged weights.

    Args:
        start: Digest of the stage's starting point; a run with another one is not resumed.
    """
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=1e-2, fused=True)
    facts = [asdict(SmallKontext()), SENTENCES, CROP, ZOOM, _MIXED, _KL_WEIGHT, _LEARNING_RATE]
    recipe = {
        "steps": steps,
        "batch": options.batch,
        "seed": options.seed,
        "facts": json.loads(json.dumps(facts)),
    }
    if start:
        recipe["start"] = start
    if rates != USUAL_RATES:
        recipe["rates"] = asdict(rates)
    average = AveragedWeights(model, rates.average)
    state = TrainingState(model, average, accelerator.prepare(optimizer), recipe=recipe)
    folder = options.cache / name
    folder.mkdir(parents=True, exist_ok=True)

    def loss_at(step: int) -> Tensor:
        with mixed_precision("cpu"):
            return loss_of(step_generator(options.seed, step))

    schedule = Schedule(steps, rates.learning_rate, checkpoint_every=250)
    if not run_steps(state, schedule, folder, loss_at, accelerator):
        raise KeyboardInterrupt
    model.load_state_dict(state.average.weights)


def draw_crops(pictures: list[Tensor], count: int, generator: Generator) -> Tensor:
    """Draw crops of pictures for the VAE."""
    indices = torch.randint(len(pictures), (count,), generator=generator).tolist()
    return torch.stack([random_crop((pictures[i],), CROP, generator, 2.5)[0] for i in indices])


def train_vae(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """Train the first stage. Afterwards latents have mean 0 and variance 1 over natural pictures."""
    vae = pipeline.vae

    def draw(generator: Generator) -> Tensor:
        return draw_crops(pictures, options.batch, generator)

    def loss_of(generator: Generator) -> Tensor:
        return vae_loss(vae, mix_channels(draw(generator), _MIXED, generator), generator)

    train("vae", options, vae, options.vae_steps, loss_of)
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        generator = step_generator(options.seed, options.vae_steps)
        latents = torch.cat([vae.encode(2 * draw(generator) - 1).latent_dist.mode() for _ in range(16)])
    vae.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def draw_edits(pictures: list[Tensor], count: int, generator: Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Draw random edits of random crops: inputs, targets, sentences."""
    edits, drawn = list(EDITS.values()), []
    for _ in range(count):
        index, kind = (int(torch.randint(n, (), generator=generator)) for n in (len(pictures), len(edits)))
        clean = random_crop((pictures[index],), CROP, generator, ZOOM)[0]
        drawn.append((*edits[kind].make(clean, generator), edits[kind].sentence))
    before, after, sentences = zip(*drawn, strict=True)
    return torch.stack(before), torch.stack(after), list(sentences)


def draw_panel_edits(pictures: list[Tensor], generator: Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Draw the same for panels, all of one random size."""
    shares = torch.tensor([share for share, _ in _PANELS.values()])
    side = list(_PANELS)[int(torch.multinomial(shares, 1, generator=generator))]
    drawn = []
    for _ in range(_PANELS[side][1]):
        index = int(torch.randint(len(pictures), (), generator=generator))
        zoom = ZOOM * CROP / side
        drawn.append(draw_panel(random_crop((pictures[index],), side, generator, zoom)[0], generator))
    before, after, sentences = zip(*drawn, strict=True)
    return reference_panel(torch.stack(before)), torch.stack(after), list(sentences)


def edit_loss(
    backbone: Backbone,
    pipeline: FluxKontextPipeline,
    drawn: tuple[Tensor, Tensor, list[str]],
    generator: Generator,
) -> Tensor:
    """Compute the flow-matching loss of inputs and targets."""
    before, after, sentences = drawn
    with torch.no_grad():
        reference, target = backbone.encode(torch.cat([before, after])).float().chunk(2)
    task = encode_task(pipeline, sentences)
    return flow_matching_loss(backbone, target, reference, task, DEFAULT_GUIDANCE, generator)


def digest_weights(*parts: nn.Module, file: str) -> str:
    """Hash a stage's starting point: earlier weights, and the file that makes its pictures."""
    digest = hashlib.sha256()
    for part in parts:
        for value in part.state_dict().values():
            digest.update(value.numpy().tobytes())
    digest.update((Path(__file__).with_name(file)).read_bytes())
    return digest.hexdigest()[:16]


def train_contexts(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """Train the fourth stage: the VAE learns from itself, see `vae_contexts`."""
    vae, teacher = pipeline.vae, copy.deepcopy(pipeline.vae)

    def loss_of(generator: Generator) -> Tensor:
        crops = mix_channels(draw_crops(pictures, 3 * _CONTEXTS, generator), _MIXED, generator)
        return context_loss(vae, teacher, crops, generator)

    start = digest_weights(vae, file="vae_contexts.py") + str(_CONTEXTS)
    vae.train().requires_grad_(True)
    train("contexts", options, vae, options.context_steps, loss_of, start, CONTEXT_RATES)
    vae.eval().requires_grad_(False)


def train_editor(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """Train the second stage."""
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    editor = Editor(pipeline)

    def loss_of(generator: Generator) -> Tensor:
        drawn = draw_edits(pictures, options.batch, generator)
        return edit_loss(backbone, pipeline, drawn, generator)

    start = digest_weights(pipeline.vae, file="edits.py")
    train("editor", options, editor, options.steps, loss_of, start)


def train_panels(
    name: str,
    options: Options,
    pipeline: FluxKontextPipeline,
    pictures: list[Tensor],
    steps: int,
    rates: Rates = USUAL_RATES,
) -> None:
    """Train the third or fifth stage: single edits, and panels."""
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    editor = Editor(pipeline)

    def both_losses(generator: Generator) -> Tensor:
        single, panels = draw_edits(pictures, _SINGLE, generator), draw_panel_edits(pictures, generator)
        losses = [edit_loss(backbone, pipeline, drawn, generator) for drawn in (single, panels)]
        return torch.stack(losses).mean()

    start = digest_weights(pipeline.vae, editor, file="panel_edits.py") + str([_SINGLE, _PANELS])
    train(name, options, editor, steps, both_losses, start, rates)


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    head = ["edit", "do nothing", "edited", "in a panel", "given the next edit", "VAE alone"]
    keys = ("nothing", "edited", "panel", "other_sentence", "vae")
    rows = [[name, *(f"{values[key]:.2f}" for key in keys)] for name, values in document["edits"].items()]
    return (
        "# kontext-small\n\n"
        f"The base of the small experiments: {document['parameters'] / 1e6:.1f} M parameters, trained for "
        f"{document['steps']} steps of {document['batch']} pictures of {CROP} pixels after "
        f"{document['vae_steps']} of its VAE, then for {document['panel_steps']} on panels too; then its VAE "
        f"for {document['context_steps']}, so that latents of a picture do not depend on its "
        f"neighbours, and the rest for {document['again_steps']} more. Mean PSNR in dB over {HELD_OUT} "
        f"held-out pictures, {SAMPLING_STEPS} steps of sampling; given another edit's sentence the model "
        "should not do this one. In a panel the edited picture is in the middle, the darkened one on the "
        "right. The last column is the loss of the VAE, whatever the transformer does.\n\n"
        + table(head, rows)
        + "\nLatents of a picture beside two white ones differ from those of it alone by "
        f"{document['contexts']['beside white']:.2f} of their variance, beside two others by "
        f"{document['contexts']['beside others']:.2f}.\n"
        "\n![For four pictures each: input, result, target](kontext_small.jpg)\n"
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Train what is missing, then measure."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    pipeline = new_pipeline(SmallKontext(), SENTENCES)
    pictures = load_natural(options.data / "natural")
    train_vae(options, pipeline, pictures)
    train_editor(options, pipeline, pictures)
    train_panels("panels", options, pipeline, pictures, options.panel_steps)
    train_contexts(options, pipeline, pictures)
    train_panels("again", options, pipeline, pictures, options.again_steps)
    save_weights(pipeline, options.weights)
    pipeline = load_pipeline(options.weights)
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    held_out = load_natural(options.data / "natural", held_out=True)
    with torch.no_grad():
        sentences = [edit.sentence for edit in EDITS.values()]
        sentences += [panel_sentence(name, True) for name in OTHERS]
        tasks = {sentence: encode_task(pipeline, [sentence]) for sentence in sentences}
    edited = score_edits(backbone, tasks.__getitem__, held_out)
    others = score_others(backbone, tasks.__getitem__, held_out)
    panels = score_panels(backbone, tasks.__getitem__, held_out)
    sheet = draw_sheet(backbone, tasks.__getitem__, held_out)
    crops = draw_crops(held_out, 2 * HELD_OUT, torch.Generator().manual_seed(2))
    contexts = context_errors(pipeline.vae, *crops.chunk(2))
    document = {
        "parameters": sum(p.numel() for part in weighted_parts(pipeline).values() for p in part.parameters()),
        **{key: getattr(options, key) for key in STEPS},
        "contexts": contexts,
        "edits": {name: {"edited": edited[name], "panel": panels[name], **others[name]} for name in EDITS},
        "machine": describe_machine(),
    }
    picture = Image.fromarray(to_8bit(sheet))
    with atomic_path(options.figures / "kontext_small.jpg", overwrite=True) as temporary:
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
            temporary, "JPEG", quality=90
        )
    write_text(options.figures / "kontext_small.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.figures / "kontext_small.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
