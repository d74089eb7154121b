"""Write the tables of benchmarks/flux/panel.py as Markdown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.common.markdown import table
from benchmarks.common.measuring import Machine
from benchmarks.common.several_runs import Run, over_pictures, spread
from benchmarks.flux.panel_cells import (
    BASELINES,
    BATCH,
    CELLS,
    FULL_RATE,
    LORA_RATE,
    RANK,
    TITLES,
    USUAL,
    Cell,
    Question,
    run_key,
)
from benchmarks.flux.panel_scores import SAMPLING_STEPS

Runs = dict[int, Run]
SEEN = {"scenes": "scenes", "val": "val"}
FULL_SIZE = {"scenes, full size": "scenes at 192 px", "val, full size": "val at its own size"}
NOTES: dict[Question, str] = {
    "overfit": (
        "The scene is used whole, mirrored half the time. The second was chosen of the 200 by the VAE's "
        "reproduction alone, before any training on it.\n\n"
    ),
    "data": (
        "The held-out scenes come from the renderer and the sampler of the analytic ones, so that row has an "
        "advantage there. The blends differ in what they call T and R: CEILNet's T is B, RDNet's is "
        "brighter, R of some is not the light that was added. All are 200 fixed pictures.\n\n"
    ),
    "caption": "The base was trained on neither; both are constants to it.\n\n",
    "samples": "Chosen by the run's seed from 200 scenes, the 300 from 300.\n\n",
    "target": (
        "T alone uses the same sentence. Its steps have 192 tokens, the panel's 448, so equal "
        "tokens are 7 / 3 of the steps, and of the photographs.\n\n"
    ),
    "side": "At the pictures' own size, as `clearpane remove` makes them.\n\n",
    "length": "Three times the usual length.\n\n",
}


def gain(run: Run, subset: str, key: str = "") -> np.ndarray:
    """Compute the gain of each picture over doing nothing."""
    return np.subtract(run[subset][f"t{key}"], run[subset][f"nothing{key}"])


def render_overfit(cells: dict[str, Runs]) -> str:
    """Write the table of the overfitted scenes."""
    rows = []
    for name, subset, keys in (
        ("do nothing", "own scene", ("nothing", "")),
        ("predicted", "own scene", ("t", "r")),
        ("the true panel through the VAE", "ceiling", ("t", "r")),
        ("predicted, against that one", "as shown", ("t", "r")),
    ):
        row = [name]
        for runs in cells.values():
            row += [spread(runs, lambda run, s=subset, k=k: run[s][k][0]) if k else "" for k in keys]
        rows.append(row)
    head = ["PSNR, dB", *(f"{scene}: {layer}" for scene in cells for layer in ("T", "R"))]
    return table(head, rows)


def render_cells(cells: dict[str, Runs], subsets: dict[str, str]) -> str:
    """Write the gains of one question's cells."""
    head = ["", "runs", "minutes", "R on scenes"]
    for title in subsets.values():
        head += [f"{title}: T", "gain", "gain in PSNR-G"]
    rows = []
    for name, runs in cells.items():
        some = next(iter(runs.values()))
        r = spread(runs, lambda run: float(np.mean(run["scenes"]["r"]))) if some["scenes"]["r"] else ""
        timed = [run["seconds"] / 60 for run in runs.values() if run["seconds"]]
        row = [name, str(len(runs)), f"{np.mean(timed):.0f}" if timed else "", r]
        for subset in subsets:
            row.append(spread(runs, lambda run, s=subset: float(np.mean(run[s]["t"]))))
            row += [over_pictures([gain(run, subset, key) for run in runs.values()]) for key in ("", "_g")]
        rows.append(row)
    return table(head, rows)


def render_differences(cells: dict[str, Runs], baseline: str, subsets: dict[str, str]) -> str:
    """Write each cell against one of them, over the same pictures and seeds."""
    rows = []
    for name, runs in cells.items():
        seeds = sorted(set(runs) & set(cells[baseline]))
        if name == baseline or not seeds:
            continue
        row = [f"{name}, against {baseline}", str(len(seeds))]
        for subset in subsets:
            for key in ("t", "t_g"):
                pairs = [(runs[seed][subset][key], cells[baseline][seed][subset][key]) for seed in seeds]
                row.append(over_pictures([np.subtract(*pair) for pair in pairs]))
        rows.append(row)
    head = ["difference", "pairs of runs"]
    for title in subsets.values():
        head += [f"{title}: PSNR", f"{title}: PSNR-G"]
    return table(head, rows)


def render_edits(cells: dict[str, Runs], document: Mapping[str, Any]) -> str:
    """Write the remaining quality of the base's own edits."""
    names = list(document["edits"]["base"])
    rows = [
        [name, *(f"{document['edits'][key][edit]:.2f}" for edit in names)]
        for name, key in (("do nothing", "nothing"), ("the base", "base"))
    ]
    for name, runs in cells.items():
        rows.append([name, *(spread(runs, lambda run, e=edit: run["edits"][e]) for edit in names)])
    return table(["the base's own edits, PSNR in dB", *names], rows)


def render_kept(runs: Runs) -> str:
    """Write the table of unchanged pixels."""
    rows = []
    for name in next(iter(runs.values()))["kept"]:
        mean = lambda run, key, n=name: float(np.mean(run["kept"][n][key]))  # noqa: E731
        keys = ("psnr", "own", "gain")
        rows.append([name, *(spread(runs, lambda run, m=mean, k=k: m(run, k)) for k in keys)])
    head = ["", "half without glass: PSNR to the photograph", "own pixels, %", "other half: gain, dB"]
    return table(head, rows)


def render_samplings(runs: Runs) -> str:
    """Write T and R of the usual cell on the scenes, by the sampling settings."""
    rows = []
    for name in next(iter(runs.values()))["sampling"]:
        scored = {seed: run["sampling"][name] for seed, run in runs.items()}
        gains = [np.subtract(x["t"], x["nothing"]) for x in scored.values()]
        means = [spread(scored, lambda x, k=k: float(np.mean(x[k]))) for k in ("t", "t_g", "r")]
        rows.append([name, *means, over_pictures(gains)])
    return table(["", "T", "T, PSNR-G", "R", "T's gain"], rows)


def finished(document: Mapping[str, Any], cell: Cell) -> Runs:
    """Return the scores of a cell's finished runs, by seed."""
    keys = {seed: run_key(cell, seed, document["base"]) for seed in range(document["seeds"])}
    return {seed: document["runs"][key] for seed, key in keys.items() if key in document["runs"]}


def render(document: Mapping[str, Any]) -> str:
    """Write all tables as Markdown."""
    usual = finished(document, USUAL)
    layers = (
        ("the true T of scenes", "scenes", "t"),
        ("their R", "scenes", "r"),
        ("the truths of val", "val", "t"),
    )
    shown = ", ".join(
        f"{title} at {np.mean(document['shown'][subset][key]):.1f} dB" for title, subset, key in layers
    )
    counted = [f"{len(run[s]['t'])} {s}" for run in list(usual.values())[:1] for s in SEEN]
    parts = [
        "# The panel at small scale\n\n"
        "SIRR-LMM's panel on [kontext-small](kontext_small.md). Unless a row says otherwise: "
        f"{USUAL.steps} steps of {BATCH} photographs, a LoRA of rank {RANK} (learning rate {LORA_RATE:g}; "
        f"the whole transformer {FULL_RATE:g}) on {USUAL.samples} analytic scenes, pictures of "
        f"{USUAL.side} x {USUAL.side}, all square: the small transformer needs much longer for "
        "panels of several shapes. PSNR in dB of T at the panel's size, 8 bits, on rendered flat "
        "panes with held-out backgrounds (against the physical T, which the glass dims) and on the "
        "central squares of `real_pairs/val` (against the scene without the glass: PSNR-G, which ignores "
        f"brightness, is the fairer figure there); the VAE itself reproduces {shown}. "
        f"{SAMPLING_STEPS} steps of sampling, one seed of the"
        f" noise. n: {', '.join(counted)}. Gains are over doing nothing, with paired 95 % bootstrap "
        "intervals over the pictures; ± "
        "is the standard deviation over runs, where there are several: an interval over pictures does not"
        " include the effect of another seed. Minutes are of one CPU thread; none where a run "
        "was interrupted. Runs are computed in bfloat16 where the processor supports it."
    ]
    if usual:
        parts.append(
            "![Scenes, predicted T and R, true T and R](panel.jpg)\n\nFrom top: held-out scenes, T and R "
            "predicted by the usual cell's first run, true T and R."
        )
    for question, title in TITLES.items():
        cells = {name: runs for name, cell in CELLS[question].items() if (runs := finished(document, cell))}
        if not cells:
            continue
        subsets = FULL_SIZE if question == "side" else SEEN
        if question == "overfit":
            body = render_overfit(cells)
        else:
            body = render_cells(cells, subsets)
            if BASELINES[question] in cells and len(cells) > 1:
                body += "\n" + render_differences(cells, BASELINES[question], subsets)
            if question in ("caption", "full", "target"):
                body += "\n" + render_edits(cells, document)
        parts.append(f"## {title}\n\n{NOTES.get(question, '')}{body}")
    if usual:
        over = [np.subtract(run["scenes, I held"]["t"], run["scenes"]["t"]) for run in usual.values()]
        parts.append(
            "## Holding the photograph\n\nThe panels of the usual cell are sampled from the reference [I : "
            "white : white] alone. If the latents of their first picture are also held at I's, T on the "
            f"scenes changes by {over_pictures(over)} dB."
        )
        parts.append("## Steps of sampling\n\nThe usual cell on the scenes.\n\n" + render_samplings(usual))
        parts.append(
            "## Unchanged pixels\n\n"
            "The held-out scenes at 192 x 192, their right half without the reflection: nothing is to be "
            "removed there, and the VAE's softness should not appear (100 dB: identical to the last bit). "
            "The limits were chosen beforehand, not by this table.\n\n" + render_kept(usual)
        )
    return "\n\n".join(parts) + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"
