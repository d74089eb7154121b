"""Measure GenSIRR's equivariant VAE on kontext-small: do mixed pictures have mixed latents?

    python -m benchmarks.flux.equivariance DATA [--seeds 1]

Trains the VAE of kontext-small (docs/models/kontext-small.md) with `clearpane train gensirr-vae`: by
reconstruction alone, with equivariance, and with equivariance to mixtures of light; then measures all on
held-out pictures. An interrupted run resumes; runs with known scores are not trained again.
Writes docs/figures/equivariance.md and .json. Needs the extras [train] and [flux].
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import tyro
from diffusers import AutoencoderKL
from torch import Tensor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish, finish_runs, known_runs
from benchmarks.common.several_runs import Run, over_pictures, spread
from benchmarks.flux.panel_cells import base_digest
from benchmarks.flux.small_base import BASE, load_base
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.tables import write_text
from clearpane.separation.flux.loading import load_vae
from clearpane.separation.gensirr.equivariant_vae import (
    MixSpace,
    equivariance_error,
    mean_latents,
    mix_pictures,
)
from clearpane.training.flux.gensirr_vae import VAE_FOLDER, TrainGensirrVae, run
from clearpane.training.pictures import load_natural, random_crop

# Differences from the common recipe.
TRAINED: dict[str, dict[str, Any]] = {
    "reconstruction alone": {"equivariance": 0.0},
    "with equivariance": {},
    "with equivariance, light mixed": {"mixing": "linear"},
}
UNTOUCHED = "untouched"
# VAEs that a claim rests on, which are therefore trained with several seeds.
CLAIMED = ("reconstruction alone", "with equivariance")
_SIDE = 64
_MOST_SEEDS = 10


@dataclass(frozen=True)
class Options:
    """Measure the equivariance of VAEs."""

    data: Positional[Path]
    """Folder with natural."""
    steps: int = 250
    """Optimiser steps of each VAE."""
    batch: int = 16
    """Mixtures per step."""
    learning_rate: float = 1e-3
    """Learning rate: ten times the published one, because there are so few steps."""
    seeds: int = 1
    """Runs of each VAE that a claim rests on; the third VAE has one."""
    workers: int = 2
    """Number of VAEs trained in parallel, with one thread each."""
    base: Path = BASE
    """Directory of kontext-small, made from the repository's weights."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of equivariance.md and equivariance.json."""
    cache: Path = ROOT / "build" / "benchmarks" / "equivariance"
    """Folder of the trained VAEs."""


def vae_recipe(options: Options, name: str, seed: int, folder: Path) -> TrainGensirrVae:
    """Return the recipe of one VAE; float32, so that it is the same on every processor."""
    return TrainGensirrVae(
        options.data / "natural",
        str(options.base),
        folder,
        steps=options.steps,
        batch=options.batch,
        side=_SIDE,
        learning_rate=options.learning_rate,
        average=0.99,
        precision="float32",
        cpu=True,
        seed=seed,
        **TRAINED[name],
    )


def vae_key(options: Options, name: str, seed: int) -> str:
    """Identify the run of a VAE among those of the same base by its recipe, not by its files' paths."""
    recipe = asdict(vae_recipe(options, name, seed, Path()))
    facts = {key: value for key, value in recipe.items() if key not in ("data", "base", "output")}
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return f"{name.replace(' ', '_').replace(',', '')}-{seed}-{digest}"


def vae_folder(options: Options, name: str, seed: int) -> Path:
    """Return the folder of a VAE's run; runs of another base have other folders."""
    return options.cache / base_digest(options.base) / vae_key(options, name, seed)


def train_vae(options: Options, name: str, seed: int) -> None:
    """Train or resume one VAE."""
    torch.set_num_threads(1)
    if run(vae_recipe(options, name, seed, vae_folder(options, name, seed))):
        raise KeyboardInterrupt


def train_vaes(options: Options, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Path]:
    """Return the directories of trained VAEs by name and seed; existing ones are not trained again."""
    folders = {key: vae_folder(options, *key) / VAE_FOLDER for key in sorted(wanted)}
    missing = [key for key, folder in folders.items() if not (folder / "config.json").is_file()]
    jobs = {f"{name}, seed {seed}": (options, name, seed) for name, seed in missing}
    for _ in finish_runs(train_vae, jobs, options.workers):
        pass
    return folders


def held_out_pairs(data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return a crop of each held-out picture, the next one as its partner, and alpha; always the same."""
    generator = torch.Generator().manual_seed(2)
    pictures = load_natural(data / "natural", held_out=True)
    crops = torch.stack([random_crop((x,), _SIDE, generator)[0] for x in pictures])
    return crops, crops.roll(1, dims=0), torch.rand(len(crops), generator=generator)


@torch.no_grad()
def score(vae: AutoencoderKL, pairs: tuple[Tensor, Tensor, Tensor]) -> dict[str, list[float]]:
    """Compute by picture the errors of equivariance over the variance of clean pictures' latents, and
    PSNR."""
    background, reflection, alpha = pairs
    latents = [mean_latents(vae, x) for x in (background, reflection)]
    scores = {"clean": psnrs(vae, latents[0], background)}
    for space in get_args(MixSpace):
        mixed = mix_pictures(background, reflection, alpha, space)
        own = mean_latents(vae, mixed)
        scores[f"{space} error"] = (equivariance_error(own, *latents, alpha) / latents[0].var()).tolist()
        scores[f"{space} mixed"] = psnrs(vae, own, mixed)
        # The visible part of the error: the decoded mixture of latents.
        scores[f"{space} from latents"] = psnrs(vae, torch.lerp(*latents, alpha[:, None, None, None]), mixed)
    return scores


def psnrs(vae: AutoencoderKL, latents: Tensor, wanted: Tensor) -> list[float]:
    """Compute the PSNR of each decoded picture."""
    shown = ((vae.decode(latents).sample + 1) / 2).clamp(0, 1)
    pairs = zip(*(x.permute(0, 2, 3, 1).numpy() for x in (shown, wanted)), strict=True)
    return [psnr(*pair) for pair in pairs]


def finished(document: dict[str, Any]) -> dict[str, dict[int, Run]]:
    """Return the scores of finished runs of each VAE by seed; only those of the current recipe."""
    by_name: dict[str, dict[int, Run]] = {}
    for key, scored in document["runs"].items():
        if key not in (UNTOUCHED, *document["shown"]):
            continue
        by_name.setdefault(scored["name"], {})[scored["seed"]] = scored["scores"]
    return {name: dict(sorted(by_name[name].items())) for name in (UNTOUCHED, *TRAINED) if name in by_name}


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    scores = finished(document)
    (before,) = scores[UNTOUCHED].values()
    rows, differences = [], []
    shown = [f"{space} {kind}" for space in get_args(MixSpace) for kind in ("mixed", "from latents")]
    for name, runs in scores.items():
        row = [name, "" if name == UNTOUCHED else str(len(runs))]
        for space in get_args(MixSpace):
            row.append(spread(runs, lambda run, s=space: 100 * float(np.mean(run[f"{s} error"]))))
        for key in ("clean", *shown):
            row.append(spread(runs, lambda run, k=key: float(np.mean(run[k]))))
        rows.append(row)
        if name != UNTOUCHED:
            keys = ("clean", "srgb mixed", "srgb from latents", "linear from latents")
            gains = [[np.subtract(run[key], before[key]) for run in runs.values()] for key in keys]
            differences.append([name, *map(over_pictures, gains)])
    return (
        "# The equivariant VAE at small scale\n\n"
        "I = (1 - a) B + a R of held-out pictures of 64 x 64 pixels, a ~ U(0, 1), "
        f"{len(before['clean'])} of them. The error is |E(I) - ((1 - a) E(B) + a E(R))|^2 over the variance "
        "of the latents of clean pictures, in percent, so that shrinking the latents gains nothing. PSNR in "
        "dB of the decoded pictures: a clean one, a mixed one, and the mixture of the two pictures' latents "
        "against the mixture of the pictures. Pictures are mixed in sRGB or in linear light. The VAE of "
        f"[kontext-small](kontext_small.md), LoRA of rank 8, {document['steps']} steps of "
        f"{document['batch']} mixtures; ± is the standard deviation over runs, where there are several. "
        "LPIPS, a part of the published loss, is left out, because its weights were not available.\n\n"
        + table(
            [
                "VAE",
                "runs",
                "error in sRGB, %",
                "in linear light, %",
                "clean",
                "mixed in sRGB",
                "its latents mixed",
                "mixed in linear light",
                "its latents mixed",
            ],
            rows,
        )
        + "\nAgainst the untouched VAE, dB, with paired 95 % bootstrap intervals over the pictures:\n\n"
        + table(
            ["VAE", "clean", "mixed in sRGB", "sRGB, latents mixed", "linear light, latents mixed"],
            differences,
        )
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Train and measure the missing VAEs; return the tables."""
    load_base(options.base)
    numbers = options.output / "equivariance.json"
    document = known_runs(numbers, base_digest(options.base))
    document |= {"steps": options.steps, "batch": options.batch, "machine": describe_machine()}
    runs = document["runs"]
    wanted = {
        vae_key(options, name, seed): (name, seed)
        for name in TRAINED
        for seed in range(options.seeds if name in CLAIMED else 1)
    }
    every = (vae_key(options, name, seed) for name in TRAINED for seed in range(_MOST_SEEDS))
    document["shown"] = [key for key in every if key in wanted or key in runs]
    missing = {key: run for key, run in wanted.items() if key not in runs}
    pairs = held_out_pairs(options.data)
    runs[UNTOUCHED] = {"name": UNTOUCHED, "seed": 0, "scores": score(load_vae(options.base), pairs)}
    folders = train_vaes(options, missing.values())
    for key, (name, seed) in missing.items():
        scores = score(AutoencoderKL.from_pretrained(folders[name, seed]), pairs)
        runs[key] = {"name": name, "seed": seed, "scores": scores}
        write_text(numbers, json.dumps(document) + "\n", overwrite=True)
    write_text(numbers, json.dumps(document) + "\n", overwrite=True)
    write_page(options.output / "equivariance.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
