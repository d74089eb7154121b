"""Directories of models: check their parts, fingerprint them, count their parameters."""

import hashlib
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from clearpane.errors import ClearpaneError
from clearpane.hub.download import fetch
from clearpane.json_files import read_object

PICTURE_PARTS = ("transformer", "vae", "scheduler")


TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


KONTEXT_PIPELINE = "FluxKontextPipeline"


# Models that are stored as these pipelines.
_MODELS = {KONTEXT_PIPELINE: "FLUX.1 Kontext", "QwenImageEditPlusPipeline": "Qwen-Image-Edit-2509"}

# Bytes hashed at each end of a file for the fingerprint.
_SAMPLED = 2**20


def check_directory(
    base: Path, parts: tuple[str, ...] = PICTURE_PARTS, pipeline: str = KONTEXT_PIPELINE
) -> None:
    """Check that a directory is a diffusers pipeline of this class with all files of the given parts.

    Raises:
        ClearpaneError: The directory holds something else, or files are missing.
    """
    index = base / "model_index.json"
    if not base.is_dir():
        raise ClearpaneError(f"{base}: there is no such directory; give the base model's, from the model hub")
    if not index.is_file():
        raise ClearpaneError(f"{index}: missing; {base} is not a model's directory as diffusers stores it")
    content = read_object(index)
    name = content.get("_class_name")
    if name != pipeline:
        raise ClearpaneError(f"{base}: is a {name}, not a {pipeline}; {_MODELS[pipeline]} is needed")
    for part in parts:
        if content.get(part) == [None, None]:
            raise ClearpaneError(
                f"{base}: was stored without its {part}, which encodes the sentence in training; such "
                "weights cannot be trained further, give the original base model"
            )
        check_part(base / part)


def check_part(folder: Path) -> None:
    """Raise ClearpaneError if a part of a pipeline lacks its configuration or safetensors."""
    missing = _missing_files(folder)
    if missing:
        raise ClearpaneError(
            f"{folder / missing[0]}: missing; {folder.parent} is not complete, fetch it again"
        )


def _missing_files(folder: Path) -> list[str]:
    if folder.name == "scheduler":
        needed = ["scheduler_config.json"]
    elif folder.name.startswith("tokenizer"):
        needed = ["tokenizer_config.json"]
    else:
        needed = ["config.json"]
        indices = sorted(folder.glob("*.safetensors.index.json"))
        for index in indices:
            needed += _shards(index)
        if not indices and not any(folder.glob("*.safetensors")):
            needed.append("*.safetensors")
    return [name for name in needed if not (folder / name).is_file()]


def _shards(index: Path) -> list[str]:
    """Return the files that an index of sharded weights names; they must lie beside it."""
    places = read_object(index).get("weight_map")
    names: set[Any] = set(places.values()) if isinstance(places, dict) else {None}
    for name in names:
        # Links are followed: the model hub's own cache is made of them.
        if not isinstance(name, str) or not name.endswith(".safetensors") or "/" in name or "\\" in name:
            raise ClearpaneError(f"{index}: names {name!r}, not a safetensors file beside it; fetch it again")
    return sorted(names)


def find_base(base: str, parts: tuple[str, ...] = PICTURE_PARTS, pipeline: str = KONTEXT_PIPELINE) -> Path:
    """Find the directory of a base model: a local one, or a hub name (``owner/name``), downloaded.

    Args:
        parts: Names of the parts to require or download.
        pipeline: Name of the diffusers class that the model is stored as.

    Raises:
        ClearpaneError: There is no such directory, and it cannot be downloaded.
    """
    path = fetch(base, ["model_index.json", *(f"{part}/*" for part in parts)])
    check_directory(path, parts, pipeline)
    return path


def base_fingerprint(base: Path) -> str:
    """Return a base model's identity: the `folder_fingerprint` of its transformer and of its VAE."""
    return " ".join(folder_fingerprint(base / part) for part in ("transformer", "vae"))


def folder_fingerprint(folder: Path) -> str:
    """Hash a model's directory: its configuration and both ends of each weights file.

    Only the first and last megabyte of each file and its length are hashed: reading all of 24 GB would take
        longer than separating a photograph.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        length = path.stat().st_size
        digest.update(f"{path.name} {length}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED))
            file.seek(max(0, length - _SAMPLED))
            digest.update(file.read(_SAMPLED))
    return digest.hexdigest()[:16]


def absolute_base(base: str) -> str:
    """Return a base model's name for storage: an absolute directory, or a hub name unchanged."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def count_parameters(folder: Path) -> int:
    """Count the parameters of one part of a base model from the headers of its files, without loading it.

    Raises:
        ClearpaneError: A file is damaged.
    """
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                total += sum(_size(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ClearpaneError(f"{path}: damaged, fetch it again ({error})") from error
    return total


def _size(shape: list[int]) -> int:
    return math.prod(shape)
