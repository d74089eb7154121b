"""Fixtures and marks that several folders of tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """The directory of a pipeline of FLUX.1 Kontext's classes, tiny, with weights that do something."""
    import torch

    from benchmarks.flux.small_kontext import SmallKontext, new_pipeline
    from clearpane.synthesis.dataset.shards import PANEL_CAPTION

    torch.manual_seed(0)
    config = SmallKontext((8, 16, 16), 4, width=32, heads=2, double_blocks=1, single_blocks=1, text_width=16)
    pipeline = new_pipeline(config, ["please remove the reflection.", PANEL_CAPTION])
    torch.nn.init.normal_(pipeline.transformer.proj_out.weight, std=0.1)
    pipeline.vae.register_to_config(shift_factor=0.1, scaling_factor=0.7)
    folder = tmp_path_factory.mktemp("tiny-kontext")
    pipeline.save_pretrained(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where there is no CUDA GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA GPU here"))
