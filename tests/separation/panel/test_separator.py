import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clearpane.errors import ClearpaneError
from clearpane.separation.flux import loading
from clearpane.separation.flux.folders import base_fingerprint
from clearpane.separation.flux.keeping import keep_untouched
from clearpane.separation.flux.lora import LORA_FILE
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.panel import separator as panel
from clearpane.separation.panel.options import PanelOptions
from clearpane.separation.panel.separator import (
    PanelSeparator,
    PanelSettings,
    cut_panels,
    join_panels,
    reference_panel,
)
from clearpane.separation.separator import load_separator

SETTINGS = PanelSettings("base", "0123", side=32, rank=2, guidance=2.5, caption="three panels")


@pytest.fixture
def trained(adapted, base):
    """A folder as clearpane train panel writes it."""
    settings = PanelSettings(str(base), base_fingerprint(base), 32, 2, 2.5, "three panels")
    save_settings(settings, adapted / "panel.json")
    return adapted


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def options(folder, **changes) -> PanelOptions:
    return PanelOptions(**{"weights": folder, "steps": 2, "precision": "float32", "device": "cpu", **changes})


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
    separator = load_separator("panel", options(trained, on_step=lambda *step: told.append(step)))
    best = separator.separate(photo, quality="best").reflection
    assert told == [(step, 8) for step in range(1, 9)]
    looks = [load_separator("panel", options(trained, seed=s)).separate(photo).reflection for s in range(4)]
    # The transfer to full size is linear in what is painted, but for clipping.
    assert np.abs(best - np.mean(looks, axis=0)).mean() < 0.25 * np.std(looks, axis=0).mean()


def test_the_adapter_is_put_into_the_base_model(trained, backbone, task):
    layers = load_separator("panel", options(trained)).separate(picture(16, 16))
    for name, parameter in backbone.transformer.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    plain = PanelSeparator(backbone, task, SETTINGS, Sampling(2)).separate(picture(16, 16))
    assert np.abs(layers.reflection - plain.reflection).mean() > 1e-3


def test_diffusers_alone_paints_the_panel_as_the_docs_say(trained, stock):
    """The call of docs/panel.md."""
    photo = picture(32, 32)
    _, *made = load_separator("panel", options(trained, seed=4)).run_once(photo)
    stock.load_lora_weights(trained)
    given = torch.from_numpy(photo).permute(2, 0, 1)[None]
    white = torch.ones_like(given)
    painted = stock(
        image=torch.cat([given, white, white], dim=-1),
        **load_file(trained / "task_embedding.safetensors"),
        height=32,
        width=3 * 32,
        max_area=3 * 32 * 32,
        _auto_resize=False,
        guidance_scale=2.5,
        num_inference_steps=2,
        output_type="pt",
        generator=torch.Generator().manual_seed(4),
    ).images
    for own, cut in zip(made, cut_panels(painted)[1:], strict=True):
        np.testing.assert_allclose(own, cut[0].permute(1, 2, 0).numpy(), atol=1e-4)


def test_offloading_changes_nothing(trained):
    photo = picture(24, 40)
    plain, offloaded = (
        load_separator("panel", options(trained, offload=offload)).separate(photo)
        for offload in (False, True)
    )
    assert np.array_equal(plain.transmission, offloaded.transmission)


def test_another_base_model_is_refused(trained):
    settings = json.loads((trained / "panel.json").read_text())
    (trained / "panel.json").write_text(json.dumps({**settings, "fingerprint": "another"}))
    with pytest.raises(ClearpaneError, match="was trained on another base model than"):
        load_separator("panel", options(trained))


def test_too_little_memory_is_said_before_anything_is_loaded(trained, monkeypatch):
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(panel, "load_backbone", lambda *arguments: pytest.fail("loaded"))
    with pytest.raises(ClearpaneError, match=r"1\.0 kB are free; clearpane doctor with the same `model`"):
        load_separator("panel", options(trained))


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


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (150, 230)])
def test_where_nothing_is_taken_away_the_photograph_s_own_pixels_stay(task, size):
    photo = 0.4 + 0.5 * picture(*size)
    settings = PanelSettings("base", "", 64, 2, 2.5, "")
    same = PanelSeparator(Copier(0.0), task, settings, Sampling(2)).separate(photo)
    assert np.array_equal(same.transmission, photo)
    half = PanelSeparator(Copier(0.2), task, settings, Sampling(2)).separate(photo)
    width = size[1]
    assert np.array_equal(half.transmission[:, int(0.7 * width) :], photo[:, int(0.7 * width) :])
    changed = photo[:, : int(0.3 * width)] - half.transmission[:, : int(0.3 * width)]
    assert changed.mean() == pytest.approx(0.2, abs=0.01)
    # Noise that only the photograph has, not the VAE's softened look at it, is still there.
    assert changed.std() < 0.02


@pytest.mark.parametrize(
    ("haze", "taken"), [(0.004, 0.0), (0.0075, 0.25), (0.01, 0.5), (0.015, 1.0), (0.1, 1.0)]
)
def test_between_the_limits_a_change_is_taken_in_part(haze, taken):
    """A faint even haze: below 0.005 it stays, from 0.015 on all of it goes."""
    photo = np.full((64, 96, 3), 0.5, np.float32)
    seen = np.full((16, 24, 3), 0.5, np.float32)
    result = keep_untouched(photo, seen, seen - np.float32(haze))
    np.testing.assert_allclose(result, 0.5 - taken * haze, atol=2e-4)


def test_a_confidence_is_refused(trained):
    with pytest.raises(ClearpaneError, match="no confidence map"):
        load_separator("panel", options(trained)).separate(picture(16, 16), confidence=True)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "panel.json").unlink(), "panel.json: missing"),
        (lambda folder: (folder / "panel.json").write_text("{"), "panel.json: not JSON"),
        (lambda folder: (folder / "panel.json").write_text('{"side": 3}'), "panel.json: .* field base"),
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
    with pytest.raises(ClearpaneError, match="needs `weights`"):
        load_separator("panel")
    with pytest.raises(ClearpaneError, match="takes CompactOptions, not PanelOptions"):
        load_separator("compact", PanelOptions("panel"))


def test_a_picture_that_is_not_finite_is_refused(trained):
    separator = load_separator("panel", options(trained))
    separator._backbone.vae.decoder.conv_out.weight.data.fill_(float("nan"))
    with pytest.raises(ClearpaneError, match="the VAE's result is not finite"):
        separator.separate(picture(16, 16))


@pytest.mark.parametrize(("name", "value"), [("side", "32"), ("rank", None), ("guidance", [2.5])])
def test_settings_of_another_type_are_one_line(trained, name, value):
    path = trained / "panel.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ClearpaneError, match=f"panel.json: {name}: Expected"):
        load_separator("panel", options(trained))
