"""Load a base model from its directory, checked, and quantised or offloaded as requested."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from rich.filesize import decimal

from clearpane.errors import ClearpaneError, MissingExtraError, first_line
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.folders import (
    TEXT_PARTS,
    check_directory,
    check_part,
    count_parameters,
)
from clearpane.separation.flux.memory import BackboneSize, removal_bytes
from clearpane.separation.flux.options import Precision
from clearpane.separation.flux.quantisation import quantisation_config
from clearpane.separation.flux.task_embedding import TaskEmbedding

# Number of tokens that diffusers pads FLUX.1's text to; smaller models state fewer in their tokenizer.
_TEXT_LENGTH = 512

REMOVAL_REMEDY = "clearpane doctor with the same `model` says which `precision` or `offload` needs less"


@dataclass(frozen=True)
class Loading:
    """Settings for loading a base model.

    Attributes:
        precision: Number format of the transformer's weights; ``8bit`` and ``nf4`` (four bits) need
            bitsandbytes and compute in bfloat16. The VAE is never quantised.
        device: "cuda", "mps" or "cpu"; None for the first of them that this computer has.
        offload: True to keep the transformer in main memory and move one block at a time to the GPU: slower.
    """

    precision: Precision = "bfloat16"
    device: str | None = None
    offload: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the computation."""
        return torch.float32 if self.precision == "float32" else torch.bfloat16

    def find_device(self) -> torch.device:
        """Return the device to compute on; see the attribute ``device``."""
        if self.device:
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_backbone(base: Path, loading: Loading, vae_folder: Path | None = None) -> Backbone:
    """Load the parts of a base model that process pictures.

    Args:
        vae_folder: Directory of a VAE to use instead of the base's.

    Raises:
        ClearpaneError: The directory is incomplete, a file is damaged, or the device does not exist or has
            too little memory. MissingExtraError: bitsandbytes is not installed.
    """
    check_directory(base)
    if vae_folder:
        check_part(vae_folder)
    device = loading.find_device()
    quantised = loading.precision in ("8bit", "nf4")
    if quantised and loading.offload:
        raise ClearpaneError(f"`offload` goes with float32 and bfloat16, not with {loading.precision}")
    if quantised and device.type != "cuda":
        raise ClearpaneError(
            f"`precision={loading.precision}` needs an NVIDIA GPU; on this computer use bfloat16"
        )
    with loading_errors(base, loading):
        transformer = FluxTransformer2DModel.from_pretrained(
            base / "transformer",
            dtype=loading.dtype,
            quantization_config=quantisation_config(loading.precision),
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
        elif not quantised:  # bitsandbytes has already moved it to the GPU
            transformer.to(device)
    if 4 * vae.config.latent_channels != transformer.config.in_channels:
        raise ClearpaneError(
            f"{vae_folder or base / 'vae'}: has {vae.config.latent_channels} channels, the transformer of "
            f"{base} takes {transformer.config.in_channels // 4}"
        )
    return Backbone(transformer, vae, scheduler, device)


@contextmanager
def loading_errors(base: Path, loading: Loading, remedy: str = REMOVAL_REMEDY) -> Iterator[None]:
    """Make one clear line of whatever fails while the parts of a base model are loaded.

    Raises:
        ClearpaneError: A file is damaged, or the device does not exist or has too little memory.
        MissingExtraError: bitsandbytes is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"`precision={loading.precision}`", "flux") from error
    except torch.OutOfMemoryError as error:
        raise out_of_memory(loading.find_device(), remedy) from error
    except Exception as error:  # of safetensors, diffusers, the device or the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({first_line(error)})") from error


def load_vae(base: Path) -> AutoencoderKL:
    """Load only the VAE of a base model, in float32, on the CPU.

    Raises:
        ClearpaneError: A file is missing or damaged.
    """
    check_directory(base, ("vae",))
    try:
        return AutoencoderKL.from_pretrained(
            base / "vae", dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # of safetensors, diffusers or the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({first_line(error)})") from error


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; for the CPU, free main memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def check_memory(needed: int, device: torch.device, side: int, remedy: str = REMOVAL_REMEDY) -> None:
    """Raise ClearpaneError if a device has too little memory, before anything is loaded.

    Args:
        remedy: Advice for the message.
    """
    if needed > (free := free_bytes(device)):
        raise ClearpaneError(
            f"pictures of {side} x {side} need {decimal(needed)} on {device}, {decimal(free)} are "
            f"free; {remedy}"
        )


def check_removal_memory(
    size: BackboneSize, loading: Loading, side: int, pictures: int = 3, candidates: int = 1
) -> None:
    """Raise ClearpaneError if the device, or main memory when offloading, is too small for a photograph.

    Args:
        size: Size of the base model.
        side: Side in pixels of the square whose area the photograph is resized to, at most.
        pictures, candidates: See `removal_bytes`.
    """
    on_device, whole = (
        removal_bytes(size, loading.precision, side, offload, pictures, candidates)
        for offload in (loading.offload, False)
    )
    fewer = "; so do fewer `candidates`" if candidates > 1 else ""
    check_memory(on_device, loading.find_device(), side, REMOVAL_REMEDY + fewer)
    if loading.offload:  # all weights stay in main memory
        check_memory(whole, torch.device("cpu"), side)


def out_of_memory(device: torch.device, remedy: str = REMOVAL_REMEDY) -> ClearpaneError:
    """Make the error for memory that ran out although the check passed."""
    return ClearpaneError(f"the memory of {device} is not enough; {remedy}")


def encode_text(base: Path, sentence: str) -> TaskEmbedding:
    """Encode a sentence with the base's text encoders, which are loaded and freed again.

    Raises:
        ClearpaneError: The directory lacks the encoders, a file is damaged, main memory is too small, or the
            sentence is too long.
    """
    check_directory(base, TEXT_PARTS)
    needed = 2 * sum(count_parameters(base / part) for part in TEXT_PARTS[:2])
    if needed > (free := free_bytes(torch.device("cpu"))):
        raise ClearpaneError(
            f"the text encoders of {base} need {decimal(needed)} of main memory, {decimal(free)} are "
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
    except Exception as error:  # of safetensors, diffusers, transformers or the file system
        raise ClearpaneError(f"{base}: cannot be loaded ({first_line(error)})") from error
    length = min(pipeline.tokenizer_2.model_max_length, _TEXT_LENGTH)
    needed = len(pipeline.tokenizer_2.encode(sentence, verbose=False))
    if needed > length:
        raise ClearpaneError(
            f"the sentence has {needed} tokens and {base} takes {length}; shorten it: {sentence!r}"
        )
    with torch.no_grad():
        prompt, pooled, _ = pipeline.encode_prompt(sentence, max_sequence_length=length)
    return TaskEmbedding(prompt, pooled)
