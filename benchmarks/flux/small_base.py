"""Load kontext-small's weights from the repository, the starting point of the experiments.

A matrix or a convolution is stored as ``round(w / s)`` in 8 bits with a scale ``s = max |w| / 127`` for each
of its outputs, everything else in 16 bits. Training the base takes hours, and figures of another base would
not be comparable.
"""

import hashlib
import json
from pathlib import Path

import torch
from diffusers import FluxKontextPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.common.measuring import ROOT
from benchmarks.flux.edits import EDITS
from benchmarks.flux.small_kontext import SmallKontext, new_pipeline
from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, atomic_path
from clearpane.separation.gensirr.separator import REMOVAL_SENTENCE
from clearpane.synthesis.dataset.shards import PANEL_CAPTION

WEIGHTS = Path(__file__).with_name("kontext_small.safetensors")


def _base_folder() -> Path:
    """Return the folder for exactly these weights; others have another folder."""
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8] if WEIGHTS.is_file() else "none"
    return ROOT / "build" / "benchmarks" / f"kontext-small-{digest}"


BASE = _base_folder()
"""Folder of the pipeline, as diffusers stores it."""

# The last two are included so that the tokenizers know their words.
SENTENCES = [*(edit.sentence for edit in EDITS.values()), PANEL_CAPTION, REMOVAL_SENTENCE]
_LEVELS = 127
_SCALE = "|scale"


def weighted_parts(pipeline: FluxKontextPipeline) -> dict[str, nn.Module]:
    """Return the parts that have weights."""
    names = ("vae", "transformer", "text_encoder", "text_encoder_2")
    return {name: getattr(pipeline, name) for name in names}


def pack(value: Tensor) -> dict[str, Tensor]:
    """Return what is stored of a tensor, by the suffix of its name."""
    if value.ndim < 2:
        return {"": value.half()}
    scale = value.flatten(1).abs().amax(dim=1).clamp(min=1e-8).float() / _LEVELS
    numbers = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8)
    return {"": numbers.contiguous(), _SCALE: scale}


def unpack(stored: dict[str, Tensor], name: str) -> Tensor:
    """Undo `pack`, up to rounding."""
    value = stored[name].float()
    scale = stored.get(name + _SCALE)
    return value if scale is None else value * scale.view(-1, *[1] * (value.ndim - 1))


def save_weights(pipeline: FluxKontextPipeline, path: Path = WEIGHTS) -> None:
    """Write the file that `load_base` reads."""
    tensors = {}
    for part, module in weighted_parts(pipeline).items():
        for name, value in module.state_dict().items():
            tensors |= {f"{part}.{name}{end}": x for end, x in pack(value).items()}
    config = pipeline.vae.config
    facts = {"vae": json.dumps({key: config[key] for key in ("shift_factor", "scaling_factor")})}
    with atomic_path(path, overwrite=True) as temporary:
        save_file(tensors, temporary, facts)


def load_pipeline(path: Path = WEIGHTS) -> FluxKontextPipeline:
    """Load the pipeline with these weights.

    Raises:
        ClearpaneError: The file is missing or damaged, or belongs to another network.
    """
    if not path.is_file():
        raise ClearpaneError(f"{path}: missing; make it with benchmarks/flux/kontext_small.py")
    try:
        stored = load_file(path)
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["vae"])
        pipeline = new_pipeline(SmallKontext(), SENTENCES)
        for part, module in weighted_parts(pipeline).items():
            module.load_state_dict({n: unpack(stored, f"{part}.{n}") for n in module.state_dict()})
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError) as error:
        raise ClearpaneError(f"{path}: not the weights of kontext-small ({error})") from error
    pipeline.vae.register_to_config(**facts)
    return pipeline


def load_base(folder: Path = BASE) -> Path:
    """Return the directory of the pipeline, made from the repository's weights if it does not exist.

    Raises:
        ClearpaneError: See `load_pipeline`.
    """
    if not (folder / "model_index.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as temporary:
            load_pipeline().save_pretrained(temporary)
    return folder
