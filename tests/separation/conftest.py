import pytest
from diffusers import FluxKontextPipeline


@pytest.fixture
def stock(base):
    """The pipeline of ``base``, loaded by diffusers alone."""
    pipeline = FluxKontextPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
