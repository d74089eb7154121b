"""A base model from its directory: checked, then loaded, quantised or offloaded as the machine needs it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import (
    AutoencoderKL,
    BitsAndBytesConfig,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from safetensors import SafetensorError, safe_open

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.base import Precision
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.memory import BackboneSize, removal_bytes
from clearpane.separation.flux.task_embedding import TaskEmbedding

PICTURE_PARTS = ("transformer", "vae", "scheduler")
TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_PIPELINE = "FluxKontextPipeline"
# Of each end of a file, for the fingerprint.
_SAMPLED = 2**20
# Tokens that diffusers pads the text of FLUX.1 to; smaller models say less in their tokenizer.
_TEXT_LENGTH = 512


@dataclass(frozen=True)
class Loading:
    """How a base model is held.

    Attributes:
        precision: of the transformer's weights; ``8bit`` and ``nf4`` (four bits) need bitsandbytes and
            compute in bfloat16. The VAE is never quantised.
        device: "cuda", "mps" or "cpu"; None: the first of them that this computer has.
        offload: keep the transformer in main memory, and on the GPU only the block at work: slower.
    """

    precision: Precision = "bfloat16"
    device: str | None = None
    offload: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return torch.float32 if self.precision == "float32" else torch.bfloat16

    def find_device(self) -> torch.device:
        """The device; see the attribute."""
        if self.device:
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_directory(base: Path, parts: tuple[str, ...] = PICTURE_PARTS) -> None:
    """See that a directory is a FluxKontextPipeline with all files of the given parts.

    Raises:
        ClearpaneError: it is something else, or files are missing.
    """
    index = base / "model_index.json"
    if not base.is_dir():
        raise ClearpaneError(f"{base}: there is no such directory; give the base model's, from the model hub")
    if not index.is_file():
        raise ClearpaneError(f"{index}: missing; {base} is not a model's directory as diffusers stores it")
    name = read_object(index).get("_class_name")
    if name != _PIPELINE:
        raise ClearpaneError(f"{base}: is a {name}, not a {_PIPELINE}; FLUX.1 Kontext is needed")
    for part in parts:
        check_part(base / part)


def check_part(folder: Path) -> None:
    """Raise ClearpaneError where one part of a pipeline is not whole: its configuration and safetensors."""
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
        if indices:
            needed += sorted(set(read_object(indices[0]).get("weight_map", {}).values()))
        if not indices and not any(folder.glob("*.safetensors")):
            needed.append("*.safetensors")
    return [name for name in needed if not (folder / name).is_file()]


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileNotFoundError: it is missing.
        ClearpaneError: it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ClearpaneError(f"{path}: damaged, not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ClearpaneError(f"{path}: damaged, not an object of JSON")
    return value


def find_base(base: str, parts: tuple[str, ...] = PICTURE_PARTS) -> Path:
    """The directory of a base model: itself, or that of a hub's name (``owner/name``), fetched if need be.

    Args:
        parts: what must be there, or is fetched.

    Raises:
        ClearpaneError: there is no such directory, and the hub does not give one.
    """
    path = Path(base)
    if path.exists() or base.count("/") != 1 or base.startswith((".", "/", "~")):
        check_directory(path, parts)
        return path
    from huggingface_hub import snapshot_download

    wanted = ["model_index.json", *(f"{part}/*" for part in parts)]
    try:
        path = Path(snapshot_download(base, allow_patterns=wanted))
    except Exception as error:  # of the network, the hub, the file system: they share no base class
        raise ClearpaneError(
            f"{base}: no directory of that name, and it cannot be had from the model hub "
            f"({_first_line(error)})"
        ) from error
    check_directory(path, parts)
    return path


def base_fingerprint(base: Path) -> str:
    """What tells base models apart: the `folder_fingerprint` of the transformer and of the VAE."""
    return " ".join(folder_fingerprint(base / part) for part in ("transformer", "vae"))


def folder_fingerprint(folder: Path) -> str:
    """What tells models' directories apart: a hash of the configuration and of the weights' ends.

    The first and the last megabyte of each file and its length are taken: reading all of 24 GB would take
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
    """A base model's name as it is to be remembered: a directory absolute, a hub's name as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_backbone(base: Path, loading: Loading, vae_folder: Path | None = None) -> Backbone:
    """Load what works on pictures.

    Args:
        vae_folder: directory of another VAE than the base's.

    Raises:
        ClearpaneError: the directory is not complete, a file is damaged, or the device is not there or has
            not the memory.
        MissingExtraError: bitsandbytes is missing.
    """
    check_directory(base)
    if vae_folder:
        check_part(vae_folder)
    device = loading.find_device()
    quantised = loading.precision in ("8bit", "nf4")
    if quantised and loading.offload:
        raise ClearpaneError(f"--offload goes with float32 and bfloat16, not with {loading.precision}")
    if quantised and device.type != "cuda":
        raise ClearpaneError(
            f"--precision {loading.precision} needs an NVIDIA GPU; on this computer use bfloat16"
        )
    try:
        transformer = FluxTransformer2DModel.from_pretrained(
            base / "transformer",
            dtype=loading.dtype,
            quantization_config=_quantisation(loading.precision),
            local_files_only=True,
            use_safetensors=True,
        )
        vae = AutoencoderKL.from_pretrained(
            vae_folder or base / "vae", dtype=loading.dtype, local_files_only=True, use_safetensors=True
        )
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(base / "scheduler", local_files_only=True)
        for part in (transformer, vae):
            part.requires_grad_(False).eval()
        vae.to(device)
        if loading.offload:
            transformer.enable_group_offload(
                device, torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1
            )
        elif not quantised:  # bitsandbytes has put it on the GPU
            transformer.to(device)
    except ImportError as error:
        raise MissingExtraError(f"--precision {loading.precision}", "flux") from error
    except torch.OutOfMemoryError as error:
        raise out_of_memory(device) from error
    except Exception as error:  # of safetensors, diffusers, the device, the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({_first_line(error)})") from error
    if 4 * vae.config.latent_channels != transformer.config.in_channels:
        raise ClearpaneError(
            f"{vae_folder or base / 'vae'}: has {vae.config.latent_channels} channels, the transformer of "
            f"{base} takes {transformer.config.in_channels // 4}"
        )
    return Backbone(transformer, vae, scheduler, device)


def load_vae(base: Path) -> AutoencoderKL:
    """Load the VAE of a base model alone, in float32 and on the processor.

    Raises:
        ClearpaneError: a file is missing or damaged.
    """
    check_directory(base, ("vae",))
    try:
        return AutoencoderKL.from_pretrained(
            base / "vae", dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # of safetensors, diffusers, the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({_first_line(error)})") from error


def free_bytes(device: torch.device) -> int:
    """Memory of a device that is free now; the processor's is main memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


REMOVAL_REMEDY = "clearpane doctor with the same --model says which --precision or --offload needs less"


def check_memory(needed: int, device: torch.device, side: int, remedy: str = REMOVAL_REMEDY) -> None:
    """Raise ClearpaneError where a device has not the memory, before anything is loaded.

    Args:
        remedy: what to do.
    """
    if needed > (free := free_bytes(device)):
        raise ClearpaneError(
            f"pictures of {side} x {side} need {needed / 1e9:.1f} GB on {device}, {free / 1e9:.1f} GB are "
            f"free; {remedy}"
        )


def check_removal_memory(
    size: BackboneSize, loading: Loading, side: int, pictures: int = 3, candidates: int = 1
) -> None:
    """Raise ClearpaneError where the device, or with offloading main memory, will not do for a photograph.

    Args:
        size: of the base model.
        side: the photograph is seen at up to ``side * side`` pixels.
        pictures, candidates: see `removal_bytes`.
    """
    on_device, whole = (
        removal_bytes(size, loading.precision, side, offload, pictures, candidates)
        for offload in (loading.offload, False)
    )
    fewer = "; so do fewer --candidates" if candidates > 1 else ""
    check_memory(on_device, loading.find_device(), side, REMOVAL_REMEDY + fewer)
    if loading.offload:  # the whole of it waits there
        check_memory(whole, torch.device("cpu"), side)


def out_of_memory(device: torch.device) -> ClearpaneError:
    """What to tell when memory ran out after all."""
    return ClearpaneError(f"the memory of {device} is not enough; {REMOVAL_REMEDY}")


def _quantisation(precision: Precision) -> BitsAndBytesConfig | None:
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return BitsAndBytesConfig(load_in_8bit=True) if precision == "8bit" else None


def encode_text(base: Path, sentence: str) -> TaskEmbedding:
    """Encode a sentence with the base's text encoders, which are loaded for it and let go again.

    Raises:
        ClearpaneError: the directory lacks them, a file is damaged, main memory will not do, or the sentence
            is too long for them.
    """
    check_directory(base, TEXT_PARTS)
    needed = 2 * sum(count_parameters(base / part) for part in TEXT_PARTS[:2])
    if needed > (free := free_bytes(torch.device("cpu"))):
        raise ClearpaneError(
            f"the text encoders of {base} need {needed / 1e9:.1f} GB of main memory, {free / 1e9:.1f} GB are "
            "free; close other programs"
        )
    try:
        pipeline = FluxKontextPipeline.from_pretrained(
            base,
            transformer=None,
            vae=None,
            dtype=torch.bfloat16,
            local_files_only=True,
            use_safetensors=True,
        )
    except Exception as error:  # of safetensors, diffusers, transformers, the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({_first_line(error)})") from error
    length = min(pipeline.tokenizer_2.model_max_length, _TEXT_LENGTH)
    needed = len(pipeline.tokenizer_2.encode(sentence, verbose=False))
    if needed > length:
        raise ClearpaneError(
            f"the sentence has {needed} tokens and {base} takes {length}; shorten it: {sentence!r}"
        )
    with torch.no_grad():
        prompt, pooled, _ = pipeline.encode_prompt(sentence, max_sequence_length=length)
    return TaskEmbedding(prompt, pooled)


def count_parameters(folder: Path) -> int:
    """Parameters of one part of a base model, read from the heads of its files; nothing is loaded.

    Raises:
        ClearpaneError: a file is damaged.
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
    return int(torch.Size(shape).numel())
