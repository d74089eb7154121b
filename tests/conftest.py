"""Fixtures and marks that several folders of tests share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clearpane.mitsuba_variant  # noqa: F401  (before anything imports Dr.Jit, which looks for LLVM once)


@pytest.fixture
def veiled_pairs(tmp_path: Path) -> Callable[[int], Path]:
    """Write three small pairs whose photographs are brighter than their truths by an even veil, 0 to 55."""

    def write(veil: int) -> Path:
        folder = tmp_path / "pairs"
        folder.mkdir()
        for number in range(3):
            random = np.random.default_rng(number)
            colours = Image.fromarray(random.integers(0, 200, (3, 4, 3), dtype=np.uint8))
            scene = np.asarray(colours.resize((48, 36), Image.Resampling.BILINEAR))
            Image.fromarray(scene).save(folder / f"{number}_transmission.png")
            Image.fromarray(scene + veil).save(folder / f"{number}_input.png")
        return folder

    return write


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


@pytest.fixture
def backbone(base):
    from clearpane.separation.flux.loading import Loading, load_backbone

    return load_backbone(base, Loading("float32", "cpu"))


@pytest.fixture
def task(base):
    import torch

    from clearpane.separation.flux.loading import encode_text

    return encode_text(base, "please remove the reflection.").to("cpu", torch.float32)


@pytest.fixture
def adapted(backbone, task, tmp_path) -> Path:
    """A folder with a LoRA of rank 2 that does something, which ``backbone`` has too, and a task."""
    import torch

    from clearpane.separation.flux.lora import LORA_FILE, add_lora, save_lora

    generator = torch.Generator().manual_seed(0)
    parameters = add_lora(backbone.transformer, 2, "all")
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    save_lora(tmp_path / LORA_FILE, parameters, backbone.transformer)
    task.save(tmp_path / "task_embedding.safetensors")
    return tmp_path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in of the model hub, which huggingface_hub asks instead, with an empty cache of downloads."""
    from huggingface_hub import constants

    from .hub.stand_in import StandInHub

    hub = StandInHub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.close()


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """A trained model's directory: of the model ``toy``, which halves all light, with a run's leftovers."""
    from clearpane.separation import registry
    from clearpane.separation.model_folder import ModelFiles

    from .hub import toy_model

    path = toy_model.__name__
    model = registry.Model(f"{path}:ToyOptions", f"{path}:load_toy", None, "Halves light.", ModelFiles(
        "toy.json", ("share.txt",), ("more/*.bin",)))  # fmt: skip
    monkeypatch.setitem(registry.MODELS, "toy", model)
    folder = tmp_path / "run"
    (folder / "more").mkdir(parents=True)
    (folder / "toy.json").write_text('{"base": "owner/base"}')
    (folder / "share.txt").write_text("0.25")
    (folder / "more" / "big.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "checkpoint.safetensors").write_bytes(b"left out")
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
