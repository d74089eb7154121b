"""Write the tables of benchmarks/flux/pretrained_base.py as Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.markdown import table
from benchmarks.common.measuring import Machine
from benchmarks.common.several_runs import over_pictures, spread
from benchmarks.flux import gensirr_tables, panel_cells
from benchmarks.flux.gensirr_branches import SCORERS, over_candidates, picked
from benchmarks.flux.pretrained_base_cells import BRANCHES, CELLS, GENSIRR_TWINS, PANEL_TWINS
from clearpane.evaluation.bootstrap import bootstrap_mean

Runs = dict[int, dict[str, Any]]
SUBSETS = ("val", "scenes")
_CONTRASTS = {
    "with equivariance, against latents as they are": ("GenSIRR", "GenSIRR, latents as they are"),
    "learned embedding, against the sentence's own": ("GenSIRR", "GenSIRR, the sentence's own embedding"),
}


def runs_of(document: Mapping[str, Any], name: str) -> Runs:
    """Return the finished runs of a cell by seed."""
    known = {key.rpartition(", seed "): run for key, run in document["runs"].items()}
    return {int(seed): run for (cell, _, seed), run in sorted(known.items()) if cell == name}


def render(document: Mapping[str, Any], figures: Path) -> str:
    """Write the tables.

    Args:
        figures: Folder with the figures of kontext-small, which are shown beside these.
    """
    others = {
        name: json.loads((figures / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("kontext_small", "panel", "gensirr")
    }
    parts = [
        _introduction(document, others["kontext_small"]),
        _base(document, others["kontext_small"]),
        _panel(document, others["panel"]),
        _by_heart(document, others["panel"]),
        _gensirr(document, others["gensirr"]),
        _branching(document),
        _verdict(document),
        f"<sub>{Machine(**document['machine'])}.</sub>\n",
    ]
    return "\n".join(parts)


def _introduction(document: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    steps = sum(other[key] for key in ("steps", "panel_steps", "again_steps"))
    return (
        "# The small editor on a pretrained latent space\n\n"
        "[kontext-small](kontext_small.md) with the tiny autoencoder of FLUX.2's latents (taef2, 32 channels "
        "at 1/8) in place of its own VAE (16 channels at 1/4). The transformer keeps its weights but for the "
        f"first and last layers, and was trained for {document['base_steps']} steps on the same edits and "
        f"panels; kontext-small had {steps:,}. The pictures are the same ones of 64 x 64 pixels, so a "
        "picture has 16 tokens instead of 64. "
        "The fine-tunes have the steps, rates and pictures of [the panel's](panel.md) and "
        f"[GenSIRR's](gensirr.md), except that runs share {document['batches']} batches drawn once; a run "
        "has its own order, noises and, with equivariance, its own LoRA of the autoencoder "
        "([as here](pretrained_latents.md)). PSNR of T in dB, 8 bits, on `real_pairs/val` (18) and on "
        "rendered flat panes before held-out backgrounds (60). Intervals are paired 95 % bootstrap intervals "
        "over the pictures; ± is the standard deviation over the runs. The columns of kontext-small are "
        "those of its own pages, whose scenes an earlier version of the renderer drew: compare them on val, "
        "and on scenes by their gains.\n"
    )


def _base(document: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    rows = []
    for name, own in document["edits"].items():
        old = other["edits"][name]
        cells = [own["nothing"], own["edited"], old["edited"], own["panel"], old["panel"]]
        rows.append([name, *(f"{x:.2f}" for x in (*cells, own["vae"], old["vae"]))])
    head = ["edit", "do nothing", "edited", "kontext-small", "in a panel", "kontext-small"]
    return "## The base's own edits\n\n" + table([*head, "VAE alone", "kontext-small's VAE"], rows)


def _twins(other: Mapping[str, Any], cell: panel_cells.Cell) -> Runs:
    keys = {seed: panel_cells.run_key(cell, seed, other["base"]) for seed in range(other["seeds"])}
    return {seed: other["runs"][key] for seed, key in keys.items() if key in other["runs"]}


def _gains(runs: Runs, subset: str, end: str = "") -> str:
    return over_pictures(
        [np.subtract(run[subset][f"t{end}"], run[subset][f"nothing{end}"]) for run in runs.values()]
    )


def _panel(document: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    rows = []
    for name in ("panel", "T alone"):
        runs, twins = runs_of(document, name), _twins(other, PANEL_TWINS[name])
        for label, shown in ((name, runs), (f"{name}, kontext-small", twins)):
            if not shown:
                continue
            row = [label, str(len(shown))]
            for subset in SUBSETS:
                row.append(spread(shown, lambda run, s=subset: float(np.mean(run[s]["t"]))))
                row += [_gains(shown, subset), _gains(shown, subset, "_g")]
            rows.append(row)
    limits = []
    for label, shown in (("taef2", document["shown"]), ("kontext-small's VAE", other["shown"])):
        limits.append(f"{label} {np.mean(shown['val']['t']):.2f} and {np.mean(shown['scenes']['t']):.2f}")
    head = ["", "runs"]
    for subset in SUBSETS:
        head += [f"{subset}: T", "gain over doing nothing", "gain in PSNR-G"]
    return (
        "## The panel\n\n" + table(head, rows) + "\nThe true T through the autoencoder, on val and scenes: "
        f"{'; '.join(limits)} dB.\n"
    )


def _by_heart(document: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name, cell in CELLS.items() if cell.scene is not None and runs_of(document, name)]
    rows = []
    for name in names:
        for label, runs in (
            (name, runs_of(document, name)),
            (f"{name}, kontext-small", _twins(other, PANEL_TWINS[name])),
        ):
            if runs:
                run = runs[min(runs)]
                scores = [run[part][layer] for part in ("own scene", "ceiling", "as shown") for layer in "tr"]
                scores.insert(0, run["own scene"]["nothing"])
                rows.append([label.removeprefix("by heart: "), *(f"{np.mean(x):.2f}" for x in scores)])
    limits = ["T through the VAE", "R through the VAE", "T against that", "R against that"]
    return (
        "## One scene by heart\n\nOne run each. Where doing nothing differs, the earlier renderer drew "
        "another scene.\n\n" + table(["", "do nothing: T", "T", "R", *limits], rows)
    )


def _gensirr(document: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    rows = []
    for label in ("nothing", "compact"):
        own = {subset: document["others"][subset][label] for subset in SUBSETS}
        means = [np.mean(own[s][m]) for s, m in (("val", "psnr"), ("val", "psnr_g"), ("scenes", "psnr"))]
        name = "do nothing" if label == "nothing" else "the compact separator"
        rows.append([name, "", *(f"{x:.2f}" for x in means), f"{np.mean(own['val']['ssim']):.3f}"])
    for name, twin in GENSIRR_TWINS.items():
        for label, runs in (
            (name, runs_of(document, name)),
            (f"{name}, kontext-small", gensirr_tables.finished(other, twin)),
        ):
            if runs:
                rows.append([label, str(len(runs)), *_quality(runs)])
    contrasts = []
    for label, (first, second) in _CONTRASTS.items():
        one, two = runs_of(document, first), runs_of(document, second)
        seeds = sorted(one.keys() & two.keys())
        if not seeds:
            continue
        row = [label, str(len(seeds))]
        for subset in SUBSETS:
            for metric in ("psnr", "psnr_g"):
                differences = [
                    np.subtract(one[seed][subset][metric], two[seed][subset][metric]) for seed in seeds
                ]
                row.append(over_pictures(differences))
        contrasts.append(row)
    return (
        "## GenSIRR\n\n"
        "With equivariance and a learned task embedding, unless the row says otherwise.\n\n"
        + table(["", "runs", "val: PSNR", "val: PSNR-G", "scenes: PSNR", "val: SSIM"], rows)
        + "\n"
        + table(
            [
                "difference",
                "pairs of runs",
                "val: PSNR",
                "val: PSNR-G",
                "scenes: PSNR",
                "scenes: PSNR-G",
            ],
            contrasts,
        )
    )


def _quality(runs: Runs) -> list[str]:
    cells = [
        spread(runs, lambda run, s=subset, m=metric: gensirr_tables.mean_of(run, s, m))
        for subset, metric in (("val", "psnr"), ("val", "psnr_g"), ("scenes", "psnr"))
    ]
    return [*cells, spread(runs, lambda run: gensirr_tables.mean_of(run, "val", "ssim"), 3)]


def _branching(document: Mapping[str, Any]) -> str:
    runs = runs_of(document, "GenSIRR")
    tables = []
    for subset in SUBSETS if runs else ():
        rows = []
        for scorer in SCORERS:
            chosen = {seed: picked(run["branches"][subset], scorer, BRANCHES) for seed, run in runs.items()}
            means = {
                seed: over_candidates(run["branches"][subset], BRANCHES, np.mean)
                for seed, run in runs.items()
            }
            best = {
                seed: over_candidates(run["branches"][subset], BRANCHES, np.max) for seed, run in runs.items()
            }
            rows.append(
                [
                    scorer,
                    spread(
                        {seed: {"x": x} for seed, x in chosen.items()}, lambda run: float(run["x"].mean())
                    ),
                    over_pictures([chosen[seed] - means[seed] for seed in runs]),
                    over_pictures([best[seed] - chosen[seed] for seed in runs]),
                ]
            )
        tables.append(table([subset, "PSNR", "over the mean of the candidates", "left to the best"], rows))
    return (
        f"## Early branching, k = {BRANCHES}\n\n"
        "PSNR in dB of the candidate that each scorer picks after the first step, all sampled to the end. "
        "The truth scores the first step's prediction.\n\n" + "\n".join(tables)
    )


def beating_nothing(document: Mapping[str, Any]) -> list[str]:
    """Name the cells whose mean T is above doing nothing on val by an interval without 0."""
    names = []
    for name, cell in CELLS.items():
        runs = runs_of(document, name)
        if cell.scene is not None or not runs:
            continue
        gains = np.mean([gains_on_val(run, document) for run in runs.values()], axis=0)
        if bootstrap_mean(gains).low > 0:
            names.append(name)
    return names


def gains_on_val(run: Mapping[str, Any], document: Mapping[str, Any]) -> Sequence[float]:
    """Return the gains in PSNR over doing nothing by picture."""
    if "t" in run["val"]:
        return np.subtract(run["val"]["t"], run["val"]["nothing"]).tolist()
    return np.subtract(run["val"]["psnr"], document["others"]["val"]["nothing"]["psnr"]).tolist()


def _verdict(document: Mapping[str, Any]) -> str:
    names = beating_nothing(document)
    if names:
        return f"On val, doing nothing is beaten by: {'; '.join(names)}.\n"
    return "None of these models beats doing nothing on val, so none is offered.\n"
