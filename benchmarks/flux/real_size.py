"""Run FLUX.1 Kontext's exact configuration with random weights in 4 bits: memory and seconds, measured.

    python -m benchmarks.flux.real_size [--folder /tmp] [--steps 1]

Writes 24 GB of random weights into a temporary folder, loads them in 4 bits, attaches a LoRA, paints a panel
and takes a step of its training, in a child process whose peak memory is read after each. Runs on an NVIDIA
GPU if there is one, otherwise on the CPU (Linux) with bitsandbytes' own layers. Writes
docs/figures/real_size.md and real_size.json after every stage. Needs the extras [train] and [flux].
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, get_args

import psutil
import torch
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.flux.real_size_model import TransformerSize, load_in_4_bits, write_base
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.loading import Loading, load_backbone
from clearpane.separation.flux.lora import add_lora, train_in_float32
from clearpane.separation.flux.memory import (
    WEIGHT_BYTES,
    BackboneSize,
    backbone_size,
    removal_bytes,
    training_bytes,
)
from clearpane.separation.flux.options import Precision
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import reference_panel
from clearpane.training.flux.flow_matching import flow_matching_loss
from clearpane.training.precision import has_bfloat16, mixed_precision

RANK, RATE, TEXT = 16, 1e-4, 512
_LIMIT = 24e9
_KINDS: dict[str, Precision] = {"torch.float32": "float32", "torch.bfloat16": "bfloat16"}
_SIDES = (256, 512, 1024)


@dataclass(frozen=True)
class Options:
    """Run FLUX.1 Kontext's exact configuration."""

    size: TransformerSize = field(default_factory=TransformerSize)
    """Size of the transformer."""
    side: int = 256
    """Side of each of the panel's three pictures, pixels."""
    training_side: int = 256
    """The same in training."""
    steps: int = 1
    """Sampling steps, and training steps."""
    threads: int = 1
    """CPU threads."""
    folder: Path = Path(tempfile.gettempdir())
    """Folder with room for 24 GB, which are deleted at the end."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of real_size.md and real_size.json."""


class Stages:
    """Measure stages of this process and send each to the parent when it ends."""

    def __init__(self, connection: Connection, device: torch.device) -> None:
        self._connection, self._device = connection, device

    @contextmanager
    def measured(self, name: str) -> Iterator[dict[str, Any]]:
        """Measure what happens inside; the dictionary takes further facts."""
        facts: dict[str, Any] = {"stage": name, "before_bytes": psutil.Process().memory_info().rss}
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:  # Linux: the peak of resident memory starts again from what is resident now
            Path("/proc/self/clear_refs").write_text("5")
        wall, processor = time.perf_counter(), time.process_time()
        yield facts
        facts |= {
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
            "peak_bytes": self._peak(),
        }
        self._connection.send(facts)

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated())
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])


def run_stages(options: Options, base: Path, connection: Connection) -> None:
    """Load, attach a LoRA, paint a panel, train: the child process."""
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = torch.bfloat16 if has_bfloat16(device.type) else torch.float32
    stages = Stages(connection, device)
    with stages.measured("load in 4 bits") as facts:
        if device.type == "cuda":
            backbone = load_backbone(base, Loading("nf4", "cuda"))
        else:
            backbone = load_in_4_bits(base, kind)
        facts |= {"device": device.type, "computed_in": str(kind)}
    generator = torch.Generator().manual_seed(0)
    config = backbone.transformer.config
    task = TaskEmbedding(
        torch.randn((1, TEXT, config.joint_attention_dim), generator=generator),
        torch.randn((1, config.pooled_projection_dim), generator=generator),
    ).to(device, kind)
    with stages.measured("attach a LoRA") as facts:
        parameters = add_lora(backbone.transformer, RANK, "all")
        if kind == torch.bfloat16:
            train_in_float32(backbone.transformer)
        facts["trained_parameters"] = sum(x.numel() for x in parameters.values())
    with stages.measured("paint") as facts, mixed_precision(device.type, kind == torch.bfloat16):
        facts |= paint(backbone, task, options)
    with stages.measured("train") as facts:
        facts |= train(backbone, task, list(parameters.values()), options)
    connection.close()


@torch.no_grad()
def paint(backbone: Backbone, task: TaskEmbedding, options: Options) -> dict[str, Any]:
    """Encode a photograph, paint its panel, and decode it."""
    photo = torch.rand((1, 3, options.side, options.side), generator=torch.Generator().manual_seed(1))
    reference = backbone.encode(reference_panel(photo))
    started, processor = time.perf_counter(), time.process_time()
    latents = sample(backbone, reference, task, Sampling(options.steps))
    facts = {
        "step_seconds": (time.perf_counter() - started) / options.steps,
        "step_processor_seconds": (time.process_time() - processor) / options.steps,
    }
    panel = backbone.decode(latents)
    return facts | {"finite": bool(panel.isfinite().all()), "shape": list(panel.shape)}


def train(
    backbone: Backbone, task: TaskEmbedding, parameters: list[torch.nn.Parameter], options: Options
) -> dict[str, Any]:
    """Take training steps of the LoRA with gradient checkpointing."""
    device, kind = backbone.device, task.prompt_embeds.dtype
    backbone.transformer.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(parameters, RATE)
    channels, side = backbone.vae.config.latent_channels, 2 * options.training_side // backbone.multiple
    generator = torch.Generator().manual_seed(2)
    latents, reference = torch.randn((2, 1, channels, side, 3 * side), generator=generator).to(device, kind)
    losses = []
    for _ in range(options.steps):
        with mixed_precision(device.type, kind == torch.bfloat16):
            loss = flow_matching_loss(backbone, latents, reference, task, DEFAULT_GUIDANCE, generator)
        loss.backward()
        optimizer.step()
        moved = sum(float(x.grad.abs().sum()) > 0 for x in parameters if x.grad is not None)
        optimizer.zero_grad()
        losses.append(loss.item())
    return {"losses": losses, "with_gradient": moved, "parameters": len(parameters)}


def estimates(size: BackboneSize, options: Options, kind: Precision) -> dict[str, int]:
    """Estimate the memory of each stage: weights in 4 bits, everything else in ``kind``."""
    weights = round(size.transformer * WEIGHT_BYTES["nf4"])
    rest = replace(size, transformer=0)
    loaded = weights + size.vae * (4 if kind == "float32" else 2)
    return {
        "load in 4 bits": loaded,
        "attach a LoRA": loaded + 4 * size.lora_parameters(RANK),
        "paint": weights + 4 * size.lora_parameters(RANK) + removal_bytes(rest, kind, options.side),
        "train": weights + training_bytes(rest, kind, options.training_side, RANK),
    }


def too_large(size: BackboneSize) -> list[list[str]]:
    """Return what the estimate says needs more than 24 GB of a device: its name and GB."""
    rows = []
    for precision in get_args(Precision):
        for side in _SIDES:
            needed = {
                "paint": removal_bytes(size, precision, side),
                "train a LoRA": training_bytes(size, precision, side, RANK),
            }
            rows += [
                [f"{name}, {precision}, {side} x {side}", f"{value / 1e9:.1f}"]
                for name, value in needed.items()
                if value > _LIMIT
            ]
    return rows


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    stages = {row["stage"]: row for row in document["stages"]}
    first = stages["load in 4 bits"]
    cuda = first["device"] == "cuda"
    libraries = 0 if cuda else first["before_bytes"]
    size = BackboneSize(**document["size"])
    expected = document["estimated_bytes"]
    rows = [
        [
            name,
            f"{(row['peak_bytes'] - libraries) / 1e9:.2f}",
            f"{expected[name] / 1e9:.2f}",
            f"{row['seconds']:.0f}",
            f"{row['processor_seconds']:.0f}",
        ]
        for name, row in stages.items()
    ]
    notes = []
    if "paint" in stages:
        row = stages["paint"]
        notes.append(
            f"One step of a panel of three pictures of {document['side']} x {document['side']} "
            f"({size.tokens(document['side'])} tokens) took {row['step_processor_seconds']:.0f} seconds of "
            f"the processor; all decoded values were {'finite' if row['finite'] else 'NOT finite'}."
        )
    if "train" in stages:
        row = stages["train"]
        notes.append(
            f"Training: pictures of {document['training_side']} x {document['training_side']} "
            f"({size.tokens(document['training_side'])} tokens), a LoRA of rank {RANK} "
            f"({stages['attach a LoRA']['trained_parameters'] / 1e6:.0f} M parameters), gradient "
            f"checkpointing, AdamW; {row['with_gradient']} of its {row['parameters']} matrices got a "
            "gradient (those behind a factor that is still 0 get none in the first step)."
        )
    if document["ended"]:
        notes.append(f"The run ended early: {document['ended']}.")
    kind = first["computed_in"].removeprefix("torch.")
    blocks, all_blocks = (x.double_blocks + x.single_blocks for x in (size, BackboneSize()))
    if blocks < all_blocks:
        notes.append(_of_all_blocks(document, stages, libraries, all_blocks / blocks))
    where = "of the GPU's memory" if cuda else f"beyond the libraries' own {libraries / 1e9:.2f} GB"
    return (
        f"# FLUX.1 Kontext's exact size, {blocks} of {all_blocks} blocks, measured\n\n"
        f"Random weights of the real configuration: {size.transformer / 1e9:.2f} billion parameters of the "
        f"transformer and {size.vae / 1e9:.2f} of the VAE, {document['disk_bytes'] / 1e9:.1f} GB on disk in "
        f"bfloat16, written and read one block at a time. Weights of the linear layers in 4 bits (nf4, "
        f"bitsandbytes), everything else in {kind}, on {'a GPU' if cuda else 'the CPU'}. The text encoders "
        f"({BackboneSize().text / 1e9:.1f} billion parameters, {2 * BackboneSize().text / 1e9:.1f} GB in "
        "bfloat16) run before all this and are freed; they were not run here, and random numbers stand for "
        f"the {TEXT} tokens of text.\n\n"
        f"Peak memory in GB, {where}; the estimate is that of [flux_cost](flux_cost.md) for numbers in "
        f"{kind}.\n\n"
        + table(["stage", "peak", "estimated", "seconds", "of the processor"], rows)
        + "\n"
        + "\n\n".join(notes)
        + "\n\n## What does not fit in 24 GB\n\nBy the estimate, GB of a GPU:\n\n"
        + table(["", "needs"], too_large(BackboneSize()))
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def _of_all_blocks(
    document: dict[str, Any], stages: dict[str, dict[str, Any]], libraries: int, factor: float
) -> str:
    """Say what a run of some blocks lets expect of all."""
    kind = _KINDS[stages["load in 4 bits"]["computed_in"]]
    sides = Options(side=document["side"], training_side=document["training_side"])
    whole, expected = estimates(BackboneSize(), sides, kind), document["estimated_bytes"]
    parts = []
    for name, row in stages.items():
        beyond = row["peak_bytes"] - libraries - expected[name]
        seconds = factor * row.get("step_processor_seconds", row["processor_seconds"])
        parts.append(f"{name} {(whole[name] + beyond) / 1e9:.1f} GB and {seconds / 60:.0f} minutes")
    return (
        "Expected of all blocks (the estimate of the whole plus what this run needed beyond its own; the "
        f"processor's time in proportion to the blocks): {', '.join(parts)}."
    )


def write(options: Options, document: dict[str, Any]) -> None:
    """Write the figures and the page."""
    write_text(options.output / "real_size.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "real_size.md", render(document), __spec__.name)


def measure(options: Options) -> str:
    """Write the weights, run the stages in a child process, and return the page.

    Raises:
        ClearpaneError: A CPU was asked for in another system than Linux, or the output folder is missing.
    """
    if not torch.cuda.is_available() and sys.platform != "linux":
        raise ClearpaneError("without a GPU this needs Linux, which tells a process its peak of memory")
    if not options.output.is_dir():
        raise ClearpaneError(f"{options.output}: there is no such folder; create it first")
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        base = write_base(Path(place), options.size)
        size = backbone_size(base)
        print(f"wrote {sum(x.stat().st_size for x in base.rglob('*.safetensors')) / 1e9:.1f} GB", flush=True)
        document: dict[str, Any] = {
            "stages": [],
            "size": size.__dict__,
            "side": options.side,
            "training_side": options.training_side,
            "disk_bytes": sum(x.stat().st_size for x in base.rglob("*.safetensors")),
            "ended": "",
            "machine": describe_machine(),
        }
        context = get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=run_stages, args=(options, base, sending))
        child.start()
        sending.close()
        try:
            while True:
                row = receiving.recv()
                print(row, flush=True)
                document["stages"].append(row)
                kind = _KINDS[document["stages"][0]["computed_in"]]
                document["estimated_bytes"] = estimates(size, options, kind)
                write(options, document)
        except EOFError:
            child.join()
        finally:
            child.terminate()
        if child.exitcode:
            document["ended"] = f"the process ended with {child.exitcode} after the last stage above"
            write(options, document)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
