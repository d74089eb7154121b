"""Train kontext-small, the base of every experiment with FLUX.1 Kontext's kind of model, and measure it.

    python benchmarks/kontext_small.py DATA

An instruction editor of 9 M parameters, made of the classes of FLUX.1 Kontext: a VAE (a quarter of the
resolution, 16 channels), two text encoders and a transformer. First the VAE learns to give natural pictures
back, then the others the edits of edits.py, each with its sentence. Writes build/benchmarks/kontext-small,
a directory that stock diffusers opens, and docs/figures/kontext_small.{md,json,jpg}. An interrupted run goes
on. Needs the extras [train] and [flux].
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from diffusers import FluxKontextPipeline
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr, to_8bit
from clearpane.evaluation.tables import write_text
from clearpane.images.writing import atomic_path
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.synthesis.caption import PANEL_CAPTION
from clearpane.training.flow_matching import flow_matching_loss
from clearpane.training.loop import (
    AveragedWeights,
    TrainingState,
    append_json_line,
    cosine_learning_rate,
    step_generator,
)
from clearpane.training.losses import gradient_loss
from clearpane.training.pictures import load_natural, random_crop
from clearpane.training.small_kontext import T5_LENGTH, SmallKontext, new_pipeline
from edits import EDITS
from markdown import table
from measuring import FOLDER, Machine, describe_machine

# GenSIRR's, so that its words are known to the tokenizers.
REMOVAL_SENTENCE = "please remove the reflection within the image."
SENTENCES = [edit.sentence for edit in EDITS.values()] + [PANEL_CAPTION, REMOVAL_SENTENCE]
_KL_WEIGHT = 1e-4
_HELD_OUT, _STEPS = 32, 8


@dataclass(frozen=True)
class Options:
    """Train the base of the small experiments."""

    data: Positional[Path]
    """Folder with natural."""
    vae_steps: int = 3000
    """Optimiser steps of the VAE."""
    steps: int = 8000
    """Optimiser steps of the transformer and the text encoders."""
    crop: int = 64
    """Side of a training picture in pixels."""
    batch: int = 16
    """Pictures a step."""
    seed: int = 0
    """Seed of all randomness."""
    threads: int = 2
    """CPU threads."""
    output: Path = FOLDER.parent / "build" / "benchmarks" / "kontext-small"
    """Directory of the pipeline."""
    figures: Path = FOLDER.parent / "docs" / "figures"
    """Folder of kontext_small.md, .json and .jpg."""


def vae_loss(vae: nn.Module, pictures: Tensor, generator: Generator) -> Tensor:
    """``|D(z) - x| + gradients + 1e-4 KL``, z drawn from the posterior; the KL is the mean over latents."""
    posterior = vae.encode(2 * pictures - 1).latent_dist
    mean, deviation = posterior.mean.float(), posterior.std.float()
    drawn = mean + deviation * torch.randn(mean.shape, generator=generator)
    result = (vae.decode(drawn).sample.float() + 1) / 2
    divergence = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
    return (result - pictures).abs().mean() + gradient_loss(result, pictures).mean() + _KL_WEIGHT * divergence


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
    peak: float,
    loss_of: Callable[[Generator], Tensor],
) -> TrainingState:
    """Train one stage, or go on with it; the model is left with its averaged weights."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=1e-2, fused=True)
    recipe = {"steps": steps, "crop": options.crop, "batch": options.batch, "seed": options.seed}
    state = TrainingState(model, AveragedWeights(model), optimizer, recipe=recipe)
    checkpoint = options.output / f"{name}.safetensors"
    if checkpoint.exists():
        state.load(checkpoint)
    started, first, losses = time.monotonic(), state.step, []
    while state.step < steps:
        for group in optimizer.param_groups:
            group["lr"] = cosine_learning_rate(state.step, steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(step_generator(options.seed, state.step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state.average.update(model)
        state.step += 1
        losses.append(loss.item())
        if state.step % 50 == 0 or state.step == steps:
            minutes = (time.monotonic() - started) / 60
            left = minutes / (state.step - first) * (steps - state.step)
            facts = {"step": state.step, "loss": float(np.mean(losses)), "minutes_left": left}
            append_json_line(options.output / f"{name}.jsonl", facts)
            print(f"{name}: {', '.join(f'{k} {v:.4g}' for k, v in facts.items())}", flush=True)
            losses.clear()
        if state.step % 500 == 0 or state.step == steps:
            state.save(checkpoint)
    model.load_state_dict(state.average.weights)
    return state


def train_vae(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """The first stage. Afterwards latents have mean 0 and variance 1 over natural pictures."""
    vae = pipeline.vae

    def draw(generator: Generator) -> Tensor:
        indices = torch.randint(len(pictures), (options.batch,), generator=generator).tolist()
        return torch.stack([random_crop((pictures[i],), options.crop, generator, 2.5)[0] for i in indices])

    train("vae", options, vae, options.vae_steps, 1e-3, lambda g: vae_loss(vae, draw(g), g))
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        generator = step_generator(options.seed, options.vae_steps)
        latents = torch.cat([vae.encode(2 * draw(generator) - 1).latent_dist.mode() for _ in range(16)])
    vae.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train_editor(options: Options, pipeline: FluxKontextPipeline, pictures: list[Tensor]) -> None:
    """The second stage."""
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    edits = list(EDITS.values())

    def loss_of(generator: Generator) -> Tensor:
        before, after, sentences = [], [], []
        for _ in range(options.batch):
            index, kind = (
                int(torch.randint(n, (), generator=generator)) for n in (len(pictures), len(edits))
            )
            clean = random_crop((pictures[index],), options.crop, generator, 5)[0]
            given, wanted = edits[kind].make(clean, generator)
            before.append(given)
            after.append(wanted)
            sentences.append(edits[kind].sentence)
        with torch.no_grad():
            latents = backbone.encode(torch.cat([torch.stack(before), torch.stack(after)])).float()
        reference, target = latents.chunk(2)
        task = encode_task(pipeline, sentences)
        return flow_matching_loss(backbone, target, reference, task, DEFAULT_GUIDANCE, generator)

    train("editor", options, Editor(pipeline), options.steps, 1e-3, loss_of)


@torch.no_grad()
def evaluate(
    options: Options, pipeline: FluxKontextPipeline, held_out: list[Tensor]
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Mean PSNR by edit, and a sheet: the given, the made and the wanted picture of four, an edit a row."""
    backbone = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, pipeline.device)
    generator = torch.Generator().manual_seed(1)
    clean = [random_crop((p,), options.crop, generator, 5)[0] for p in held_out[:_HELD_OUT]]
    rows, sheet = {}, []
    names = list(EDITS)
    for index, name in enumerate(names):
        given, wanted = (
            torch.stack(x) for x in zip(*(EDITS[name].make(c, generator) for c in clean), strict=True)
        )
        other = names[(index + 1) % len(names)]
        made = {}
        for sentence in (EDITS[name].sentence, EDITS[other].sentence):
            task = encode_task(pipeline, [sentence])
            latents = sample(backbone, backbone.encode(given), task, Sampling(_STEPS))
            made[sentence] = backbone.decode(latents).clamp(0, 1)
        right, wrong = made.values()
        rebuilt = backbone.decode(backbone.encode(wanted)).clamp(0, 1)

        def mean_psnr(pictures: Tensor, wanted: Tensor = wanted) -> float:
            both = (x.permute(0, 2, 3, 1).numpy() for x in (pictures, wanted))
            return float(np.mean([psnr(a, b) for a, b in zip(*both, strict=True)]))

        rows[name] = {
            "nothing": mean_psnr(given),
            "edited": mean_psnr(right),
            "other_sentence": mean_psnr(wrong),
            "vae": mean_psnr(rebuilt),
        }
        shown = [x for i in range(4) for x in (given[i], right[i], wanted[i])]
        sheet.append(torch.cat([F.pad(x, (2, 2, 2, 2), value=1) for x in shown], dim=2))
    pixels = torch.cat(sheet, dim=1).permute(1, 2, 0).numpy()
    return rows, pixels


def render(document: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = ["edit", "do nothing", "edited", "told the next edit", "VAE alone"]
    keys = ("nothing", "edited", "other_sentence", "vae")
    rows = [[name, *(f"{values[key]:.2f}" for key in keys)] for name, values in document["edits"].items()]
    return (
        "## kontext-small\n\n"
        f"The base of the small experiments: {document['parameters'] / 1e6:.1f} M parameters, trained for "
        f"{document['steps']} steps of {document['batch']} pictures of {document['crop']} pixels after "
        f"{document['vae_steps']} of its VAE. Mean PSNR in dB over {_HELD_OUT} held-out pictures, {_STEPS} "
        "steps of sampling; told another edit's sentence it is not to do this one. A VAE loses what its "
        "last column says, whatever the transformer does.\n\n"
        + table(head, rows)
        + "\n![For four pictures each: given, edited, wanted](kontext_small.jpg)\n"
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Train what is missing, then measure."""
    try:
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        options.output.mkdir(parents=True, exist_ok=True)
        pipeline = new_pipeline(SmallKontext(), SENTENCES)
        pictures = load_natural(options.data / "natural")
        train_vae(options, pipeline, pictures)
        train_editor(options, pipeline, pictures)
        pipeline.save_pretrained(options.output)
        rows, sheet = evaluate(options, pipeline, load_natural(options.data / "natural", held_out=True))
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    parts = (pipeline.vae, pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2)
    document = {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        **{key: getattr(options, key) for key in ("steps", "vae_steps", "batch", "crop")},
        "edits": rows,
        "machine": describe_machine(),
    }
    picture = Image.fromarray(to_8bit(sheet))
    with atomic_path(options.figures / "kontext_small.jpg", overwrite=True) as temporary:
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
            temporary, "JPEG", quality=90
        )
    write_text(options.figures / "kontext_small.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_text(options.figures / "kontext_small.md", render(document), overwrite=True)
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
