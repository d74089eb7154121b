"""Check on a GPU, in some four minutes, what a CPU cannot show of the models built on FLUX.1 Kontext.

    python -m benchmarks.flux.first_gpu

A small model of the same classes, untrained: training steps of a LoRA on weights of 4 and 8 bits, with the
types between the blocks and the peak memory; the same LoRA with the transformer in main memory (offload); one
step of the whole transformer, sharded over two processes. Writes docs/figures/first_gpu.md and
first_gpu.json. Needs the extra [flux] and an NVIDIA GPU.
"""

import json
import os
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
import torch.multiprocessing as processes
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.flux.small_kontext import SmallKontext, new_pipeline
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, add_lora, load_lora, save_lora, train_in_float32
from clearpane.separation.flux.memory import backbone_size, training_bytes
from clearpane.separation.flux.options import Precision
from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.flux.task_embedding import LearnableTask, TaskEmbedding
from clearpane.training.flux.flow_matching import flow_matching_loss
from clearpane.training.flux.gensirr import shard_over_devices
from clearpane.training.precision import mixed_precision

SENTENCE = "please remove the reflection."
# Heads are 64 wide, as bitsandbytes' blocks of 64 weights.
SMALL = SmallKontext((32, 64, 128, 128), 16, width=512, heads=8, double_blocks=2, single_blocks=4)
SIDE, RANK, STEPS, RATE = 512, 16, 20, 1e-3
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "8bit", "nf4")


@dataclass(frozen=True)
class Options:
    """Check on a GPU what a CPU cannot show."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of first_gpu.md and first_gpu.json."""


def write_base(folder: Path) -> Path:
    """Write the small base model, untrained, and return its directory."""
    torch.manual_seed(0)
    pipeline = new_pipeline(SMALL, [SENTENCE])
    torch.nn.init.normal_(pipeline.transformer.proj_out.weight, std=0.02)
    pipeline.save_pretrained(folder)
    return folder


def train_steps(backbone: Backbone, task: TaskEmbedding, side: int, steps: int) -> dict[str, Any]:
    """Train a LoRA on one picture; return the losses, the types between the blocks, and peak memory."""
    transformer, device = backbone.transformer, backbone.device
    parameters = add_lora(transformer, RANK, "all")
    train_in_float32(transformer)
    transformer.enable_gradient_checkpointing()
    kinds: set[str] = set()
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        block.register_forward_hook(lambda block, given, made: kinds.update(str(x.dtype) for x in made))
    optimizer = torch.optim.AdamW(parameters.values(), RATE)
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand((1, 3, side, side), generator=generator)
    with torch.no_grad():
        latents = backbone.encode(photo)
    task = task.to(device, latents.dtype)
    losses = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps):
        with mixed_precision(device.type, True):
            loss = flow_matching_loss(
                backbone, latents, latents, task, DEFAULT_GUIDANCE, torch.Generator().manual_seed(1)
            )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return {"losses": losses, "block_types": sorted(kinds), "peak_bytes": peak}


def train_all_precisions(base: Path, task: TaskEmbedding, lora: Path) -> dict[str, Any]:
    """Train in bfloat16, 8 and 4 bits; save the LoRA trained in bfloat16."""
    rows = {}
    for precision in PRECISIONS:
        torch.cuda.empty_cache()
        backbone = load_backbone(base, Loading(precision, "cuda"))
        rows[precision] = train_steps(backbone, task, SIDE, STEPS)
        estimate = training_bytes(backbone_size(base), precision, SIDE, RANK, pictures=1)
        rows[precision]["estimated_bytes"] = estimate
        if precision == "bfloat16":
            parameters = {n: p for n, p in backbone.transformer.named_parameters() if p.requires_grad}
            save_lora(lora, parameters, backbone.transformer)
        del backbone
    return rows


def compare_offload(base: Path, task: TaskEmbedding, lora: Path) -> dict[str, Any]:
    """Sample with the LoRA, with the transformer on the GPU and in main memory."""
    results, peaks = [], []
    for offload in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        backbone = load_backbone(base, Loading("bfloat16", "cuda", offload))
        load_lora(backbone.transformer, lora, RANK)
        photo = torch.rand((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            reference = backbone.encode(photo)
            latents = sample(backbone, reference, task.to("cuda", torch.bfloat16), Sampling(4))
        results.append(latents.float().cpu())
        peaks.append(torch.cuda.max_memory_allocated())
        del backbone, reference, latents
    return {"largest_difference": (results[0] - results[1]).abs().max().item(), "peak_bytes": peaks}


def step_of_one_process(rank: int, base: Path, port: int, cuda: bool, result: Path) -> None:
    """Shard the transformer over two processes, and take a step; the first writes losses and types."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=2)
    backbone = load_backbone(base, Loading("float32", str(device)))
    backbone.transformer.requires_grad_(True)
    channels = backbone.transformer.config
    text = TaskEmbedding(
        torch.zeros(1, 8, channels.joint_attention_dim), torch.zeros(1, channels.pooled_projection_dim)
    )
    task = LearnableTask(text).to(device)
    shard_over_devices(backbone.transformer, task, device, 2)
    optimizer = torch.optim.AdamW([*backbone.transformer.parameters(), *task.parameters()], RATE)
    latents = torch.rand((1, backbone.vae.config.latent_channels, 8, 8), device=device)
    losses = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(rank)
        loss = flow_matching_loss(backbone, latents, latents, task(), DEFAULT_GUIDANCE, generator)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if rank == 0:
        result.write_text(json.dumps({"device": device.type, "losses": losses}))
    distributed.destroy_process_group()


def train_in_two_processes(base: Path, folder: Path) -> dict[str, Any]:
    """Train in two processes, on two GPUs where there are two, otherwise on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = folder / "two_processes.json"
    cuda = torch.cuda.device_count() > 1
    processes.spawn(step_of_one_process, (base, port, cuda, result), nprocs=2)
    facts: dict[str, Any] = json.loads(result.read_text())
    return facts


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    rows = [
        [
            precision,
            ", ".join(row["block_types"]),
            f"{row['losses'][0]:.3f}, {row['losses'][-1]:.3f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['estimated_bytes'] / 1e6:.0f}",
        ]
        for precision, row in document["training"].items()
    ]
    offload, two = document["offload"], document["two_processes"]
    return (
        "# First steps on a GPU\n\n"
        f"{document['gpu']}; a small model of FLUX.1 Kontext's classes, {SMALL.width} wide, a picture of "
        f"{SIDE} x {SIDE}, a LoRA of rank {RANK}, {STEPS} steps.\n\n"
        + table(["weights", "type between blocks", "loss, first and last", "peak MB", "estimated MB"], rows)
        + "\nWith the transformer in main memory the same LoRA paints the same latents to within "
        f"{offload['largest_difference']:.2g}; peak {offload['peak_bytes'][0] / 1e6:.0f} MB without, "
        f"{offload['peak_bytes'][1] / 1e6:.0f} MB with it.\n\n"
        f"Sharded over two processes ({two['device']}): loss {two['losses'][0]:.3f}, then "
        f"{two['losses'][1]:.3f}.\n\n"
        f"{document['seconds']:.0f} seconds in all.\n\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Run all checks.

    Raises:
        ClearpaneError: There is no GPU.
    """
    if not torch.cuda.is_available():
        raise ClearpaneError("there is no NVIDIA GPU that PyTorch can use; run this where there is one")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = write_base(folder / "base")
        task = encode_text(base, SENTENCE)
        document = {
            "gpu": torch.cuda.get_device_name(),
            "training": train_all_precisions(base, task, folder / LORA_FILE),
            "offload": compare_offload(base, task, folder / LORA_FILE),
            "two_processes": train_in_two_processes(base, folder),
            "machine": describe_machine(),
        }
    document["seconds"] = time.perf_counter() - start
    write_text(options.output / "first_gpu.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "first_gpu.md", render(document), __spec__.name)
    print(render(document))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except ClearpaneError as problem:
        sys.exit(str(problem))
