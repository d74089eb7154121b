"""Store LIRM's weights in a file: safetensors, 16 bits, with the configuration in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import parse_json
from clearpane.reconstruction.lirm.model import Lirm, LirmConfig
from clearpane.tensor_files import save_tensors

# Larger sizes are no model's, but would ask for all memory.
_LARGEST, _LARGEST_GRID = 8192, 512

LIRM_SMALL_WEIGHTS = Path(__file__).parent / "weights" / "lirm_small.safetensors"
"""Weights that come with Clearpane; docs/models/lirm-small.md is their model card."""


def weights_file(named: Path) -> Path:
    """Return the path of a weights file: for ``lirm-small`` the one that comes with Clearpane.

    A file of the user's own with that name must be given with its folder.
    """
    return LIRM_SMALL_WEIGHTS if str(named) == "lirm-small" else named


def save_lirm(
    path: Path, config: LirmConfig, weights: dict[str, Tensor], environments: tuple[str, ...] = ()
) -> None:
    """Write weights by their names in the model, completely or not at all.

    Args:
        environments: Names of the environment maps in training, so that evaluations can avoid them.

    Raises:
        ClearpaneError: The file cannot be written.
    """
    stored = {name: value.to("cpu", torch.float16).contiguous() for name, value in weights.items()}
    with atomic_path(path, overwrite=True) as temporary:
        facts = {"lirm": json.dumps(asdict(config)), "environments": json.dumps(environments)}
        save_tensors(temporary, stored, facts)


def trained_environments(path: Path) -> tuple[str, ...]:
    """Return the names of the maps that a file's weights were trained under.

    Raises:
        ClearpaneError: The file does not exist or is damaged.
    """
    try:
        return parse_json(tuple[str, ...], _facts(path).get("environments", "[]"))
    except ClearpaneError as error:
        raise ClearpaneError(f"{path}: environments: {error}") from error


def _facts(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read as safetensors; fetch or train it again") from error


def load_lirm(path: Path) -> Lirm:
    """Load the model of a file, in float32, in evaluation mode.

    Raises:
        ClearpaneError: The file does not exist, is damaged, or holds no LIRM.
    """
    facts = _facts(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read as safetensors; fetch or train it again") from error
    try:
        config = parse_json(LirmConfig, facts["lirm"])
        _check_config(config, tensors)
        lirm = Lirm(config)
        lirm.load_state_dict({name: value.float() for name, value in tensors.items()})
    except ClearpaneError as error:
        raise ClearpaneError(f"{path}: configuration: {error}") from error
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ClearpaneError(f"{path}: holds no LIRM; name a file that clearpane train lirm wrote") from error
    return lirm.eval()


def _check_config(config: LirmConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check a configuration, so that nothing larger is made of it than the file's own tensors.

    Raises:
        ValueError, RuntimeError: It cannot be one, or is that of other tensors.
    """
    for name, value in asdict(config).items():
        largest = _LARGEST_GRID if name in ("evidence", "volume") else _LARGEST
        if isinstance(value, int) and not (0 if name == "evidence" else 1) <= value <= largest:
            raise ValueError(f"{name} is {value}")
    if config.blocks != len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}):
        raise ValueError("another number of blocks")
    with torch.device("meta"):  # sizes without memory
        expected = {name: value.shape for name, value in Lirm(config).state_dict().items()}
    if expected != {name: value.shape for name, value in tensors.items()}:
        raise ValueError("other tensors than its configuration asks for")
