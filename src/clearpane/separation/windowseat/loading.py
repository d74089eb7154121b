"""Load the parts of Qwen-Image-Edit-2509 that process pictures, in 16, 8 or 4 bits."""

from pathlib import Path

from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.loading import Loading, check_memory, loading_errors
from clearpane.separation.flux.quantisation import quantisation_config, quantise_on_cpu
from clearpane.separation.windowseat.memory import qwen_size, removal_bytes

BASE_PIPELINE = "QwenImageEditPlusPipeline"

# Layer whose precision the result depends on; its authors leave it in bfloat16.
_IN_FULL = ("transformer_blocks.0.img_mod",)
REMEDY = "choose a coarser `precision`, nf4 needs least, or `device`"


def check_memory_of(base: Path, loading: Loading, side: int) -> None:
    """Raise ClearpaneError if the device has too little memory for tiles of ``side * side`` pixels.

    See `clearpane.separation.windowseat.memory`.
    """
    device = loading.find_device()
    needed = removal_bytes(qwen_size(base), loading.precision, side, device.type == "cpu")
    check_memory(needed, device, side, REMEDY)


def _on_cpu(loading: Loading) -> bool:
    """Return True if the layers are stored in 4 bits on a CPU, where diffusers does not do it."""
    return loading.precision == "nf4" and loading.find_device().type == "cpu"


def load_parts(base: Path, loading: Loading) -> tuple[QwenImageTransformer2DModel, AutoencoderKLQwenImage]:
    """Load the transformer and the VAE.

    Raises:
        ClearpaneError: A file is damaged, or the device does not exist or has too little memory.
        MissingExtraError: bitsandbytes is not installed.
    """
    device = loading.find_device()
    on_cpu = _on_cpu(loading)
    if loading.precision == "nf4" and device.type not in ("cuda", "cpu"):
        raise ClearpaneError("`precision=nf4` needs an NVIDIA GPU or `device=cpu`; or use bfloat16")
    if loading.precision == "8bit" and device.type != "cuda":
        raise ClearpaneError("`precision=8bit` needs an NVIDIA GPU; on this computer use nf4 or bfloat16")
    with loading_errors(base, loading, REMEDY):
        transformer = QwenImageTransformer2DModel.from_pretrained(
            base / "transformer",
            dtype=loading.dtype,
            quantization_config=None if on_cpu else quantisation_config(loading.precision, _IN_FULL),
            local_files_only=True,
            use_safetensors=True,
        )
        vae = AutoencoderKLQwenImage.from_pretrained(
            base / "vae", dtype=loading.dtype, local_files_only=True, use_safetensors=True
        )
        if on_cpu:  # diffusers quantises on a GPU alone
            quantise_on_cpu(transformer, _IN_FULL)
        for part in (transformer, vae):
            part.requires_grad_(False).eval()
        vae.to(device)
        if loading.precision not in ("8bit", "nf4"):  # bitsandbytes has already moved it
            transformer.to(device)
    return transformer, vae
