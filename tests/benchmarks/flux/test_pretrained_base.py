"""The small editor on a pretrained latent space: what is kept, drawn, encoded once, and reported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.flux import pretrained_base, pretrained_latents
from benchmarks.flux.pretrained_base_cells import CELLS, EQUIVARIANT, Cell
from benchmarks.flux.pretrained_base_tables import beating_nothing, render, runs_of
from benchmarks.flux.small_base import load_pipeline
from benchmarks.flux.tiny_autoencoder import TinyAutoencoder
from clearpane.training.flux.panel_batches import PanelPictures


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder with a random autoencoder and a few natural pictures."""
    torch.manual_seed(0)
    made = TinyAutoencoder()
    (tmp_path / "weights").mkdir()
    (tmp_path / "natural").mkdir()
    for name in ("encoder", "decoder"):
        save_file(getattr(made, name).state_dict(), tmp_path / "weights" / f"taef2_{name}.safetensors")
    for index in range(3):
        pixels = torch.randint(0, 256, (80, 90, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / "natural" / f"{index}.png")
    return tmp_path


def test_the_transformer_keeps_all_layers_but_those_of_the_latents(data, monkeypatch):
    monkeypatch.setattr(pretrained_base, "_CROPS", 4)
    pipeline, own = pretrained_base.new_pipeline(data), load_pipeline().transformer.state_dict()
    new = pipeline.transformer.state_dict()
    changed = {name for name, value in own.items() if not torch.equal(new[name], value)}
    assert changed == {"x_embedder.weight", "x_embedder.bias", "proj_out.weight", "proj_out.bias"}
    assert new["x_embedder.weight"].shape[1] == 4 * 32
    backbone = pretrained_base.backbone_of(pipeline)
    assert backbone.multiple == 16
    crops = torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(1))
    latents = backbone.encode(crops)
    assert latents.shape == (2, 32, 4, 6) and backbone.decode(latents).shape == crops.shape
    unscaled = backbone.vae.encode(2 * crops - 1).latent_dist.mode()
    torch.testing.assert_close(backbone.decode(latents), (backbone.vae.decode(unscaled).sample + 1) / 2)


def test_latents_have_mean_0_and_variance_1(data):
    vae = pretrained_base.load_tiny_autoencoder(data / "weights").requires_grad_(False)
    picture = torch.randint(
        0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
    )
    pretrained_base.scale_latents(vae, [picture])
    latents = vae.encode(2 * picture[None].float() / 255 - 1).latent_dist.mode()
    scaled = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    assert abs(scaled.mean()) < 0.05 and abs(scaled.std() - 1) < 0.05


def test_t_alone_is_given_the_photograph_and_wants_t():
    picture = PanelPictures(*(torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (100, 150, 50)))
    generator = torch.Generator().manual_seed(0)
    wanted, given = pretrained_base.draw_panel_batch(Cell("T alone"), [picture], generator)
    assert wanted.shape == given.shape == (8, 3, 64, 64)
    assert torch.all(255 * wanted == 150) and torch.all(255 * given == 100)
    wanted, given = pretrained_base.draw_panel_batch(Cell("panel"), [picture], generator)
    assert wanted.shape == given.shape == (8, 3, 64, 192)


def test_batches_are_encoded_once_and_by_the_autoencoder_of_the_run(tmp_path, backbone, monkeypatch):
    options = pretrained_base.Options(tmp_path, cache=tmp_path)
    monkeypatch.setattr(pretrained_base, "_BATCHES", 2)
    drawn = []

    def draw(generator):
        drawn.append(torch.rand((1, 3, 16, 16), generator=generator))
        return drawn[-1], 1 - drawn[-1]

    monkeypatch.setattr(pretrained_base, "draws_of", lambda options, cell: draw)
    first = pretrained_base.encoded_batches(options, Cell("T alone"), 0, backbone)
    again = pretrained_base.encoded_batches(options, Cell("T alone"), 1, backbone)
    assert len(drawn) == 2 and len(first) == len(again) == 2
    for (wanted, given), pictures in zip(first, drawn, strict=True):
        torch.testing.assert_close(wanted, backbone.encode(pictures))
        torch.testing.assert_close(given, backbone.encode(1 - pictures))
    pretrained_base.encoded_batches(options, Cell("T alone", vae=EQUIVARIANT), 0, backbone)
    pretrained_base.encoded_batches(options, Cell("T alone", vae=EQUIVARIANT), 1, backbone)
    assert len(drawn) == 6


def test_a_cell_learns_resumes_and_leaves_what_is_not_its_own(tmp_path, backbone, task, monkeypatch):
    options = pretrained_base.Options(tmp_path, cache=tmp_path)
    shape = backbone.encode(torch.rand((1, 3, 16, 16))).shape
    batches = [(torch.zeros(shape), torch.ones(shape))]
    monkeypatch.setattr(pretrained_base, "encoded_batches", lambda *arguments: batches)
    few = replace(pretrained_base.gensirr_cells.USUAL, steps=3)
    monkeypatch.setattr(pretrained_base.gensirr_cells, "USUAL", few)
    start = {name: value.clone() for name, value in backbone.transformer.state_dict().items()}
    results = []
    for learned in (True, False):
        cell = Cell("GenSIRR", learned=learned)
        made, learnt = pretrained_base.train_cell(options, cell, 0, backbone, task, tmp_path / cell.key)
        assert any(not torch.equal(start[n], v) for n, v in made.transformer.state_dict().items())
        results.append(torch.equal(learnt.prompt_embeds, task.prompt_embeds))
    assert results == [False, True]
    again, _ = pretrained_base.train_cell(options, cell, 0, backbone, task, tmp_path / cell.key)
    for name, value in made.transformer.state_dict().items():
        assert torch.equal(again.transformer.state_dict()[name], value)
    assert all(torch.equal(start[n], v) for n, v in backbone.transformer.state_dict().items())


def test_a_lora_is_trained_once_for_each_seed(data, tmp_path, monkeypatch):
    options = pretrained_base.Options(data, cache=tmp_path / "cache")
    trained = []
    made = pretrained_latents.load_adapted

    def load(recipe, name, seed):
        if recipe.steps:
            trained.append((name, seed))
        return made(replace(recipe, steps=0), name, seed)

    monkeypatch.setattr(pretrained_latents, "load_adapted", load)
    like = pretrained_base.load_tiny_autoencoder(data / "weights")
    for _ in range(2):
        vae = pretrained_base.autoencoder(options, CELLS["GenSIRR"], 0, like)
        assert vae is not like and vae.config is like.config
    assert pretrained_base.autoencoder(options, CELLS["panel"], 0, like) is like
    assert trained == [(EQUIVARIANT, 0)]


def document_of(gain: float) -> dict:
    """Figures of one panel and one GenSIRR, ``gain`` dB above doing nothing on val."""
    panel = {key: [20.0, 22.0, 21.0] for key in ("nothing", "nothing_g")}
    panel |= {key: [x + gain for x in panel["nothing"]] for key in ("t", "t_g")} | {"r": [15.0]}
    quality = {metric: [20.0 + gain, 22.0 + gain, 21.0 + gain] for metric in ("psnr", "psnr_g", "ssim")}
    nothing = {metric: [20.0, 22.0, 21.0] for metric in ("psnr", "psnr_g", "ssim")}
    candidates = {
        "finals": {"psnr": [[18.0, 19.0, 20.0, 21.0]] * 3},
        "values": {name: [[0.0, 1.0, 2.0, 3.0]] * 3 for name in ("depth", "edges", "residual reflection")}
        | {"chance": [[3.0, 0.0, 0.0, 0.0]] * 3, "the truth": [[0.0, 1.0, 2.0, 3.0]] * 3},
        "farther": None,
    }
    own = {part: {"t": [25.0], "r": [24.0]} for part in ("own scene", "ceiling", "as shown")}
    own["own scene"]["nothing"] = [20.0]
    return {
        "base_steps": 1,
        "batches": 2,
        "machine": pretrained_base.describe_machine(),
        "edits": {
            name: dict.fromkeys(("nothing", "edited", "panel", "vae"), 20.0)
            for name in ("denoise", "deblur", "colourise", "fill", "darken")
        },
        "shown": {name: {"t": [30.0], "r": [30.0]} for name in ("val", "scenes")},
        "others": {name: {"nothing": nothing, "compact": nothing} for name in ("val", "scenes")},
        "runs": {
            **{f"panel, seed {seed}": {"val": panel, "scenes": panel} for seed in range(2)},
            "by heart: the first scene, seed 0": own,
            "GenSIRR, seed 0": {
                "val": quality,
                "scenes": quality,
                "branches": {"val": candidates, "scenes": candidates},
            },
            "GenSIRR, the sentence's own embedding, seed 0": {"val": nothing, "scenes": nothing},
        },
    }


def test_tables_stand_beside_those_of_the_other_base_and_tell_who_beats_doing_nothing():
    figures = pretrained_base.ROOT / "docs" / "figures"
    document = document_of(0.5)
    assert set(runs_of(document, "panel")) == {0, 1} and set(runs_of(document, "GenSIRR")) == {0}
    text = render(document, figures)
    assert "| panel | 2 | 21.50 ± 0.00 | +0.50" in text and "| panel, kontext-small | 3 |" in text
    assert "| GenSIRR | 1 | 21.50 |" in text and "| the truth | 21.00 |" in text
    assert "| chance | 18.00 | -1.50" in text
    assert "| the first scene | 20.00 | 25.00 | 24.00 |" in text
    assert beating_nothing(document) == ["panel", "GenSIRR"]
    assert beating_nothing(document_of(-0.5)) == []
    assert "None of these models beats doing nothing" in render(document_of(-0.5), figures)
