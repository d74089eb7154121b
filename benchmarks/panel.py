"""SIRR-LMM's panel on kontext-small: what it learns from what, a table for each question.

    python benchmarks/panel.py DATA [--only blends caption ...] [--seeds 1]

Every cell is a fine-tune of kontext-small (benchmarks/kontext_small.py, run first), scored on rendered scenes
with held-out backgrounds and on real_pairs/val, both shrunk to the size the panel sees, and on the edits that
the base was taught. Cells that are trained are kept and scored again without training. It writes
docs/figures/panel.md and panel.json after every cell. Needs the extras [train], [synthesis] and [flux].
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
from clearpane.separation.flux.panel import cut_panels, reference_panel
from clearpane.separation.flux.sampling import Held, Sampling, sample
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
RENDERED = {
    "analytic scenes": ("analytic",),
    "path-traced scenes": ("mitsuba", "--samples", "64", "--denoise"),
}
_SCENES, _SCENE_SIZE, _SCENE_SEED = 300, 160, 12
_SAMPLING_STEPS = 8
# Found on the training scenes by a few short runs.
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


USUAL = Cell("200 analytic scenes")
CELLS: dict[Question, tuple[Cell, ...]] = {
    "overfit": (Cell("one scene", samples=1, steps=1200),),
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
        replace(USUAL, name="T alone", target="transmission"),
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
    pictures = natural_paths(options.data / "natural")
    backgrounds = copy_pictures(pictures, options.cache / "backgrounds")
    count = _SCENES if name == USUAL.data else USUAL.samples
    folder = options.cache / f"{name.replace(' ', '_')}_{count}"
    environments, renderer = options.data / "environments", RENDERED[name]
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
    backbone: Backbone, task: Any, cell: Cell, photo: Tensor, hold: bool = False
) -> tuple[Tensor, Tensor | None]:
    """T and, from a panel, R. ``hold`` keeps the latents of the panel's first picture as they are."""
    sampling = Sampling(_SAMPLING_STEPS)
    if cell.target == "transmission":
        latents = sample(backbone, backbone.encode(photo), task, sampling)
        return backbone.decode(latents).clamp(0, 1), None
    reference = backbone.encode(reference_panel(photo))
    held = None
    if hold:
        mask = torch.zeros_like(reference[:1, :1])
        mask[..., : mask.shape[-1] // 3] = 1
        held = Held(reference, mask)
    latents = sample(backbone, reference, task, sampling, held=held)
    _, transmission, reflection = cut_panels(backbone.decode(latents).clamp(0, 1))
    return transmission, reflection


def score_pictures(
    backbone: Backbone, task: Any, cell: Cell, pictures: list[PanelPictures], hold: bool = False
) -> dict[str, list[float]]:
    """PSNR by picture of T, of doing nothing, of R where it is known, and PSNR-G of the first two."""
    scores: dict[str, list[float]] = {key: [] for key in ("t", "t_g", "nothing", "nothing_g", "r")}
    for picture in pictures:
        photo, truth = shrink(picture.input, cell), shrink(picture.transmission, cell)
        transmission, reflection = separate(backbone, task, cell, photo, hold)
        result, nothing, wanted = (x[0].permute(1, 2, 0).numpy() for x in (transmission, photo, truth))
        scores["t"].append(psnr(result, wanted))
        scores["t_g"].append(psnr_after_gain(result, wanted))
        scores["nothing"].append(psnr(nothing, wanted))
        scores["nothing_g"].append(psnr_after_gain(nothing, wanted))
        if reflection is not None and picture.reflection is not None:
            true_r = shrink(picture.reflection, cell)[0].permute(1, 2, 0).numpy()
            scores["r"].append(psnr(reflection[0].permute(1, 2, 0).numpy(), true_r))
    return scores


def score_cell(options: Options, cell: Cell, seed: int, pictures: list[PanelPictures]) -> dict[str, Any]:
    """Everything a cell is measured by."""
    backbone = train_cell(options, cell, seed, pictures)
    task = encode_text(options.base, cell.caption).to("cpu", torch.float32)
    if cell.samples == 1:
        return {"own scene": score_pictures(backbone, task, cell, pictures[:1])}
    held_out, val = held_out_pictures(options.data, options.cache)
    scores: dict[str, Any] = {
        "scenes": score_pictures(backbone, task, cell, held_out),
        "val": score_pictures(backbone, task, cell, val),
    }
    if cell == replace(USUAL, name=cell.name):
        scores["scenes, I held"] = score_pictures(backbone, task, cell, held_out, hold=True)
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
    cells = [spread(runs, lambda run, k=k: run["own scene"][k][0]) for k in ("nothing", "t", "r")]
    return table(["", "I against T", "T", "R"], [["one scene, PSNR in dB", *cells]])


def render_cells(cells: dict[str, list[dict[str, Any]]]) -> str:
    """The table of one question."""
    head = [
        "",
        "runs",
        "scenes: T",
        "gain",
        "gain in PSNR-G",
        "R",
        "val: T",
        "gain",
        "gain in PSNR-G",
        "other edits",
    ]
    rows = []
    for name, runs in cells.items():
        row = [name, str(len(runs))]
        for subset in ("scenes", "val"):
            row.append(spread(runs, lambda run, s=subset: float(np.mean(run[s]["t"]))))
            row += [interval(asdict(bootstrap_mean(over_nothing(runs, subset, key)))) for key in ("", "_g")]
            if subset == "scenes":
                known = runs[0][subset]["r"]
                row.append(spread(runs, lambda run: float(np.mean(run["scenes"]["r"]))) if known else "")
        edits = lambda run: float(np.mean([v["edited"] for v in run["edits"].values()]))  # noqa: E731
        rows.append([*row, spread(runs, edits)])
    return table(head, rows)


def render(document: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [
        "## The panel at small scale\n\n"
        "SIRR-LMM's panel on [kontext-small](kontext_small.md), fine-tuned for "
        f"{USUAL.steps} steps of eight photographs. PSNR in dB of T, at the size the panel sees, on 60 "
        "rendered flat panes with held-out backgrounds (against the physical T) and on the 18 photographs of "
        f"`real_pairs/val` (against the scene without the glass); {_SAMPLING_STEPS} steps of sampling, one "
        "seed of the noise. Gains are over doing nothing, with their paired 95 % bootstrap intervals over "
        "the pictures; ± is the standard deviation over runs. The last column is the mean PSNR on the edits "
        f"that the base was taught ({document['base_edits']:.2f} before any fine-tune)."
    ]
    for question, title in TITLES.items():
        cells = document["questions"].get(question)
        if cells:
            body = render_overfit(cells["one scene"]) if question == "overfit" else render_cells(cells)
            parts.append(f"### {title}\n\n{body}")
    held = document["questions"].get("data", {}).get(USUAL.name, [])
    if held:
        plain, kept = (np.mean([np.mean(r[k]["t"]) for r in held]) for k in ("scenes", "scenes, I held"))
        parts.append(
            "Holding the latents of the panel's first picture while sampling: "
            f"{kept:.2f} dB on the scenes in the place of {plain:.2f}."
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
        document["base_edits"] = float(np.mean([v["edited"] for v in base["edits"].values()]))
        document["machine"] = describe_machine()
        for seed in range(options.seeds):
            for question in options.only:
                for cell in CELLS[question]:
                    runs = document["questions"].setdefault(question, {}).setdefault(cell.name, [])
                    if len(runs) > seed:
                        continue
                    blended = cell.data in BLENDS
                    pictures = (blended_pictures if blended else rendered_pictures)(options, cell.data)
                    print(f"{question}, {cell.name}, seed {seed}", flush=True)
                    runs.append(score_cell(options, cell, seed, pictures))
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
