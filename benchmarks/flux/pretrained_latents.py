"""Measure GenSIRR's premise on a pretrained latent space: do mixed pictures have mixed latents?

    python -m benchmarks.flux.pretrained_latents DATA [--seeds 3]

A tiny autoencoder of FLUX.2's latents is measured as it is, and with a LoRA of rank 8 that is trained by
reconstruction alone, or with the equivariance loss too. Writes docs/figures/pretrained_latents.md and .json,
and resumes from them. Needs the extras [train] and [flux].
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish, finish_runs, known_runs
from benchmarks.common.several_runs import over_pictures, spread
from benchmarks.flux.equivariance import held_out_pairs, score
from benchmarks.flux.tiny_autoencoder import TinyAutoencoder, load_tiny_autoencoder
from clearpane.evaluation.tables import write_text
from clearpane.training.flux.gensirr_vae import EquivariantLoss, TrainGensirrVae, draw_pictures
from clearpane.training.loop import step_generator
from clearpane.training.pictures import load_natural

UNTOUCHED = "as it is"
# Weights of the equivariance loss.
TRAINED = {"LoRA, reconstruction alone": 0.0, "LoRA, with equivariance": 1.0}


@dataclass(frozen=True)
class Options:
    """Measure the equivariance of a pretrained autoencoder."""

    data: Positional[Path]
    """Folder with natural and weights."""
    steps: int = 60
    """Optimiser steps of each LoRA."""
    batch: int = 8
    """Mixtures per step."""
    side: int = 64
    """Side of the pictures trained on, in pixels."""
    learning_rate: float = 3e-4
    """Learning rate, constant."""
    seeds: int = 3
    """Runs of each LoRA."""
    workers: int = 1
    """Number of runs in parallel, with one thread each."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""


def load_adapted(options: Options, name: str, seed: int) -> TinyAutoencoder:
    """Load the autoencoder, and train one LoRA of it if the name asks for it."""
    torch.manual_seed(seed)
    vae = load_tiny_autoencoder(options.data / "weights")
    if name == UNTOUCHED:
        return vae
    vae.requires_grad_(False)
    layers = [layer for layer, part in vae.named_modules() if isinstance(part, nn.Conv2d)]
    inject_adapter_in_model(LoraConfig(r=8, lora_alpha=8, target_modules=layers), vae)
    recipe = TrainGensirrVae(
        options.data, "", Path(), precision="float32", equivariance=TRAINED[name], seed=seed
    )
    loss_of = EquivariantLoss(recipe, vae)  # type: ignore[arg-type]  # it encodes and decodes alike
    pictures = load_natural(options.data / "natural")
    learnt = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, options.learning_rate, weight_decay=1e-2)
    for step in range(options.steps):
        drawn = draw_pictures(pictures, options.batch, options.side, step_generator(seed, step))
        loss = loss_of(*drawn)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
    return vae.requires_grad_(False)


def score_run(options: Options, name: str, seed: int) -> dict[str, list[float]]:
    """Train one LoRA, if the name asks for it, and score it on held-out pictures."""
    torch.set_num_threads(1)
    vae = load_adapted(options, name, seed)
    return score(vae, held_out_pairs(options.data))  # type: ignore[arg-type]


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    by_name: dict[str, dict[str, Any]] = {}
    for key, run in document["runs"].items():
        by_name.setdefault(key.rpartition(", seed ")[0], {})[key] = run
    (before,) = by_name[UNTOUCHED].values()
    rows, differences = [], []
    for name, runs in by_name.items():
        row = [name, str(len(runs))]
        for space in ("srgb", "linear"):
            row.append(spread(runs, lambda run, s=space: 100 * float(np.mean(run[f"{s} error"]))))
        keys = ("clean", "srgb mixed", "srgb from latents", "linear mixed", "linear from latents")
        row += [spread(runs, lambda run, k=key: float(np.mean(run[k]))) for key in keys]
        rows.append(row)
        if name != UNTOUCHED:
            gains = [[np.subtract(run[key], before[key]) for run in runs.values()] for key in keys]
            differences.append([name, *map(over_pictures, gains)])
    columns = ["clean", "mixed in sRGB", "its latents mixed", "mixed in linear light", "its latents mixed"]
    return (
        "# GenSIRR's premise on a pretrained latent space\n\n"
        "A tiny autoencoder of FLUX.2's latents (taef2, 32 channels at 1/8) on "
        f"{len(before['clean'])} held-out pictures of 64 x 64 pixels, I = (1 - a) B + a R, a ~ U(0, 1). The "
        "error is |E(I) - ((1 - a) E(B) + a E(R))|^2 over the variance of the latents of clean pictures, in "
        "percent. PSNR in dB of decoded pictures: clean ones, mixed ones, and the mixture of the two "
        f"pictures' latents against the mixture of the pictures. LoRAs of rank 8, {document['steps']} steps "
        f"of {document['batch']} mixtures; ± is the standard deviation over the runs.\n\n"
        + table(["", "runs", "error in sRGB, %", "in linear light, %", *columns], rows)
        + "\nAgainst the autoencoder as it is, dB, with paired 95 % intervals over the pictures:\n\n"
        + table(["", *columns], differences)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Train and score the missing runs; return the tables."""
    numbers = options.output / "pretrained_latents.json"
    facts = [options.steps, options.batch, options.side, options.learning_rate]
    document = known_runs(numbers, str(facts))
    document |= {"steps": options.steps, "batch": options.batch, "machine": describe_machine()}
    jobs = {f"{UNTOUCHED}, seed 0": (options, UNTOUCHED, 0)}
    jobs |= {f"{n}, seed {s}": (options, n, s) for n in TRAINED for s in range(options.seeds)}
    missing = {key: job for key, job in jobs.items() if key not in document["runs"]}
    for key, scores in finish_runs(score_run, missing, options.workers):
        document["runs"][key] = scores
        write_text(numbers, json.dumps(document) + "\n", overwrite=True)
    document["runs"] = {key: document["runs"][key] for key in jobs}
    write_text(numbers, json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "pretrained_latents.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
