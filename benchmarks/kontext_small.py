"""Train kontext-small, the base of every experiment with FLUX.1 Kontext's kind of model, and measure it.

    python benchmarks/kontext_small.py DATA

An instruction editor of 9 M parameters, made of the classes of FLUX.1 Kontext: a VAE (a quarter of the
resolution, 16 channels), two text encoders and a transformer. First the VAE learns to give natural pictures
back, then the others the edits of edits.py, each with its sentence, then two edits side by side too
(panel_edits.py). Writes benchmarks/kontext_small.safetensors, which the experiments start from
(small_base.py), measures what was stored, and writes docs/figures/kontext_small.{md,json,jpg}. An interrupted
run goes on. Needs the extras [train] and [flux].
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from diffusers import FluxKontextPipeline
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tyro.conf import Positional

from clearpane.evaluation.metrics import psnr, to_8bit
from clearpane.evaluation.tables import write_text
from clearpane.images.writing import atomic_path
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.panel import cut_panels, reference_panel
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.training.flow_matching import flow_matching_loss
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.losses import gradient_loss
from clearpane.training.pictures import load_natural, random_crop
from clearpane.training.runner import Schedule, run_steps
from clearpane.training.small_kontext import T5_LENGTH, SmallKontext, new_pipeline
from edits import EDITS
from markdown import table
from measuring import FOLDER, Machine, describe_machine
from panel_edits import OTHERS, draw_panel, make_panel, panel_sentence
from runs import finish
from small_base import SENTENCES, WEIGHTS, load_pipeline, save_weights, weighted_parts

_KL_WEIGHT, _LEARNING_RATE = 1e-4, 1e-3
# Of the last stage: single edits a step, and by their side the share of panels and how many there are a step.
_SINGLE, _PANELS = 4, {48: (0.2, 8), 64: (0.6, 6), 96: (0.2, 2)}
_HELD_OUT, _STEPS = 32, 8
_CROP, _ZOOM = 64, 5.0
# Brightness, blue-yellow and red-green, an orthonormal basis of linear combinations of R, G and B.
_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
_OPPONENT /= _OPPONENT.norm(dim=1, keepdim=True)
# Of the VAE's crops, those whose channels come from three photographs.
_MIXED = 0.5


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
    batch: int = 16
    """Pictures a step."""
    seed: int = 0
    """Seed of all randomness."""
    threads: int = 2
    """CPU threads."""
    weights: Path = WEIGHTS
    """File of what was trained."""
    cache: Path = FOLDER.parent / "build" / "benchmarks" / "kontext-small-training"
    """Folder of the checkpoints."""
    figures: Path = FOLDER.parent / "docs" / "figures"
    """Folder of kontext_small.md, .json and .jpg."""


def vae_loss(vae: nn.Module, pictures: Tensor, generator: Generator) -> Tensor:
    """``|D(z) - x| + gradients + 1e-4 KL``, z drawn from the posterior; the KL is the mean over latents.

    The first two are taken in opponent colours: in R, G and B the sign of each error is that of the error of
    brightness, and faint colours are not learnt.
    """
    posterior = vae.encode(2 * pictures - 1).latent_dist
    mean, deviation = posterior.mean.float(), posterior.std.float()
    drawn = mean + deviation * torch.randn(mean.shape, generator=generator)
    made = (vae.decode(drawn).sample.float() + 1) / 2
    result, wanted = (torch.einsum("ij,bjhw->bihw", _OPPONENT, x) for x in (made, pictures))
    divergence = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
    return (result - wanted).abs().mean() + gradient_loss(result, wanted).mean() + _KL_WEIGHT * divergence


def mix_channels(crops: Tensor, share: float, generator: Generator) -> Tensor:
    """The first ``share`` of the crops with R, G and B from three of the crops, drawn at random.

    In photographs the channels say nearly the same, and a VAE learns their differences last.
    """
    count = round(share * len(crops))
    sources = torch.randint(len(crops), (count, 3), generator=generator)
    mixed = crops[sources, torch.arange(3)]
    return torch.cat([mixed, crops[count:]])


class Editor(nn.Module):
    """What the second stage trains: the transformer and both text encoders, on the frozen VAE."""

    def __init__(self, pipeline: FluxKontextPipeline) -> None:
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder = pipeline.text_encoder
        self.text_encoder_2 = pipeline.text_encoder_2


def encode_task(pipeline: FluxKontextPipeline, sentences: list[str]) -> TaskEmbedding:
    """The embedding of a sentence for each picture."""
    prompt, pooled, _ = pipeline.encode_prompt(sentences, max_sequence_length=T5_LENGTH)
    return TaskEmbedding(prompt, pooled)


def train(
    name: str,
    options: Options,
    model: nn.Module,
    steps: int,
    loss_of: Callable[[Generator], Tensor],
    start: str = "",
) -> None:
    """Train one stage, or go on with it; the model is left with its averaged weights.

    Args:
        start: what the stage rests on; a run that rests on something else does not go on.
    """
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=1e-2, fused=True)
    facts = [asdict(SmallKontext()), SENTENCES, _CROP, _ZOOM, _MIXED, _KL_WEIGHT, _LEARNING_RATE]
    recipe = {
        "steps": steps,
        "batch": options.batch,
        "seed": options.seed,
        "facts": json.loads(json.dumps(facts)),
    }
    if start:
        recipe["start"] = start
    state = TrainingState(model, AveragedWeights(model), accelerator.prepare(optimizer), recipe=recipe)
    folder = options.cache / name
    folder.mkdir(parents=True, exist_ok=True)

    def loss_at(step: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return loss_of(step_generator(options.seed, step))

    if not run_steps(
        state, Schedule(steps, _LEARNING_RATE, checkpoint_every=250), folder, loss_at, accelerator
    ):
        raise KeyboardInterrupt
    model.load_state_dict(state.average.weights)


def train_vae(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """The first stage. Afterwards latents have mean 0 and variance 1 over natural pictures."""
    vae = pipeline.vae

    def draw(generator: Generator) -> Tensor:
        """Crops of pictures."""
        indices = torch.randint(len(pictures), (options.batch,), generator=generator).tolist()
        return torch.stack([random_crop((pictures[i],), _CROP, generator, 2.5)[0] for i in indices])

    def loss_of(generator: Generator) -> Tensor:
        return vae_loss(vae, mix_channels(draw(generator), _MIXED, generator), generator)

    train("vae", options, vae, options.vae_steps, loss_of)
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        generator = step_generator(options.seed, options.vae_steps)
        latents = torch.cat([vae.encode(2 * draw(generator) - 1).latent_dist.mode() for _ in range(16)])
    vae.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def draw_edits(pictures: list[Tensor], count: int, generator: Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Random edits of random crops: the pictures to edit, those wanted, and what the model is told."""
    edits, drawn = list(EDITS.values()), []
    for _ in range(count):
        index, kind = (int(torch.randint(n, (), generator=generator)) for n in (len(pictures), len(edits)))
        clean = random_crop((pictures[index],), _CROP, generator, _ZOOM)[0]
        drawn.append((*edits[kind].make(clean, generator), edits[kind].sentence))
    before, after, sentences = zip(*drawn, strict=True)
    return torch.stack(before), torch.stack(after), list(sentences)


def draw_panel_edits(pictures: list[Tensor], generator: Generator) -> tuple[Tensor, Tensor, list[str]]:
    """The same of panels, all of one size, which is drawn."""
    shares = torch.tensor([share for share, _ in _PANELS.values()])
    side = list(_PANELS)[int(torch.multinomial(shares, 1, generator=generator))]
    drawn = []
    for _ in range(_PANELS[side][1]):
        index = int(torch.randint(len(pictures), (), generator=generator))
        zoom = _ZOOM * _CROP / side
        drawn.append(draw_panel(random_crop((pictures[index],), side, generator, zoom)[0], generator))
    before, after, sentences = zip(*drawn, strict=True)
    return reference_panel(torch.stack(before)), torch.stack(after), list(sentences)


def edit_loss(
    backbone: Backbone,
    pipeline: FluxKontextPipeline,
    drawn: tuple[Tensor, Tensor, list[str]],
    generator: Generator,
) -> Tensor:
    """Flow matching on pictures to edit and wanted ones."""
    before, after, sentences = drawn
    with torch.no_grad():
        reference, target = backbone.encode(torch.cat([before, after])).float().chunk(2)
    task = encode_task(pipeline, sentences)
    return flow_matching_loss(backbone, target, reference, task, DEFAULT_GUIDANCE, generator)


def digest_weights(*parts: nn.Module, file: str) -> str:
    """Of what a stage rests on: earlier weights, and the file that makes its pictures."""
    digest = hashlib.sha256()
    for part in parts:
        for value in part.state_dict().values():
            digest.update(value.numpy().tobytes())
    digest.update((FOLDER / file).read_bytes())
    return digest.hexdigest()[:16]


def train_editor(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """The second stage, and the third."""
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    editor = Editor(pipeline)

    def loss_of(generator: Generator) -> Tensor:
        drawn = draw_edits(pictures, options.batch, generator)
        return edit_loss(backbone, pipeline, drawn, generator)

    start = digest_weights(pipeline.vae, file="edits.py")
    train("editor", options, editor, options.steps, loss_of, start)

    def both_losses(generator: Generator) -> Tensor:
        single, panels = draw_edits(pictures, _SINGLE, generator), draw_panel_edits(pictures, generator)
        losses = [edit_loss(backbone, pipeline, drawn, generator) for drawn in (single, panels)]
        return torch.stack(losses).mean()

    start = digest_weights(pipeline.vae, editor, file="panel_edits.py") + str([_SINGLE, _PANELS])
    train("panels", options, editor, options.panel_steps, both_losses, start)


def score_edits(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, float]:
    """Mean PSNR by edit, told its sentence."""
    return {
        name: mean_psnr(make_edit(backbone, encode(EDITS[name].sentence), given), wanted)
        for name, (given, wanted) in edit_pictures(held_out).items()
    }


@torch.no_grad()
def score_others(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, dict[str, float]]:
    """As `score_edits`, but doing nothing, told the next edit's sentence, and the VAE alone."""
    names, rows = list(EDITS), {}
    for index, (name, (given, wanted)) in enumerate(edit_pictures(held_out).items()):
        other = EDITS[names[(index + 1) % len(names)]].sentence
        pictures = {
            "nothing": given,
            "other_sentence": make_edit(backbone, encode(other), given),
            "vae": backbone.decode(backbone.encode(wanted)).clamp(0, 1),
        }
        rows[name] = {key: mean_psnr(made, wanted) for key, made in pictures.items()}
    return rows


@torch.no_grad()
def score_panels(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> dict[str, float]:
    """Mean PSNR by edit of the middle picture of a panel; of darkened ones on the right, over all edits."""
    scores: dict[str, float] = {}
    darker = []
    for name in OTHERS:
        generator = torch.Generator().manual_seed(1)
        clean = [random_crop((picture,), _CROP, generator, _ZOOM)[0] for picture in held_out[:_HELD_OUT]]
        given, wanted = (
            torch.stack(x) for x in zip(*(make_panel(name, True, c, generator) for c in clean), strict=True)
        )
        reference = backbone.encode(reference_panel(given))
        latents = sample(backbone, reference, encode(panel_sentence(name, True)), Sampling(_STEPS))
        made = cut_panels(backbone.decode(latents).clamp(0, 1))
        _, middle, right = (mean_psnr(*pair) for pair in zip(made, cut_panels(wanted), strict=True))
        scores[name] = middle
        darker.append(right)
    return scores | {"darken": float(np.mean(darker))}


def mean_psnr(made: Tensor, wanted: Tensor) -> float:
    """Over the pictures of a batch."""
    pairs = zip(*(x.permute(0, 2, 3, 1).numpy() for x in (made, wanted)), strict=True)
    return float(np.mean([psnr(*pair) for pair in pairs]))


def edit_pictures(held_out: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """For each edit the pictures to edit and those wanted, n x 3 x 64 x 64; the same in every call."""
    generator = torch.Generator().manual_seed(1)
    clean = [random_crop((picture,), _CROP, generator, _ZOOM)[0] for picture in held_out[:_HELD_OUT]]
    return {
        name: tuple(torch.stack(x) for x in zip(*(edit.make(c, generator) for c in clean), strict=True))
        for name, edit in EDITS.items()
    }


@torch.no_grad()
def make_edit(backbone: Backbone, task: TaskEmbedding, given: Tensor) -> Tensor:
    """The edited pictures."""
    latents = sample(backbone, backbone.encode(given), task, Sampling(_STEPS))
    return backbone.decode(latents).clamp(0, 1)


def draw_sheet(
    backbone: Backbone, encode: Callable[[str], TaskEmbedding], held_out: list[Tensor]
) -> np.ndarray:
    """A row for each edit: the given, the made and the wanted picture of four."""
    rows = []
    for name, (given, wanted) in edit_pictures(held_out[:4]).items():
        made = make_edit(backbone, encode(EDITS[name].sentence), given)
        shown = [x for triple in zip(given, made, wanted, strict=True) for x in triple]
        rows.append(torch.cat([F.pad(x, (2, 2, 2, 2), value=1) for x in shown], dim=2))
    return torch.cat(rows, dim=1).permute(1, 2, 0).numpy()


def render(document: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = ["edit", "do nothing", "edited", "in a panel", "told the next edit", "VAE alone"]
    keys = ("nothing", "edited", "panel", "other_sentence", "vae")
    rows = [[name, *(f"{values[key]:.2f}" for key in keys)] for name, values in document["edits"].items()]
    return (
        "## kontext-small\n\n"
        f"The base of the small experiments: {document['parameters'] / 1e6:.1f} M parameters, trained for "
        f"{document['steps']} steps of {document['batch']} pictures of {_CROP} pixels after "
        f"{document['vae_steps']} of its VAE, then for {document['panel_steps']} on panels too. Mean PSNR in "
        f"dB over {_HELD_OUT} held-out pictures, {_STEPS} steps of sampling; told another edit's sentence it "
        "is not to do this one. In a panel the edited picture stands in the middle, the darkened one on the "
        "right. A VAE loses what its last column says, whatever the transformer does.\n\n"
        + table(head, rows)
        + "\n![For four pictures each: given, edited, wanted](kontext_small.jpg)\n"
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
    document = {
        "parameters": sum(p.numel() for part in weighted_parts(pipeline).values() for p in part.parameters()),
        **{key: getattr(options, key) for key in ("steps", "panel_steps", "vae_steps", "batch")},
        "edits": {name: {"edited": edited[name], "panel": panels[name], **others[name]} for name in EDITS},
        "machine": describe_machine(),
    }
    picture = Image.fromarray(to_8bit(sheet))
    with atomic_path(options.figures / "kontext_small.jpg", overwrite=True) as temporary:
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
            temporary, "JPEG", quality=90
        )
    write_text(options.figures / "kontext_small.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_text(options.figures / "kontext_small.md", render(document), overwrite=True)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
