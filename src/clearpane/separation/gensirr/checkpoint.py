"""Convert the checkpoint that GenSIRR's authors publish to directories of diffusers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, check_replaceable
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr.published import read_checkpoint
from clearpane.separation.gensirr.separator import (
    REMOVAL_SENTENCE,
    SCHEDULER_FOLDER,
    SETTINGS_FILE,
    TASK_FILE,
    TRANSFORMER_FOLDER,
    VAE_FOLDER,
    GensirrSettings,
    write_index,
)

_PROMPT, _POOLED = "cached_prompt_embeds", "cached_pooled_prompt_embeds"
# Parts that are not needed: the text is already encoded, and the positions of its tokens are 0.
_LEFT_OUT = ("text_encoder.", "text_encoder_2.", "cached_text_ids")
# Smaller of the two short sides, in pixels, that its authors test at.
_SIDE = 512
# Guidance scale of the authors' training and inference.
_GUIDANCE = 3.5

FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "norm_num_groups": 32}


def convert(checkpoint: Path, output: Path) -> None:
    """Convert the published file to a folder for `load_gensirr`.

    It holds, under ``module``, names with the prefix ``net_g.``, then ``transformer.*``, ``vae.*``,
    ``text_encoder.*``, ``cached_prompt_embeds``, ``cached_pooled_prompt_embeds`` and ``cached_text_ids``.
    The sizes of the transformer and the VAE are read off their tensors.

    Raises:
        ClearpaneError: The file is missing, damaged or has another layout; or writing failed.
    """
    check_replaceable(output)
    tensors = read_checkpoint(checkpoint)
    parts = {
        part: {n.removeprefix(f"{part}."): x for n, x in tensors.items() if n.startswith(f"{part}.")}
        for part in ("transformer", "vae")
    }
    known = ("transformer.", "vae.", _PROMPT, _POOLED, *_LEFT_OUT)
    unknown = sorted(name for name in tensors if not name.startswith(known))
    missing = [name for name, part in parts.items() if not part]
    missing += [name for name in (_PROMPT, _POOLED) if name not in tensors]
    if missing or unknown:
        said = f"it has no {missing[0]}" if missing else f"it has a part {unknown[0]}"
        raise ClearpaneError(f"{checkpoint}: not laid out as GenSIRR's checkpoint ({said})")
    try:
        prompt, pooled = tensors[_PROMPT].squeeze(), tensors[_POOLED].squeeze()
        if (prompt.ndim, pooled.ndim) != (2, 1):
            raise ValueError(f"task embeddings of {list(prompt.shape)} and {list(pooled.shape)}")
        task = TaskEmbedding(prompt[None], pooled[None])
        transformer = _fill(
            FluxTransformer2DModel, transformer_config(parts["transformer"]), parts["transformer"]
        )
        vae = _fill(AutoencoderKL, vae_config(parts["vae"]), parts["vae"])
    except (RuntimeError, KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = _lines(error)[-1]
        raise ClearpaneError(f"{checkpoint}: its tensors do not make up a FLUX.1 model ({reason})") from error
    # Scheduler settings of the published FLUX.1 Kontext.
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    settings = GensirrSettings(
        None, None, _SIDE, 0, _GUIDANCE, REMOVAL_SENTENCE, one_step=False, enlarge=True
    )
    with atomic_folder(output) as folder:
        for name, part in (
            (TRANSFORMER_FOLDER, transformer),
            (VAE_FOLDER, vae),
            (SCHEDULER_FOLDER, scheduler),
        ):
            part.save_pretrained(folder / name)
        task.save(folder / TASK_FILE)
        save_settings(settings, folder / SETTINGS_FILE)
        write_index(folder)


def _lines(error: Exception) -> list[str]:
    return [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]


def transformer_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Derive the configuration of a FLUX.1 transformer from its tensors."""
    width, channels = tensors["x_embedder.weight"].shape
    # Queries are normalised per head.
    head = len(tensors["transformer_blocks.0.attn.norm_q.weight"])
    rows = 2 * (head * 7 // 32)  # in FLUX.1's proportions: 128 = 16 + 56 + 56
    return {
        "in_channels": channels,
        "num_layers": _count(tensors, "transformer_blocks."),
        "num_single_layers": _count(tensors, "single_transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors["context_embedder.weight"].shape[1],
        "pooled_projection_dim": tensors["time_text_embed.text_embedder.linear_1.weight"].shape[1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in tensors,
        "axes_dims_rope": (head - 2 * rows, rows, rows),
    }


def vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Derive the configuration of a VAE from its tensors; where they are ambiguous, FLUX.1's."""
    levels = _count(tensors, "encoder.down_blocks.")
    channels = [len(tensors[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"]) for i in range(levels)]
    return {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": channels,
        "layers_per_block": _count(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "mid_block_add_attention": "encoder.mid_block.attentions.0.to_q.weight" in tensors,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        **FLUX_VAE,
    }


def _fill(kind: Any, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Make a model that uses these tensors themselves, not copies: together they take 24 GB."""
    with init_empty_weights():
        model = kind.from_config(config)
    model.load_state_dict(tensors, strict=True, assign=True)
    return model


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Count the distinct numbers that follow a prefix in the tensors' names."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
