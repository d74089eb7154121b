"""LIRM's weights in a file: safetensors, 16 bits, with the configuration in its head."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.reconstruction.lirm.model import Lirm, LirmConfig

LIRM_SMALL_WEIGHTS = Path(__file__).parent / "weights" / "lirm_small.safetensors"
"""What comes with Clearpane; docs/models/lirm-small.md is its card."""


def weights_file(named: Path) -> Path:
    """Find a weights file: for ``lirm-small`` the one that comes with Clearpane, else the given one.

    A file of one's own with that name needs its folder's name too.
    """
    return LIRM_SMALL_WEIGHTS if str(named) == "lirm-small" else named


def save_lirm(
    path: Path, config: LirmConfig, weights: dict[str, Tensor], environments: tuple[str, ...] = ()
) -> None:
    """Write weights by their names in the model, whole or not at all.

    Args:
        environments: the maps that they were trained under, so that nobody measures them under one of these.

    Raises:
        ClearpaneError: they cannot be written.
    """
    stored = {name: value.to("cpu", torch.float16).contiguous() for name, value in weights.items()}
    with atomic_path(path, overwrite=True) as temporary:
        facts = {"lirm": json.dumps(asdict(config)), "environments": json.dumps(environments)}
        save_file(stored, temporary, facts)


def trained_environments(path: Path) -> tuple[str, ...]:
    """Return the maps that a file's weights were trained under.

    Raises:
        ClearpaneError: there is no such file, or it is damaged.
    """
    return tuple(json.loads(_facts(path).get("environments", "[]")))


def _facts(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read as safetensors; fetch or train it again") from error


def load_lirm(path: Path) -> Lirm:
    """Load the model of a file, in float32, ready to be used.

    Raises:
        ClearpaneError: there is no such file, or it is damaged or no LIRM.
    """
    facts = _facts(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read as safetensors; fetch or train it again") from error
    try:
        config = LirmConfig(**json.loads(facts["lirm"]))
        lirm = Lirm(config)
        lirm.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ClearpaneError(f"{path}: holds no LIRM; name a file that clearpane train lirm wrote") from error
    return lirm.eval()
