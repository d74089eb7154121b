"""Write the tables of benchmarks/flux/gensirr.py as Markdown."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common.markdown import interval, table
from benchmarks.common.measuring import Machine
from benchmarks.common.several_runs import Run, over_pictures, spread
from benchmarks.flux.gensirr_branches import (
    CANDIDATES,
    SCORERS,
    correlations,
    failures,
    over_candidates,
    picked,
)
from benchmarks.flux.gensirr_cells import (
    BATCH,
    CELLS,
    CONTRASTS,
    NOISES,
    RATE,
    REAL_SHARE,
    SIDE,
    USUAL,
    USUAL_STEPS,
    Cell,
    Question,
    run_key,
)
from clearpane.evaluation.bootstrap import bootstrap_mean

Runs = dict[int, Run]
SUBSETS = {"val": "val", "scenes": "scenes", "rooms": "rooms"}
TITLES: dict[Question, str] = {
    "vae": "The VAE",
    "embedding": "The task embedding",
    "steps": "Flow matching against one step",
}


NOTES: dict[Question, str] = {
    "vae": "Each run has its own VAE seed, and a fine-tune of the transformer on that VAE.\n\n",
    "embedding": (
        "The base was not trained on this sentence: unlike for FLUX.1 Kontext it has no meaning, so that "
        "this table cannot show the value of starting from it, only that of learning.\n\n"
    ),
}


def mean_of(run: Mapping[str, Any], subset: str, metric: str = "psnr") -> float:
    return float(np.mean(run[subset][metric]))


def finished(document: Mapping[str, Any], cell: Cell) -> Runs:
    """Return the scores of a cell's finished runs, by seed."""
    vaes = {int(seed): value for seed, value in document["vaes"].get(cell.vae, {}).items()}
    keys = {seed: run_key(cell, seed, document["base"], vae) for seed, vae in vaes.items()}
    return {seed: document["runs"][key] for seed, key in keys.items() if key in document["runs"]}


def quality_row(runs: Runs) -> list[str]:
    """Format PSNR on each subset, and PSNR-G and SSIM on val."""
    row = [spread(runs, lambda run, s=subset: mean_of(run, s)) for subset in SUBSETS]
    row.append(spread(runs, lambda run: mean_of(run, "val", "psnr_g")))
    return [*row, spread(runs, lambda run: mean_of(run, "val", "ssim"), 3)]


QUALITY = [f"{title}: PSNR" for title in SUBSETS.values()] + ["val: PSNR-G", "val: SSIM"]


def render_cells(document: Mapping[str, Any], question: Question) -> str:
    """Write one question's cells, then their differences over the same pictures and seeds."""
    cells = {name: runs for name, cell in CELLS[question].items() if (runs := finished(document, cell))}
    rows = []
    for name, runs in cells.items():
        timed = [run["seconds"] / 60 for run in runs.values() if "seconds" in run]
        rows.append([name, str(len(runs)), f"{np.mean(timed):.0f}" if timed else "", *quality_row(runs)])
    text = table(["", "runs", "minutes", *QUALITY], rows)
    differences = []
    for first, second in CONTRASTS[question]:
        seeds = sorted(set(cells.get(first, {})) & set(cells.get(second, {})))
        if not seeds:
            continue
        row = [f"{first}, against {second}", str(len(seeds))]
        for subset, metric in product(SUBSETS, ("psnr", "psnr_g")):
            values = ([cells[name][seed][subset][metric] for seed in seeds] for name in (first, second))
            row.append(over_pictures([np.subtract(*pair) for pair in zip(*values, strict=True)]))
        differences.append(row)
    if not differences:
        return text
    names = [f"{title}: {name}" for title in SUBSETS.values() for name in ("PSNR", "PSNR-G")]
    return f"{text}\n{table(['difference', 'pairs of runs', *names], differences)}"


def render_others(document: Mapping[str, Any]) -> str:
    """Write the rows of doing nothing, the compact separator and the usual cell."""
    others = {
        name: {0: document["others"][key]}
        for name, key in (("do nothing", "nothing"), ("the compact separator", "compact"))
    }
    if runs := finished(document, USUAL):
        others["GenSIRR"] = runs
    small = table(["", *QUALITY], [[name, *quality_row(runs)] for name, runs in others.items()])
    names, rows = {"psnr": "PSNR", "psnr_g": "PSNR-G", "ssim": "SSIM"}, []
    for name, runs in others.items():
        row = [name]
        for subset, metric in product(("val", "scenes"), names):
            values = lambda run, s=subset, m=metric: float(np.mean(run["full size"][s][m]))  # noqa: E731
            row.append(spread(runs, values, 3 if metric == "ssim" else 2))
        rows.append(row)
    head = [f"at full size, {subset}: {name}" for subset in ("val", "scenes") for name in names.values()]
    return f"{small}\n{table(['', *head], rows)}"


def render_branches(runs: Runs) -> str:
    """Write each scorer's choices by the number of candidates: a table for each subset."""
    branches = [run["branches"] for run in runs.values()]
    return "\n".join(render_picks([b[subset] for b in branches], title) for subset, title in SUBSETS.items())


def render_picks(branches: list[dict[str, Any]], title: str) -> str:
    """Write each scorer's choices among one subset's candidates, over the runs."""

    def absolute(of: Callable[[dict[str, Any]], np.ndarray], decimals: int = 2) -> str:
        return spread(dict(enumerate(branches)), lambda b: float(np.mean(of(b))), decimals)

    rows = []
    for scorer in SCORERS:
        row = [scorer, *(absolute(lambda b, s=scorer, k=k: picked(b, s, k)) for k in CANDIDATES)]
        for metric, decimals in (("psnr_g", 2), ("ssim", 3)):
            row.append(absolute(lambda b, s=scorer, m=metric: picked(b, s, 4, m), decimals))
        for k in (4, CANDIDATES[-1]):
            row.append(
                over_pictures([picked(b, scorer, k) - over_candidates(b, k, np.mean) for b in branches])
            )
        row.append(over_pictures([over_candidates(b, 4, np.max) - picked(b, scorer, 4) for b in branches]))
        rows.append([*row, over_pictures([correlations(b, scorer) for b in branches])])
    best = [
        "the best there is",
        *(absolute(lambda b, k=k: over_candidates(b, k, np.max)) for k in CANDIDATES),
    ]
    for metric, decimals in (("psnr_g", 2), ("ssim", 3)):
        best.append(absolute(lambda b, m=metric: over_candidates(b, 4, np.max, m), decimals))
    for k in (4, CANDIDATES[-1]):
        best.append(
            over_pictures([over_candidates(b, k, np.max) - over_candidates(b, k, np.mean) for b in branches])
        )
    count, last = len(branches[0]["finals"]["psnr"]), CANDIDATES[-1]
    head = [f"{title}, n = {count}", *(f"PSNR, k = {k}" for k in CANDIDATES), "PSNR-G, k = 4", "SSIM, k = 4"]
    head += [*(f"over the mean, k = {k}" for k in (4, last)), "left to the best, k = 4", "rank correlation"]
    return table(head, [*rows, [*best, "", ""]])


def render_failures(runs: Runs) -> str:
    """Write how often the choice is worse than the average candidate, by which scene is farther."""
    rows = []
    first = next(iter(runs.values()))["branches"]["rooms"]
    farther = np.array(first["farther"])
    for scorer in SCORERS:
        row = [scorer]
        for which in (farther, ~farther):
            failed = [failures(run["branches"]["rooms"], scorer, 4)[which] for run in runs.values()]
            # The runs share their pictures: the interval is over these.
            share = bootstrap_mean(100 * np.mean(failed, axis=0))
            row.append(interval(asdict(share), sign=False, decimals=0))
        rows.append(row)
    head = [
        "rooms, k = 4",
        f"reflected scene farther, n = {int(farther.sum())}",
        f"nearer, n = {int((~farther).sum())}",
    ]
    return table(head, rows)


def render_steps(document: Mapping[str, Any]) -> str:
    """Write quality and time by the number of steps."""
    runs = {seed: run for seed, run in finished(document, USUAL).items() if "steps" in run}
    if not runs or "flow matching" not in document.get("times", {}):
        return ""
    first = next(iter(runs.values()))
    times = document["times"]
    longest = max(times["flow matching"].values())
    rows = []
    for steps in first["steps"]:
        shown = {seed: run["steps"][steps] for seed, run in runs.items()}
        seconds = times["flow matching"][steps]
        rows.append([steps, f"{1000 * seconds:.0f}", f"{seconds / longest:.2f}", *quality_row(shown)])
    name = "one step, by regression"
    regression = finished(document, CELLS["steps"][name])
    if regression and name in times:
        seconds = times[name]["1"]
        rows.append(
            [
                "1, by regression",
                f"{1000 * seconds:.0f}",
                f"{seconds / longest:.2f}",
                *quality_row(regression),
            ]
        )
    return table(["steps", "ms", "of the most", *QUALITY], rows)


def render(document: Mapping[str, Any]) -> str:
    """Write all tables as Markdown."""
    counts = {name: len(document["others"]["nothing"][name]["psnr"]) for name in SUBSETS}
    parts = [
        "# GenSIRR at small scale\n\n"
        "Fine-tunes of [kontext-small](kontext_small.md). Unless a row says otherwise: the whole transformer "
        f"and the task embedding, {USUAL.steps} steps of {BATCH} photographs at {RATE:g}, 300 analytic glass "
        f"scenes and a share of {REAL_SHARE:g} of real pairs, the [VAE with equivariance](equivariance.md); "
        f"{USUAL_STEPS} steps of sampling; metrics are means over {NOISES} noises of each photograph, others "
        f"in each run. All at {SIDE} x {SIDE} pixels, of 8 bits: the central "
        f"squares of `real_pairs/val` ({counts['val']}), rendered flat panes before held-out backgrounds "
        f"({counts['scenes']}) and rendered rooms before rendered rooms, blended in linear light with 20 to "
        f"50 % reflected ({counts['rooms']}). Training used none of their pictures or textures, but some "
        "of the environments that panes and rooms reflect. ± is the standard deviation "
        "over runs, where there are several; intervals are paired 95 % bootstrap intervals over the pictures "
        "and do not include the effect of another seed. Minutes are of one thread, none where a run was "
        "interrupted. Training uses pictures "
        "of several shapes of that area. The compact separator gets photographs at their own size, and "
        "its result is shrunk; rooms exist only at this size. At full size GenSIRR's result is transferred "
        "to the photograph as `clearpane remove` does it.\n\n"
        "![Photographs, T by flow matching, T in one step, ground truth](gensirr.jpg)\n\nFrom top: the first "
        "photographs, scenes and rooms, T by flow matching, T in one step, ground truth; from one run.\n\n"
        + render_others(document)
    ]
    for question, title in TITLES.items():
        if any(finished(document, cell) for cell in CELLS[question].values()):
            parts.append(f"## {title}\n\n{NOTES.get(question, '')}{render_cells(document, question)}")
    steps = render_steps(document)
    if steps:
        parts.append(
            "## Fewer steps\n\nMilliseconds for one photograph on one thread, encoding and decoding "
            f"included.\n\n![Quality over time](gensirr_steps.svg)\n\n{steps}"
        )
    branched = {seed: run for seed, run in finished(document, USUAL).items() if "branches" in run}
    if branched:
        parts.append(
            "## Early branching\n\nAll candidates were sampled to the end. PSNR in dB of the chosen one "
            "of the first k, then its gain over their mean, which is what a random choice gives, and "
            "the distance to the best of them; Spearman's correlation "
            "of a scorer's values with the final PSNR over the 16 candidates of a photograph, mean over "
            "photographs. The truth scores the first step's prediction, the best is that of the final "
            "pictures. Depth is that of the [small estimator](small_depth.md), which was trained on "
            "rooms like those here, but not on photographs like those of val and scenes.\n\n"
            + render_branches(branched)
        )
        parts.append(
            "Choices that end below the mean of their candidates, in percent with 95 % intervals, where the "
            "reflected scene is farther away than the background and where it is nearer:\n\n"
            + render_failures(branched)
        )
    return "\n\n".join(parts) + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"
