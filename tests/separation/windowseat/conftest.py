import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

SIDE = 48


@pytest.fixture(scope="session")
def parts() -> tuple[QwenImageTransformer2DModel, AutoencoderKLQwenImage]:
    """Random models of WindowSeat's classes, tiny."""
    torch.manual_seed(0)
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
    )  # fmt: skip
    return transformer.requires_grad_(False).eval(), vae.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def qwen(parts, tmp_path_factory) -> Path:
    """The base model's directory, as diffusers stores it."""
    folder = tmp_path_factory.mktemp("tiny-qwen")
    for part, name in zip(parts, ("transformer", "vae"), strict=True):
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPlusPipeline"}))
    return folder


@pytest.fixture(scope="session")
def published(qwen, tmp_path_factory) -> Path:
    """A repository laid out as WindowSeat's, with a LoRA of rank 2 that does something."""
    folder = tmp_path_factory.mktemp("windowseat")
    transformer = QwenImageTransformer2DModel.from_pretrained(qwen / "transformer")
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "add_v_proj", "to_out.0", "img_mod.1"])
    transformer.add_adapter(config)
    generator = torch.Generator().manual_seed(1)
    state = {
        f"transformer.{name}": 0.3 * torch.randn(value.shape, generator=generator)
        for name, value in get_peft_model_state_dict(transformer).items()
    }
    (folder / "transformer_lora").mkdir()
    save_file(state, folder / "transformer_lora" / "pytorch_lora_weights.safetensors")
    config.save_pretrained(folder / "transformer_lora")
    (folder / "text_embeddings").mkdir()
    save_file(
        {
            "prompt_embeds": torch.randn((2, 5, 12), generator=generator),
            "prompt_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        },
        folder / "text_embeddings" / "state_dict.safetensors",
    )
    index = {"base_model": str(qwen), "processing_resolution": SIDE}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
