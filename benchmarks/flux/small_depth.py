"""Train and measure the small depth estimator of the GenSIRR experiments, on rendered rooms.

    python -m benchmarks.flux.small_depth DATA

No published estimator was available for these experiments; this one has 0.9 million parameters, is of the
class GLPN of the transformers library, and is trained on rooms of known depth (depth_rooms.py). Writes
build/benchmarks/small-depth, a directory that transformers opens, and docs/figures/small_depth.{md,json,jpg}.
Needs the extras [train], [synthesis] and [flux].
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from PIL import Image
from torch import Generator, Tensor
from transformers import GLPNConfig, GLPNForDepthEstimation, GLPNImageProcessor
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.flux.depth_rooms import FARTHEST, load_rooms
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_folder, atomic_path
from clearpane.images.picture import to_8bit
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.runner import Schedule, run_steps

_ROOMS, _HELD_OUT = 1200, 200
_RECIPE_FILE = "recipe.json"
_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Options:
    """Train the small depth estimator."""

    data: Positional[Path]
    """Folder with natural and environments."""
    steps: int = 2500
    """Optimiser steps."""
    batch: int = 16
    """Rooms per step."""
    threads: int = 2
    """CPU threads."""
    output: Path = ROOT / "build" / "benchmarks" / "small-depth"
    """Directory of the estimator."""
    cache: Path = ROOT / "build" / "benchmarks" / "rooms"
    """Folder of the rooms and the checkpoint."""
    figures: Path = ROOT / "docs" / "figures"
    """Folder of small_depth.md, .json and .jpg."""


def new_estimator() -> GLPNForDepthEstimation:
    """Make an untrained estimator for pictures of 64 x 64 pixels, 0.87 M parameters."""
    config = GLPNConfig(
        hidden_sizes=[24, 48, 96, 160],
        num_attention_heads=[1, 2, 4, 5],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=32,
        drop_path_rate=0.0,  # its randomness is not seeded by the step, so a resumed run would differ
        max_depth=int(FARTHEST),
    )
    return GLPNForDepthEstimation(config)


def training_recipe(options: Options) -> dict[str, Any]:
    """Return the recipe that a checkpoint belongs to."""
    return {"steps": options.steps, "batch": options.batch, "rooms": _ROOMS}


def estimator_digest(folder: Path) -> str:
    """Hash the settings that an estimator was made with; its weights would differ on another processor.

    Raises:
        ClearpaneError: The folder holds no estimator.
    """
    path = folder / _RECIPE_FILE
    if not path.is_file():
        raise ClearpaneError(f"{path}: missing; run benchmarks/flux/small_depth.py first")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def depth_loss(predicted: Tensor, depth: Tensor) -> Tensor:
    """Compute the scale-invariant log error, ``E[d^2] - 0.5 E[d]^2`` per picture (Eigen et al. 2014)."""
    error = predicted.clamp(min=1e-3).log() - depth.log()
    return (error.square().mean(dim=(1, 2)) - 0.5 * error.mean(dim=(1, 2)).square()).mean()


def draw_rooms(rooms: dict[str, Tensor], count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw random rooms, half of them mirrored, some brighter or darker: pictures in [0, 1], depth."""
    chosen = torch.randint(len(rooms["depth"]), (count,), generator=generator)
    pictures, depth = rooms["pictures"][chosen] / 255, rooms["depth"][chosen]
    mirrored = torch.rand(count, generator=generator) < 0.5
    pictures[mirrored], depth[mirrored] = pictures[mirrored].flip(-1), depth[mirrored].flip(-1)
    power = 2 ** (1.2 * torch.rand((count, 1, 1, 1), generator=generator) - 0.6)
    return pictures**power, depth


def train(options: Options, model: GLPNForDepthEstimation, rooms: dict[str, Tensor]) -> None:
    """Train or resume the model; it is left with its averaged weights."""
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare(torch.optim.AdamW(model.parameters(), weight_decay=1e-2))
    recipe = training_recipe(options)
    state = TrainingState(model, AveragedWeights(model, 0.99), optimizer, recipe=recipe)

    def loss_of(step: int) -> Tensor:
        pictures, depth = draw_rooms(rooms, options.batch, step_generator(0, step))
        return depth_loss(model(pictures).predicted_depth, depth)

    schedule = Schedule(options.steps, _LEARNING_RATE)
    if not run_steps(state, schedule, options.cache, loss_of, accelerator):
        raise KeyboardInterrupt
    model.load_state_dict(state.average.weights)
    model.eval()


@torch.no_grad()
def predict(model: GLPNForDepthEstimation, pictures: Tensor) -> Tensor:
    """Predict depth: [N, 3, 64, 64] uint8 -> [N, 64, 64], metres."""
    return torch.cat([model(part / 255).predicted_depth for part in pictures.split(50)])


def score(predicted: Tensor, depth: Tensor) -> dict[str, float]:
    """Compute the usual figures over all pixels, and the share of pairs ordered correctly by mean depth."""
    ratio = torch.maximum(predicted / depth, depth / predicted)
    means = [x.mean(dim=(1, 2)) for x in (predicted, depth)]
    first, second = np.triu_indices(len(depth), 1)
    true, told = (x[first] - x[second] for x in (means[1], means[0]))
    return {
        "relative": ((predicted - depth).abs() / depth).mean().item(),
        "rmse": (predicted - depth).square().mean().sqrt().item(),
        "within": (ratio < 1.25).float().mean().item(),
        "ordered": ((true * told > 0).float() + 0.5 * (told == 0).float()).mean().item(),
    }


def draw_sheet(rooms: dict[str, Tensor], predicted: Tensor, count: int = 8) -> np.ndarray:
    """Draw rooms, predicted and true depth, one below the other; nearer is brighter."""
    shown = [rooms["pictures"][:count] / 255]
    shown += [(1 - x[:count, None] / FARTHEST).expand(-1, 3, -1, -1) for x in (predicted, rooms["depth"])]
    return torch.cat([torch.cat(list(x), dim=2) for x in shown], dim=1).permute(1, 2, 0).numpy()


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    rows = []
    for name, x in document["rows"].items():
        shares = (f"{100 * x[key]:.0f}" for key in ("within", "ordered"))
        rows.append([name, f"{x['relative']:.3f}", f"{x['rmse']:.2f}", *shares])
    return (
        "# The small depth estimator\n\n"
        f"A GLPN of {document['parameters'] / 1e6:.1f} M parameters, trained for {document['steps']} steps "
        f"of {document['batch']} on {document['rooms']} rendered rooms and yards of 64 x 64 pixels, on "
        f"{document['held_out']} others with textures and skies of their own. Depths beyond {FARTHEST:g} m "
        "are not distinguished. Two rooms are ordered by mean depth, as the early branching orders "
        "candidates; 50 % is random.\n\n"
        + table(["", "relative error", "RMSE, m", "within 25 %, % of pixels", "pairs ordered, %"], rows)
        + "\n![Rooms, predicted and true depth](small_depth.jpg)\n"
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Render what is missing, train and measure."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rooms = load_rooms(options.data, options.cache, _ROOMS, 0, held_out=False)
    held_out = load_rooms(options.data, options.cache, _HELD_OUT, 1, held_out=True)
    model = new_estimator()
    train(options, model, rooms)
    with atomic_folder(options.output, overwrite=True) as folder:
        model.save_pretrained(folder)
        GLPNImageProcessor().save_pretrained(folder)
        network = model.config.to_diff_dict()
        for of_library in ("transformers_version", "dtype"):
            network.pop(of_library, None)
        facts = {**training_recipe(options), "learning_rate": _LEARNING_RATE, "network": network}
        write_text(folder / _RECIPE_FILE, json.dumps(facts, sort_keys=True) + "\n")
    predicted = predict(model, held_out["pictures"])
    constant = rooms["depth"].median().expand_as(predicted)
    document = {
        "parameters": sum(p.numel() for p in model.parameters()),
        **{key: asdict(options)[key] for key in ("steps", "batch")},
        "rooms": len(rooms["depth"]),
        "held_out": len(predicted),
        "rows": {
            "one depth for all (the median)": score(constant, held_out["depth"]),
            "the estimator": score(predicted, held_out["depth"]),
        },
        "machine": describe_machine(),
    }
    sheet = Image.fromarray(to_8bit(draw_sheet(held_out, predicted)))
    with atomic_path(options.figures / "small_depth.jpg", overwrite=True) as temporary:
        sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(
            temporary, "JPEG", quality=90
        )
    write_text(options.figures / "small_depth.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.figures / "small_depth.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
