import pytest
import torch
from diffusers import FluxKontextPipeline

from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.lora import LORA_FILE, add_lora, save_lora


@pytest.fixture
def backbone(base):
    return load_backbone(base, Loading("float32", "cpu"))


@pytest.fixture
def task(base):
    return encode_text(base, "please remove the reflection.").to("cpu", torch.float32)


@pytest.fixture
def stock(base):
    """The same, loaded by diffusers alone."""
    pipeline = FluxKontextPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def adapted(backbone, task, tmp_path):
    """A folder with a LoRA of rank 2 that does something, which ``backbone`` has too, and a task."""
    generator = torch.Generator().manual_seed(0)
    parameters = add_lora(backbone.transformer, 2, "all")
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    save_lora(tmp_path / LORA_FILE, parameters, backbone.transformer)
    task.save(tmp_path / "task_embedding.safetensors")
    return tmp_path
