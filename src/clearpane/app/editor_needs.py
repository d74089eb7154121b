"""Memory that the models built on image editors need on this computer, for ``clearpane doctor --model``."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.flux.options import FluxOptions, Precision

# Side of a photograph as the FLUX models process it.
_SIDE = 512
# Default rank of the LoRA that clearpane train makes.
_RANK = 16
# Candidates of GenSIRR's early branching, as published.
_CANDIDATES = 4
_NO_GPU = "processor, no NVIDIA GPU"


def editor_needs(model: str, kind: type[FluxOptions], base: str | None, side: int | None) -> dict[str, Any]:
    """Return the memory needed by precision and the memory available, as a JSON-ready dictionary.

    Args:
        model: Name of the separator.
        kind: Options class of the separator.
        base: Directory of a base model; None for FLUX.1 Kontext, which need not be on this computer.
        side: Side in pixels of the square that a photograph is processed at; None for 512.

    Raises:
        MissingExtraError: The packages are not installed.
        ClearpaneError: The directory is not a base model.
    """
    side = _SIDE if side is None else side
    try:
        import torch

        from clearpane.separation.flux.folders import check_directory
        from clearpane.separation.flux.loading import free_bytes
        from clearpane.separation.flux.memory import (
            BackboneSize,
            backbone_size,
            removal_bytes,
            training_bytes,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--model {model}", "flux") from error
    if side < 1:
        raise ClearpaneError(f"--side {side}: give 1 or more")
    if base is None:
        size = BackboneSize()
    else:
        check_directory(Path(base))
        size = backbone_size(Path(base))
    gpu = torch.cuda.is_available()
    available = free_bytes(torch.device("cuda" if gpu else "cpu"))
    main_memory = free_bytes(torch.device("cpu"))
    pictures = kind.pictures
    branches = "candidates" in {field.name for field in fields(kind)}
    rows = []
    for precision in get_args(Precision):
        quantised = precision in ("8bit", "nf4")
        needed = {
            "remove": removal_bytes(size, precision, side, pictures=pictures),
            "train": training_bytes(size, precision, side, _RANK, pictures),
        }
        if branches:
            needed["remove_branching"] = removal_bytes(
                size, precision, side, pictures=pictures, candidates=_CANDIDATES
            )
        fits = {name: value <= available and (gpu or not quantised) for name, value in needed.items()}
        if not quantised:
            offloaded = removal_bytes(size, precision, side, offload=True, pictures=pictures)
            needed["remove_offloaded"] = offloaded
            # Offloading keeps all weights in main memory.
            fits["remove_offloaded"] = gpu and offloaded <= available and needed["remove"] <= main_memory
        rows.append({"precision": precision, "bytes": needed, "fits": fits})
    return {
        "model": model,
        "title": kind.title,
        "pictures": pictures,
        "base": base or "FLUX.1 Kontext",
        "parameters": size.transformer + size.vae,
        "side": side,
        "device": torch.cuda.get_device_name() if gpu else _NO_GPU,
        "available_bytes": available,
        "text_bytes": 2 * size.text,
        "main_memory_bytes": main_memory,
        "precisions": rows,
        "works": any(row["fits"]["remove"] or row["fits"].get("remove_offloaded") for row in rows),
    }


def windowseat_needs(base: str | None, side: int | None) -> dict[str, Any]:
    """Return what `editor_needs` does for WindowSeat, which is not trained here.

    Args:
        base: Directory of a base model; None for Qwen-Image-Edit-2509, which need not be on this computer.
        side: Side in pixels of a tile; None for the published one.

    Raises:
        MissingExtraError: The packages are not installed.
        ClearpaneError: The directory is not a base model.
    """
    try:
        import torch

        from clearpane.separation.flux.folders import check_directory
        from clearpane.separation.flux.loading import free_bytes
        from clearpane.separation.windowseat.loading import BASE_PIPELINE
        from clearpane.separation.windowseat.memory import TILE, QwenSize, qwen_size, removal_bytes
    except ModuleNotFoundError as error:
        raise MissingExtraError("--model windowseat", "flux") from error
    side = TILE if side is None else side
    if side < 1:
        raise ClearpaneError(f"--side {side}: give 1 or more")
    size = QwenSize()
    if base is not None:
        check_directory(Path(base), ("transformer", "vae"), BASE_PIPELINE)
        size = qwen_size(Path(base))
    gpu = torch.cuda.is_available()
    available = free_bytes(torch.device("cuda" if gpu else "cpu"))
    rows = []
    for precision in get_args(Precision):
        needed = removal_bytes(size, precision, side, on_cpu=not gpu)
        fits = needed <= available and (gpu or precision != "8bit")
        rows.append({"precision": precision, "bytes": {"remove": needed}, "fits": {"remove": fits}})
    return {
        "model": "windowseat",
        "title": "WindowSeat",
        "pictures": 1,
        "base": base or "Qwen-Image-Edit-2509",
        "parameters": size.transformer + size.vae,
        "side": side,
        "device": torch.cuda.get_device_name() if gpu else _NO_GPU,
        "available_bytes": available,
        "precisions": rows,
        "works": any(row["fits"]["remove"] for row in rows),
    }


def print_needs(facts: dict[str, Any], as_json: bool) -> None:
    """Print the needs as a table or as JSON."""
    if as_json:
        print(json.dumps(facts))
        return
    console = Console()
    console.print(f"{facts['title']} on {facts['base']}, {facts['parameters'] / 1e9:.2f} billion parameters")
    console.print(f"This computer: {facts['device']}, {decimal(facts['available_bytes'])} free")
    seen = "a picture" if facts["pictures"] == 1 else f"{facts['pictures']} pictures"
    table = Table(box=box.SIMPLE, title=f"Memory needed for {seen} of {facts['side']} x {facts['side']}")
    known = {
        "remove": "remove",
        "remove_offloaded": "remove --offload",
        "remove_branching": f"--candidates {_CANDIDATES}",
        "train": "train, LoRA",
    }
    needs = {name for row in facts["precisions"] for name in row["bytes"]}
    titles = {name: title for name, title in known.items() if name in needs}
    for title in ("--precision", *titles.values()):
        table.add_column(title, justify="left" if title.startswith("--p") else "right")
    for row in facts["precisions"]:
        cells = [
            f"{decimal(row['bytes'][name])} {'fits' if row['fits'][name] else 'no'}"
            if name in row["bytes"]
            else ""
            for name in titles
        ]
        table.add_row(row["precision"], *cells)
    console.print(table)
    if "train" not in titles:
        console.print("8bit needs an NVIDIA GPU. On a CPU, nf4 is loaded in bfloat16 first.")
        return
    console.print(
        f"Training encodes the sentence once: {decimal(facts['text_bytes'])} of main memory, "
        f"{decimal(facts['main_memory_bytes'])} are free."
    )
    console.print(
        "8bit, nf4 and --offload need an NVIDIA GPU, --offload main memory for the whole model too."
    )
