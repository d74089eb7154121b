"""Settings that trained weights must be used with: a JSON file beside them, and the base model it names."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import read_json
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.folders import base_fingerprint, find_base
from clearpane.separation.flux.task_embedding import TaskEmbedding

S = TypeVar("S")


def save_settings(settings: Any, path: Path) -> None:
    """Write a dataclass as JSON, atomically."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")


def load_settings(kind: type[S], path: Path, made_by: str) -> S:
    """Read settings written by `save_settings`.

    Args:
        made_by: Command whose output folder holds such a file.

    Raises:
        ClearpaneError: The file is missing or damaged.
    """
    if not path.exists():
        raise ClearpaneError(f"{path}: missing; `weights` names the output folder of {made_by}")
    return read_json(kind, path)


def find_trained_base(weights: Path, base: str, fingerprint: str | None) -> Path:
    """Return the directory of the base model that weights were trained on.

    Args:
        weights: Folder of the weights, for the error message.
        base: Base model: a directory or a hub name.
        fingerprint: Fingerprint of the base model that the weights were trained on.

    Raises:
        ClearpaneError: The base model cannot be found, or it is another one.
    """
    try:
        found = find_base(base)
    except ClearpaneError as error:
        raise ClearpaneError(f"{error}; give the base model of {weights} as `base`") from error
    if base_fingerprint(found) != fingerprint:
        raise ClearpaneError(f"{weights}: was trained on another base model than {found}; give it as `base`")
    return found


def check_task(task: TaskEmbedding, backbone: Backbone, path: Path) -> None:
    """Raise ClearpaneError if a task embedding does not fit the transformer's width."""
    config = backbone.transformer.config
    there = (task.prompt_embeds.shape[-1], task.pooled_prompt_embeds.shape[-1])
    wanted = (config.joint_attention_dim, config.pooled_projection_dim)
    if there != wanted:
        raise ClearpaneError(
            f"{path}: has {there[0]} and {there[1]} channels, the model takes {wanted[0]} and {wanted[1]}"
        )
