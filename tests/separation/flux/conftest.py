import pytest
import torch
from diffusers import FluxKontextPipeline

from clearpane.separation.flux.loading import Loading, encode_text, load_backbone


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
