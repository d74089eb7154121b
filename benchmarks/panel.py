"""SIRR-LMM's panel on kontext-small: what it learns from what, a table for each question.

    python benchmarks/panel.py DATA [--only blends caption ...] [--seeds 1]

Every cell is a fine-tune of kontext-small (benchmarks/kontext_small.py, run first), scored on rendered scenes
with held-out backgrounds and on real_pairs/val, both shrunk to the size the panel sees, and on the edits that
the base was taught. Cells that are trained are kept and scored again without training; an interrupted one
goes on. It writes docs/figures/panel.md and panel.json after every cell. Needs the extras [train],
[synthesis] and [flux].
"""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.metrics import psnr, psnr_after_gain
from clearpane.evaluation.tables import write_text
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.lora import add_lora
from clearpane.separation.flux.panel import (
    UNTOUCHED,
    PanelSeparator,
    PanelSettings,
    cut_panels,
    keep_untouched,
    reference_panel,
)
from clearpane.separation.flux.sampling import Held, Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.resolution import enlarge
from clearpane.synthesis.blending import (
    ceilnet_blend,
    dsrnet_blend,
    linear_light_blend,
    rdnet_blend,
    zhang_blend,
)
from clearpane.synthesis.caption import PANEL_CAPTION
from clearpane.training.flow_matching import flow_matching_loss
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.panels import (
    PanelPictures,
    draw_panels,
    draw_size,
    load_glass_panels,
    load_real_panels,
)
from clearpane.training.pictures import load_natural, natural_paths, random_crop
from clearpane.training.runner import Schedule, held_parameters, parameter_holder, run_steps
from glass_sets import copy_pictures, draw_glass_set
from kontext_small import score_edits
from markdown import interval, table
from measuring import FOLDER, Machine, describe_machine
from rendered_scenes import SCENE_SETS, draw_scene_sets

Question = Literal["overfit", "data", "caption", "samples", "full", "target", "side"]
BLENDS = {
    "CEILNet's and ERRNet's blend": ceilnet_blend,
    "Zhang's and IBCLN's blend": zhang_blend,
    "DSRNet's blend": dsrnet_blend,
    "RDNet's blend": rdnet_blend,
    "linear-light blend": linear_light_blend,
}
# The first 200 are those of ablation.py.
RENDERED = {
    "analytic scenes": ("analytic", 300, ("analytic",)),
    "path-traced scenes": ("traced", 200, ("mitsuba", "--samples", "64", "--denoise")),
}
_SCENE_SIZE, _SCENE_SEED = 160, 11
_SAMPLING_STEPS = 8
_LEARNING_RATE = {False: 1e-3, True: 3e-4}


@dataclass(frozen=True)
class Cell:
    """One fine-tune.

    Attributes:
        name: what it is called in its table.
        data: a key of `BLENDS` or `RENDERED`.
        samples: how many photographs it sees.
        caption: the sentence.
        full: train the whole transformer in the place of a LoRA of rank 16.
        target: paint the panel, or T alone from I.
        side: of each picture, pixels.
        steps: of eight photographs.
    """

    name: str
    data: str = "analytic scenes"
    samples: int = 200
    caption: str = PANEL_CAPTION
    full: bool = False
    target: Literal["panel", "transmission"] = "panel"
    side: int = 64
    steps: int = 600


# Below the first difference the photograph's own pixels are kept, from the second on the change is taken.
LIMITS = {
    "local gain and offset, everywhere": (-1.0, -0.5),
    "kept below 0.005, changed from 0.015": (0.005, 0.015),
    f"kept below {UNTOUCHED[0]:g}, changed from {UNTOUCHED[1]:g} (as shipped)": UNTOUCHED,
    "kept below 0.02, changed from 0.06": (0.02, 0.06),
    "kept below 0.04, changed from 0.12": (0.04, 0.12),
}
Scores = dict[str, list[float]]

USUAL = Cell("200 analytic scenes")
CELLS: dict[Question, tuple[Cell, ...]] = {
    "overfit": (Cell("one scene", samples=1),),
    "data": (
        *(Cell(f"200 of {name}", data=name) for name in BLENDS),
        USUAL,
        Cell("the same scenes path-traced", data="path-traced scenes"),
    ),
    "caption": (replace(USUAL, name="the caption"), replace(USUAL, name="an empty one", caption="")),
    "samples": tuple(replace(USUAL, name=str(n), samples=n) for n in (10, 50, 100, 200, 300)),
    "full": (
        replace(USUAL, name="LoRA, rank 16"),
        replace(USUAL, name="the whole transformer", full=True),
    ),
    "target": (
        replace(USUAL, name="panel"),
        replace(USUAL, name="T alone, as many steps", target="transmission"),
        replace(USUAL, name="T alone, as many tokens", target="transmission", steps=3 * USUAL.steps),
    ),
    "side": tuple(replace(USUAL, name=f"{s} x {s}", side=s) for s in (48, 64, 96)),
}
TITLES: dict[Question, str] = {
    "overfit": "One scene by heart",
    "data": "Blends against rendered glass",
    "caption": "The fixed sentence",
    "samples": "Number of scenes",
    "full": "LoRA against a full fine-tune",
    "target": "The panel against T alone",
    "side": "Size of the panel's pictures",
}


# Against which cell the others of a table are held.
BASELINES: dict[Question, str] = {
    "data": USUAL.name,
    "caption": "the caption",
    "full": "LoRA, rank 16",
    "target": "panel",
}


@dataclass(frozen=True)
class Options:
    """Measure what the panel learns from what."""

    data: Positional[Path]
    """Folder with natural, environments and real_pairs/val."""
    only: tuple[Question, ...] = tuple(CELLS)
    """The questions to answer."""
    seeds: int = 1
    """Runs of each cell."""
    threads: int = 2
    """CPU threads."""
    base: Path = FOLDER.parent / "build" / "benchmarks" / "kontext-small"
    """Directory of kontext-small."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of panel.md and panel.json."""
    cache: Path = FOLDER.parent / "build" / "benchmarks" / "panel"
    """Folder of the scenes and the trained cells."""


def rendered_pictures(options: Options, name: str) -> list[PanelPictures]:
    """The scenes of one renderer, the same ones for both."""
    short, count, renderer = RENDERED[name]
    shared = options.cache.parent / "ablation"
    backgrounds = copy_pictures(natural_paths(options.data / "natural"), shared / "backgrounds")
    folder = shared / f"{short}_{count}_{_SCENE_SIZE}"
    environments = options.data / "environments"
    draw_glass_set(folder, count, _SCENE_SIZE, _SCENE_SEED, backgrounds, environments, renderer, {})
    return load_glass_panels(folder)


def blended_pictures(options: Options, name: str) -> list[PanelPictures]:
    """As many blends of natural pictures, as large as the rendered scenes."""
    natural = load_natural(options.data / "natural")
    blends = []
    for index in range(USUAL.samples):
        generator = step_generator(_SCENE_SEED, index)
        first, second = (
            random_crop(
                (natural[int(torch.randint(len(natural), (), generator=generator))],), size, generator
            )
            for size in (_SCENE_SIZE, _SCENE_SIZE)
        )
        blend = BLENDS[name](first[0], second[0], generator)
        layers = (blend.input, blend.transmission, blend.reflection)
        blends.append(PanelPictures(*((255 * x.clamp(0, 1)).round().to(torch.uint8) for x in layers)))
    return blends


def train_cell(options: Options, cell: Cell, seed: int, pictures: list[PanelPictures]) -> Backbone:
    """Train one cell, or load it."""
    settings = {key: value for key, value in asdict(cell).items() if key != "name"}
    folder = options.cache / "_".join(slug(str(x)) for x in (*settings.values(), seed))
    folder.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(options.base, Loading("float32", "cpu"))
    transformer = backbone.transformer
    torch.manual_seed(seed)
    if cell.full:
        transformer.requires_grad_(True)
        parameters = dict(transformer.named_parameters())
    else:
        parameters = add_lora(transformer, 16, "all")
    trained = folder / "trained.safetensors"
    if not trained.exists():
        task = encode_text(options.base, cell.caption).to("cpu", torch.float32)
        held = parameter_holder(parameters)
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(held.parameters(), betas=(0.9, 0.999), weight_decay=1e-2)
        recipe = json.loads(json.dumps({**settings, "seed": seed}))
        state = TrainingState(
            held, AveragedWeights(held, 0.99), accelerator.prepare(optimizer), recipe=recipe
        )

        def loss_of(step: int) -> Tensor:
            generator = step_generator(seed, step)
            size = draw_size(cell.side, backbone.multiple, generator)
            if cell.samples == 1:  # the whole scene
                size = tuple(pictures[0].input.shape[-2:])
            chosen = torch.randint(cell.samples, (8,), generator=generator).tolist()
            batch = draw_panels([pictures[i] for i in chosen], size, 2.5, generator)
            photo, transmission, _ = cut_panels(batch.panel)
            panel = cell.target == "panel"
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    target = backbone.encode(batch.panel if panel else transmission).float()
                    reference = backbone.encode(batch.reference if panel else photo).float()
                return flow_matching_loss(backbone, target, reference, task, DEFAULT_GUIDANCE, generator)

        schedule = Schedule(cell.steps, _LEARNING_RATE[cell.full], checkpoint_every=200)
        if not run_steps(state, schedule, folder, loss_of, accelerator):
            raise KeyboardInterrupt
        save_file({k: v.contiguous() for k, v in held_parameters(state.average.weights).items()}, trained)
        (folder / "checkpoint.safetensors").unlink()
    with torch.no_grad():
        for name, value in load_file(trained).items():
            parameters[name].copy_(value)
    transformer.requires_grad_(False)
    return backbone


def slug(text: str) -> str:
    """A part of a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in text)[:40] or "none"


def seen_size(cell: Cell, height: int, width: int) -> tuple[int, int]:
    """The size at which a cell sees a picture: about ``side * side`` pixels in multiples of a token."""
    scale = cell.side / (height * width) ** 0.5
    return tuple(max(8, 8 * round(x * scale / 8)) for x in (height, width))  # type: ignore[return-value]


def shrink(picture: Tensor, cell: Cell) -> Tensor:
    """3 x H x W uint8 as the cell sees it, 1 x 3 x h x w in [0, 1]."""
    size = seen_size(cell, *picture.shape[-2:])
    return F.interpolate(picture[None] / 255, size, mode="bilinear", antialias=True).clamp(0, 1)


@torch.no_grad()
def separate(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, photos: Tensor, hold: bool = False
) -> tuple[Tensor, Tensor | None]:
    """T and, from a panel, R. ``hold`` keeps the latents of the panel's first picture as they are."""
    sampling = Sampling(_SAMPLING_STEPS)
    if cell.target == "transmission":
        latents = sample(backbone, backbone.encode(photos), task, sampling)
        return backbone.decode(latents).clamp(0, 1), None
    reference = backbone.encode(reference_panel(photos))
    held = None
    if hold:
        mask = torch.zeros_like(reference[:1, :1])
        mask[..., : mask.shape[-1] // 3] = 1
        held = Held(reference, mask)
    latents = sample(backbone, reference, task, sampling, held=held)
    _, transmission, reflection = cut_panels(backbone.decode(latents).clamp(0, 1))
    return transmission, reflection


def score_pictures(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, pictures: list[PanelPictures], hold: bool = False
) -> Scores:
    """By picture: PSNR of T and of doing nothing, their PSNR-G, PSNR of R, and of T and R through the VAE."""
    scores: Scores = {key: [] for key in ("t", "t_g", "nothing", "nothing_g", "vae", "r", "vae_r")}
    for batch in batches(pictures, cell):
        photos, truths = (
            torch.cat([shrink(getattr(x, layer), cell) for x in batch]) for layer in ("input", "transmission")
        )
        transmissions, reflections = separate(backbone, task, cell, photos, hold)
        with torch.no_grad():
            rebuilt = backbone.decode(backbone.encode(truths)).clamp(0, 1)
        for index, picture in enumerate(batch):
            photo, truth, made, best = (array(x[index]) for x in (photos, truths, transmissions, rebuilt))
            scores["t"].append(psnr(made, truth))
            scores["t_g"].append(psnr_after_gain(made, truth))
            scores["nothing"].append(psnr(photo, truth))
            scores["nothing_g"].append(psnr_after_gain(photo, truth))
            scores["vae"].append(psnr(best, truth))
            if reflections is not None and picture.reflection is not None:
                wanted = shrink(picture.reflection, cell)
                with torch.no_grad():
                    rebuilt_r = backbone.decode(backbone.encode(wanted)).clamp(0, 1)
                scores["r"].append(psnr(array(reflections[index]), array(wanted[0])))
                scores["vae_r"].append(psnr(array(rebuilt_r[0]), array(wanted[0])))
    return scores


def array(picture: Tensor) -> np.ndarray:
    """3 x H x W -> H x W x 3."""
    return picture.permute(1, 2, 0).numpy()


def batches(pictures: list[PanelPictures], cell: Cell) -> list[list[PanelPictures]]:
    """The pictures in their order, those that are seen at one size together, at most twenty."""
    groups: list[list[PanelPictures]] = []
    sizes = [seen_size(cell, *picture.input.shape[-2:]) for picture in pictures]
    for index, picture in enumerate(pictures):
        if index and sizes[index] == sizes[index - 1] and len(groups[-1]) < 20:
            groups[-1].append(picture)
        else:
            groups.append([picture])
    return groups


def score_full_size(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, pictures: list[PanelPictures]
) -> Scores:
    """PSNR of T at the pictures' own size, as `clearpane remove` makes it, and of doing nothing."""
    settings = PanelSettings("", "", cell.side, 16, DEFAULT_GUIDANCE, cell.caption)
    separator = PanelSeparator(backbone, task, settings, Sampling(_SAMPLING_STEPS))
    scores: Scores = {"t": [], "nothing": []}
    for picture in pictures:
        photo, truth = (array(x.float() / 255) for x in (picture.input, picture.transmission))
        scores["t"].append(psnr(separator.separate(photo).transmission, truth))
        scores["nothing"].append(psnr(photo, truth))
    return scores


def score_kept(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, pictures: list[PanelPictures]
) -> dict[str, Scores]:
    """What becomes of the half of a photograph that has no glass before it, by how T is taken over.

    The left half is the photograph, the right half its T: there nothing is to be taken away. By picture: PSNR
    of the result's right half to the photograph's, the share of its pixels that are the photograph's own, and
    the gain of the left half.
    """
    rows: dict[str, Scores] = {}
    for picture in pictures:
        photo, truth = (array(x.float() / 255) for x in (picture.input, picture.transmission))
        height, width = photo.shape[:2]
        half = width // 2
        given = np.concatenate([photo[:, :half], truth[:, half:]], axis=1)
        small = shrink((255 * torch.from_numpy(given).permute(2, 0, 1)), cell)
        transmission = array(separate(backbone, task, cell, small)[0][0])
        with torch.no_grad():
            reference = backbone.decode(backbone.encode(reference_panel(small))).clamp(0, 1)
        seen = array(cut_panels(reference)[0][0])
        painted = np.stack([enlarge(transmission[..., i], height, width) for i in range(3)], axis=2)
        results = {"T as the VAE shows it, enlarged": painted}
        for name, limits in LIMITS.items():
            results[name] = keep_untouched(given, seen, transmission, limits)
        for name, result in results.items():
            row = rows.setdefault(name, {"psnr": [], "own": [], "gain": []})
            # Not the seam's windows, which see both halves.
            far, near = np.s_[:, half + width // 8 :], np.s_[:, : half - width // 8]
            row["psnr"].append(psnr(result[far], given[far]))
            row["own"].append(float(100 * (result[far] == given[far]).all(axis=2).mean()))
            row["gain"].append(psnr(result[near], truth[near]) - psnr(given[near], truth[near]))
    return rows


def score_cell(options: Options, cell: Cell, seed: int, pictures: list[PanelPictures]) -> dict[str, Any]:
    """Everything a cell is measured by."""
    if cell.samples == 1:
        layers = (pictures[0].input, pictures[0].transmission, pictures[0].reflection)
        pictures = [PanelPictures(*((255 * shrink(x, cell)[0]).round().to(torch.uint8) for x in layers))]
    backbone = train_cell(options, cell, seed, pictures)
    task = encode_text(options.base, cell.caption).to("cpu", torch.float32)
    if cell.samples == 1:
        return {"own scene": score_pictures(backbone, task, cell, pictures)}
    held_out, val = held_out_pictures(options.data, options.cache)
    scores: dict[str, Any] = {
        "scenes": score_pictures(backbone, task, cell, held_out),
        "val": score_pictures(backbone, task, cell, val),
    }
    if cell.target == "panel":
        scores["full size"] = score_full_size(backbone, task, cell, held_out)
    if cell == replace(USUAL, name=cell.name):
        scores["scenes, I held"] = score_pictures(backbone, task, cell, held_out, hold=True)
        scores["kept"] = score_kept(backbone, task, cell, held_out)
    natural = load_natural(options.data / "natural", held_out=True)
    scores["edits"] = score_edits(
        backbone, lambda x: encode_text(options.base, x).to("cpu", torch.float32), natural
    )
    return scores


@cache
def held_out_pictures(data: Path, folder: Path) -> tuple[list[PanelPictures], list[PanelPictures]]:
    """Rendered scenes with held-out backgrounds, and the pairs of real_pairs/val."""
    (scene_set,) = (s for s in SCENE_SETS if s.name == "flat panes")
    scenes = draw_scene_sets(data, folder.parent / "rendered", [scene_set], None)[scene_set.name]
    return load_glass_panels(scenes), load_real_panels(data / "real_pairs" / "val")


def over_nothing(runs: list[dict[str, Any]], subset: str, key: str = "") -> np.ndarray:
    """The gain of each picture, the mean over the runs."""
    return np.mean(
        [np.subtract(run[subset][f"t{key}"], run[subset][f"nothing{key}"]) for run in runs], axis=0
    )


def spread(runs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> str:
    """The mean of a figure over the runs and, with several, its standard deviation."""
    values = [value(run) for run in runs]
    return f"{np.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def render_overfit(runs: list[dict[str, Any]]) -> str:
    """The table of the scene learnt by heart."""
    rows = [
        [name, *(spread(runs, lambda run, k=k: run["own scene"][k][0]) if k else "" for k in keys)]
        for name, keys in {
            "do nothing": ("nothing", ""),
            "painted": ("t", "r"),
            "the true picture through the VAE": ("vae", "vae_r"),
        }.items()
    ]
    return table(["one scene, PSNR in dB", "T", "R"], rows)


def render_cells(cells: dict[str, list[dict[str, Any]]], full_size: bool) -> str:
    """The table of one question; with the gain at the scenes' own size where panels' sizes differ."""
    head = ["", "runs", "scenes: T", "gain", "gain in PSNR-G", "R", "val: T", "gain", "gain in PSNR-G"]
    head += (["scenes at 192 px: gain"] if full_size else []) + ["other edits"]
    rows = []
    for name, runs in cells.items():
        row = [name, str(len(runs))]
        for subset in ("scenes", "val"):
            row.append(spread(runs, lambda run, s=subset: float(np.mean(run[s]["t"]))))
            row += [interval(asdict(bootstrap_mean(over_nothing(runs, subset, key)))) for key in ("", "_g")]
            if subset == "scenes":
                known = runs[0][subset]["r"]
                row.append(spread(runs, lambda run: float(np.mean(run["scenes"]["r"]))) if known else "")
        if full_size:
            row.append(interval(asdict(bootstrap_mean(over_nothing(runs, "full size")))))
        edits = lambda run: float(np.mean(list(run["edits"].values())))  # noqa: E731
        rows.append([*row, spread(runs, edits)])
    return table(head, rows)


def render_differences(cells: dict[str, list[dict[str, Any]]], baseline: str) -> str:
    """Each cell against one of them, over the same pictures."""
    usual, rows = cells[baseline], []
    for name, runs in cells.items():
        if name != baseline:
            row = [f"{name}, against {baseline}"]
            for subset in ("scenes", "val"):
                first, second = (np.mean([run[subset]["t"] for run in x], axis=0) for x in (runs, usual))
                row.append(interval(asdict(bootstrap_mean(first - second))))
            rows.append(row)
    return table(["difference in PSNR of T", "scenes", "val"], rows)


def render_kept(runs: list[dict[str, Any]]) -> str:
    """The table of what stays the photograph's own."""
    rows = []
    for name in runs[0]["kept"]:
        mean = lambda run, key, n=name: float(np.mean(run["kept"][n][key]))  # noqa: E731
        keys = ("psnr", "own", "gain")
        rows.append([name, *(spread(runs, lambda run, m=mean, k=k: m(run, k)) for k in keys)])
    head = ["", "half without glass: PSNR to the photograph", "own pixels, %", "other half: gain, dB"]
    return table(head, rows)


def render(document: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [
        "## The panel at small scale\n\n"
        "SIRR-LMM's panel on [kontext-small](kontext_small.md), fine-tuned for "
        f"{USUAL.steps} steps of eight photographs unless a row says otherwise, a LoRA of rank 16 on "
        f"{USUAL.samples} analytic scenes. PSNR in dB of T, at the size the panel sees "
        f"({USUAL.side} x {USUAL.side}), on 60 rendered flat panes with held-out backgrounds (against the "
        "physical T) and on the 18 photographs of `real_pairs/val` (against the scene without the glass); "
        f"{_SAMPLING_STEPS} steps of sampling, one seed of the noise. Gains are over doing nothing, with "
        "their paired 95 % bootstrap intervals over the pictures; ± is the standard deviation over runs. The "
        "last column is the mean PSNR on the edits that the base was taught "
        f"({document['base_edits']:.2f} before any fine-tune)."
    ]
    for question, title in TITLES.items():
        cells = document["questions"].get(question)
        if not cells:
            continue
        if question == "overfit":
            body = render_overfit(cells["one scene"])
        else:
            body = render_cells(cells, question == "side")
            if question in BASELINES and len(cells) == len(CELLS[question]):
                body += "\n" + render_differences(cells, BASELINES[question])
        parts.append(f"### {title}\n\n{body}")
    usual = document["questions"].get("data", {}).get(USUAL.name, [])
    if usual:
        plain, held = ([float(np.mean(run[k]["t"])) for run in usual] for k in ("scenes", "scenes, I held"))
        over = np.mean([np.subtract(r["scenes, I held"]["t"], r["scenes"]["t"]) for r in usual], axis=0)
        parts.append(
            "### Holding the photograph\n\nThe reference [I : white : white] alone: "
            f"{np.mean(plain):.2f} dB on the scenes. With the latents of the panel's first picture held at "
            f"I's while sampling besides: {np.mean(held):.2f} dB, {interval(asdict(bootstrap_mean(over)))}."
        )
        parts.append(
            "### What stays the photograph's own\n\n"
            "The held-out scenes at 192 x 192, their right half without the reflection: there is nothing to "
            "be taken away, and the VAE's softness is not to come in "
            "(100 dB: the same to the last pixel).\n\n" + render_kept(usual)
        )
    return "\n\n".join(parts) + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"


def main(options: Options) -> int:
    """Train and score what is missing."""
    numbers = options.output / "panel.json"
    try:
        torch.set_num_threads(options.threads)
        base = json.loads((options.output / "kontext_small.json").read_text(encoding="utf-8"))
        document: dict[str, Any] = {"questions": {}}
        if numbers.is_file():
            document = json.loads(numbers.read_text(encoding="utf-8"))
        document["base_edits"] = float(np.mean([x["edited"] for x in base["edits"].values()]))
        document["machine"] = describe_machine()
        scored: dict[tuple[Cell, int], dict[str, Any]] = {}  # one cell may be in several tables
        for seed in range(options.seeds):
            for question in options.only:
                for cell in CELLS[question]:
                    runs = document["questions"].setdefault(question, {}).setdefault(cell.name, [])
                    if len(runs) > seed:
                        continue
                    print(f"{question}, {cell.name}, seed {seed}", flush=True)
                    same = replace(cell, name=""), seed
                    if same not in scored:
                        blended = cell.data in BLENDS
                        pictures = (blended_pictures if blended else rendered_pictures)(options, cell.data)
                        scored[same] = score_cell(options, cell, seed, pictures)
                    runs.append(scored[same])
                    write_text(numbers, json.dumps(document) + "\n", overwrite=True)
                    write_text(options.output / "panel.md", render(document), overwrite=True)
    except FileNotFoundError as error:
        print(f"error: {error.filename}: missing; run benchmarks/kontext_small.py first", file=sys.stderr)
        return 1
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
