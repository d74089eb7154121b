import json

import numpy as np
import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.separation.base import ModelOptions, load_separator
from clearpane.separation.flux.lora import LORA_FILE, add_lora, lora_tensors, save_lora
from clearpane.separation.flux.panel import (
    PanelSeparator,
    PanelSettings,
    cut_panels,
    join_panels,
    load_settings,
    reference_panel,
)
from clearpane.separation.flux.sampling import Sampling

SETTINGS = PanelSettings("base", side=32, rank=2, guidance=2.5, caption="three panels")


@pytest.fixture
def trained(backbone, task, base, tmp_path):
    """A folder as clearpane train panel writes it."""
    add_lora(backbone.transformer, 2, "all")
    save_lora(tmp_path, lora_tensors(backbone.transformer), backbone.transformer)
    task.save(tmp_path / "task_embedding.safetensors")
    PanelSettings(str(base), 32, 2, 2.5, "three panels").save(tmp_path / "panel.json")
    return tmp_path


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def options(folder, **changes) -> ModelOptions:
    return ModelOptions(**{"weights": folder, "steps": 2, "precision": "float32", "device": "cpu", **changes})


def test_panels_are_cut_where_they_were_joined():
    pictures = [torch.rand(2, 3, 8, 16) for _ in range(3)]
    for own, cut in zip(pictures, cut_panels(join_panels(*pictures)), strict=True):
        assert torch.equal(own, cut)
    first, second, third = cut_panels(reference_panel(pictures[0]))
    assert torch.equal(first, pictures[0])
    assert (second == 1).all() and (third == 1).all()


@pytest.mark.parametrize("size", [(20, 27), (32, 32), (90, 61)])
def test_layers_have_the_picture_s_size(trained, size):
    layers = load_separator("panel", options(trained)).separate(picture(*size))
    for layer in (layers.transmission, layers.reflection):
        assert layer.shape == (*size, 3)
        assert layer.dtype == np.float32
        assert layer.min() >= 0 and layer.max() <= 1


def test_the_seed_decides(trained):
    photo = picture(24, 24)
    first, again, other = (
        load_separator("panel", options(trained, seed=seed)).separate(photo).transmission
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.01)


def test_best_is_the_mean_over_four_seeds(trained):
    photo, told = picture(16, 16), []
    separator = load_separator("panel", options(trained, on_step=told.append))
    separator.separate(photo, quality="best")
    assert told == [1, 2] * 4


class Copier:
    """In the backbone's place: a VAE that softens, and an editor that paints T with a part of it darker."""

    device, multiple = torch.device("cpu"), 8

    def __init__(self, darker: float) -> None:
        self._darker = darker
        self.vae = torch.nn.Linear(1, 1)
        self.vae.dtype = torch.float32

    def shift(self, tokens: int) -> float:
        return 1.0

    def encode(self, pictures):
        return torch.nn.functional.avg_pool2d(pictures, 4)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents, scale_factor=4.0)

    def velocity(self, noisy, reference, sigma, task, guidance):
        photo = reference.chunk(3, dim=-1)[0]
        transmission = photo.clone()
        transmission[..., : photo.shape[-1] // 2] -= self._darker
        wanted = torch.cat([photo, transmission, torch.zeros_like(photo)], dim=-1)
        return (noisy - wanted) / sigma[:, None, None, None]


@pytest.mark.parametrize("size", [(64, 64), (150, 150)])
def test_where_nothing_is_taken_away_the_photograph_s_own_pixels_stay(task, size):
    photo = 0.4 + 0.5 * picture(*size)
    settings = PanelSettings("base", 64, 2, 2.5, "")
    same = PanelSeparator(Copier(0.0), task, settings, Sampling(2)).separate(photo)
    assert np.array_equal(same.transmission, photo)
    half = PanelSeparator(Copier(0.2), task, settings, Sampling(2)).separate(photo)
    width = size[1]
    assert np.array_equal(half.transmission[:, int(0.7 * width) :], photo[:, int(0.7 * width) :])
    changed = photo[:, : int(0.3 * width)] - half.transmission[:, : int(0.3 * width)]
    assert changed.mean() == pytest.approx(0.2, abs=0.01)
    # Noise that only the photograph has, not the VAE's softened look at it, is still there.
    assert changed.std() < 0.02


def test_a_confidence_is_refused(trained):
    with pytest.raises(ClearpaneError, match="no confidence map"):
        load_separator("panel", options(trained)).separate(picture(16, 16), confidence=True)


def test_settings_come_back(tmp_path):
    SETTINGS.save(tmp_path / "panel.json")
    assert load_settings(tmp_path / "panel.json") == SETTINGS


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "panel.json").unlink(), "panel.json: missing"),
        (lambda folder: (folder / "panel.json").write_text("{"), "panel.json: damaged"),
        (lambda folder: (folder / "panel.json").write_text('{"side": 3}'), "panel.json: damaged"),
        (lambda folder: (folder / "task_embedding.safetensors").unlink(), "not a task embedding"),
        (lambda folder: (folder / LORA_FILE).write_bytes(b"x"), "damaged"),
    ],
)
def test_a_damaged_folder_is_one_line(trained, break_it, said):
    break_it(trained)
    with pytest.raises(ClearpaneError, match=said) as error:
        load_separator("panel", options(trained))
    assert "\n" not in str(error.value)


def test_a_base_that_is_gone_is_named(trained, tmp_path):
    settings = json.loads((trained / "panel.json").read_text())
    (trained / "panel.json").write_text(json.dumps({**settings, "base": str(tmp_path / "gone")}))
    with pytest.raises(ClearpaneError, match="gone: there is no such directory"):
        load_separator("panel", options(trained))


def test_weights_are_asked_for():
    with pytest.raises(ClearpaneError, match="needs --weights"):
        load_separator("panel")
    with pytest.raises(ClearpaneError, match="do not go with --model compact"):
        load_separator("compact", ModelOptions())
