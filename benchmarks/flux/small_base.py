"""kontext-small's weights as they lie in the repository, which is what the experiments start from.

A matrix or a convolution is stored as ``round(w / s)`` in 8 bits with a scale ``s = max |w| / 127`` for each
of its outputs, all else in 16 bits. Training the base takes hours, and numbers found on another one would not
compare.
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
    """Of these very weights: others have another folder."""
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8] if WEIGHTS.is_file() else "none"
    return ROOT / "build" / "benchmarks" / f"kontext-small-{digest}"


BASE = _base_folder()
"""Where the pipeline lies, as diffusers stores it."""

# The last two so that their words are known to the tokenizers.
SENTENCES = [*(edit.sentence for edit in EDITS.values()), PANEL_CAPTION, REMOVAL_SENTENCE]
_LEVELS = 127
_SCALE = "|scale"


def weighted_parts(pipeline: FluxKontextPipeline) -> dict[str, nn.Module]:
    """What has weights."""
    names = ("vae", "transformer", "text_encoder", "text_encoder_2")
    return {name: getattr(pipeline, name) for name in names}


def pack(value: Tensor) -> dict[str, Tensor]:
    """What is stored of a tensor: by the end of its name."""
    if value.ndim < 2:
        return {"": value.half()}
    scale = value.flatten(1).abs().amax(dim=1).clamp(min=1e-8).float() / _LEVELS
    numbers = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8)
    return {"": numbers.contiguous(), _SCALE: scale}


def unpack(stored: dict[str, Tensor], name: str) -> Tensor:
    """The inverse of `pack` but for the rounding."""
    value = stored[name].float()
    scale = stored.get(name + _SCALE)
    return value if scale is None else value * scale.view(-1, *[1] * (value.ndim - 1))


def save_weights(pipeline: FluxKontextPipeline, path: Path = WEIGHTS) -> None:
    """Write what `load_base` reads."""
    tensors = {}
    for part, module in weighted_parts(pipeline).items():
        for name, value in module.state_dict().items():
            tensors |= {f"{part}.{name}{end}": x for end, x in pack(value).items()}
    config = pipeline.vae.config
    facts = {"vae": json.dumps({key: config[key] for key in ("shift_factor", "scaling_factor")})}
    with atomic_path(path, overwrite=True) as temporary:
        save_file(tensors, temporary, facts)


def load_pipeline(path: Path = WEIGHTS) -> FluxKontextPipeline:
    """The pipeline of these weights.

    Raises:
        ClearpaneError: the file is missing, damaged or of another network.
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
    """The directory of the pipeline, made from the repository's weights if it is not there.

    Raises:
        ClearpaneError: see `load_pipeline`.
    """
    if not (folder / "model_index.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as temporary:
            load_pipeline().save_pretrained(temporary)
    return folder
