import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from transformers import GLPNConfig, GLPNForDepthEstimation, GLPNImageProcessor

from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.difference import reflected_light
from clearpane.separation.flux.folders import TEXT_PARTS, base_fingerprint, folder_fingerprint
from clearpane.separation.flux.loading import Loading, load_backbone
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr import separator as gensirr
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.gensirr.separator import (
    REFLECTION_NOTE,
    GensirrSeparator,
    GensirrSettings,
    one_step,
    write_index,
)
from clearpane.separation.separator import load_separator

SETTINGS = GensirrSettings("base", "0123", 32, 2, 2.5, "remove it.", one_step=False)


@pytest.fixture
def trained(adapted, base):
    """A folder as clearpane train gensirr writes it."""
    settings = GensirrSettings(str(base), base_fingerprint(base), 32, 2, 2.5, "remove it.", False)
    save_settings(settings, adapted / "gensirr.json")
    return adapted


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def options(folder, **changes) -> GensirrOptions:
    return GensirrOptions(
        **{"weights": folder, "steps": 2, "precision": "float32", "device": "cpu", **changes}
    )


def rewrite(folder, **changes) -> None:
    path = folder / "gensirr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("size", [(20, 27), (32, 32), (90, 61)])
def test_layers_have_the_picture_s_size_and_r_is_the_difference(trained, size):
    photo = picture(*size)
    layers = load_separator("gensirr", options(trained)).separate(photo)
    assert layers.transmission.shape == layers.reflection.shape == (*size, 3)
    light = srgb_to_linear(photo) - srgb_to_linear(layers.transmission)
    np.testing.assert_allclose(layers.reflection, linear_to_srgb(np.maximum(light, 0)), atol=1e-5)
    assert layers.notes == () and layers.reflection_note == REFLECTION_NOTE


def test_the_weights_or_the_options_say_at_which_size_it_works(trained, base, monkeypatch):
    backbone = load_backbone(base, Loading("float32", "cpu"))
    monkeypatch.setattr(gensirr, "load_backbone", lambda *args: backbone)
    monkeypatch.setattr(gensirr, "load_lora", lambda *args: None)
    photo = 0.3 + 0.6 * picture(20, 28)
    for stored, given, seen in (
        ({}, {}, (20, 28)),
        ({}, {"side": 24, "enlarge": True}, (24, 34)),
        ({"enlarge": True}, {}, (32, 45)),
        ({"enlarge": True}, {"side": 20, "enlarge": False}, (17, 24)),
    ):
        rewrite(trained, **stored)
        separator = load_separator("gensirr", options(trained, **given))
        sizes = []
        monkeypatch.setattr(separator, "run_once", lambda x, *rest, to=sizes: to.append(x.shape) or [x, x])
        np.testing.assert_array_equal(separator.separate(photo).transmission, photo)  # nothing was changed
        assert sizes == [(*seen, 3)]
        # What was changed is transferred with all of the photograph's detail, also from an enlarged one.
        monkeypatch.setattr(separator, "run_once", lambda x, *rest: [x, x - np.float32(0.2)])
        np.testing.assert_allclose(separator.separate(photo).transmission, photo - 0.2, atol=0.02)


def test_the_memory_check_follows_the_size(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(gensirr, "GensirrSeparator", lambda *args: SimpleNamespace())
    monkeypatch.setattr(gensirr, "load_backbone", lambda *args: None)
    monkeypatch.setattr(gensirr, "check_task", lambda *args: None)
    monkeypatch.setattr(gensirr, "backbone_size", lambda *args: None)
    monkeypatch.setattr(gensirr, "check_removal_memory", lambda *args, **rest: asked.append(args[2]))
    rewrite(trained, rank=0)
    for changes in ({}, {"side": 48}, {"enlarge": True}):
        load_separator("gensirr", options(trained, **changes))
    assert asked == [32, 48, 45]
    with pytest.raises(ClearpaneError, match="`side=8`: give 16 or more"):
        options(trained, side=8)


def test_the_same_seed_gives_the_same_picture_and_another_another(trained):
    photo = picture(32, 32)
    first, again, other = (
        load_separator("gensirr", options(trained, seed=seed)).separate(photo).transmission
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_candidates_are_chosen_from_and_the_choice_is_one_of_their_pictures(trained):
    photo = picture(32, 32)
    branched = load_separator("gensirr", options(trained, candidates=3, branching="residual"))
    chosen = branched.separate(photo).transmission
    alone = [
        load_separator("gensirr", options(trained, seed=seed)).separate(photo).transmission
        for seed in range(3)
    ]
    distances = sorted(float(np.abs(chosen - x).max()) for x in alone)
    assert distances[0] < 1e-4 < 1e-3 < distances[1]


def test_a_missing_depth_model_turns_branching_off_and_every_result_says_so(trained):
    photo = picture(32, 32)
    wanted = load_separator("gensirr", options(trained)).separate(photo)
    layers = load_separator(
        "gensirr", options(trained, candidates=4, depth_model=str(trained / "none"))
    ).separate(photo)
    np.testing.assert_array_equal(layers.transmission, wanted.transmission)
    assert layers.notes[0].startswith("branching is off: ")
    assert "none: cannot be loaded as a depth estimator" in layers.notes[0]


@pytest.mark.parametrize("branching", ["depth", "depth-and-edges"])
def test_a_depth_estimator_chooses_the_candidate(trained, tmp_path, branching):
    torch.manual_seed(0)
    config = GLPNConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )
    GLPNForDepthEstimation(config).save_pretrained(tmp_path / "glpn")
    GLPNImageProcessor(size_divisor=32).save_pretrained(tmp_path / "glpn")
    photo = picture(32, 32)
    kinds = {"candidates": 4, "depth_model": str(tmp_path / "glpn"), "branching": branching}
    first, again = (load_separator("gensirr", options(trained, **kinds)).separate(photo) for _ in range(2))
    assert np.array_equal(first.transmission, again.transmission)
    assert not any(note.startswith("branching is off") for note in first.notes)


def test_one_step_has_no_noise_and_takes_what_the_transformer_says(trained, backbone, task):
    rewrite(trained, one_step=True)
    photo = picture(32, 32)
    steps = []
    loading = options(trained, steps=9, on_step=lambda *done: steps.append(done))
    first = load_separator("gensirr", loading).separate(photo).transmission
    other = load_separator("gensirr", options(trained, seed=5)).separate(photo, quality="best").transmission
    assert np.array_equal(first, other)
    assert steps == [(1, 1)]
    reference = torch.rand(1, 4, 4, 4)
    latents = one_step(backbone, reference, task, Sampling())
    with torch.no_grad():
        velocity = backbone.velocity(reference, reference, torch.zeros(1), task, 2.5)
    torch.testing.assert_close(latents, reference - velocity)


def test_steps_are_told_over_all_looks(trained):
    done = []
    separator = load_separator("gensirr", options(trained, on_step=lambda *x: done.append(x)))
    separator.separate(picture(32, 32), quality="best")
    assert done == [(i, 8) for i in range(1, 9)]


def test_another_vae_beside_the_weights_is_used(trained, backbone):
    photo = picture(32, 32)
    before = load_separator("gensirr", options(trained)).separate(photo).transmission
    with torch.no_grad():
        backbone.vae.decoder.conv_out.bias.add_(0.5)
    backbone.vae.save_pretrained(trained / "vae")
    rewrite(trained, vae=folder_fingerprint(trained / "vae"))
    after = load_separator("gensirr", options(trained)).separate(photo).transmission
    assert np.abs(before - after).max() > 1e-3


def test_a_folder_that_holds_all_of_it_needs_no_base_and_stock_diffusers_paints_the_same(
    backbone, task, tmp_path
):
    for name in ("transformer", "vae", "scheduler"):
        getattr(backbone, name).save_pretrained(tmp_path / name)
    task.save(tmp_path / "task_embedding.safetensors")
    settings = GensirrSettings(None, None, 32, 0, 2.5, "remove it.", False)
    save_settings(settings, tmp_path / "gensirr.json")
    write_index(tmp_path)
    photo = picture(32, 32)
    layers = load_separator("gensirr", options(tmp_path)).separate(photo)
    plain = GensirrSeparator(backbone, task, SETTINGS, Sampling(2)).separate(photo)
    np.testing.assert_allclose(layers.transmission, plain.transmission, atol=1e-5)
    pipeline = FluxKontextPipeline.from_pretrained(tmp_path, **dict.fromkeys(TEXT_PARTS))
    pipeline.set_progress_bar_config(disable=True)
    (theirs,) = pipeline(
        image=torch.from_numpy(photo).permute(2, 0, 1)[None],
        prompt_embeds=task.prompt_embeds,
        pooled_prompt_embeds=task.pooled_prompt_embeds,
        height=32,
        width=32,
        max_area=32 * 32,
        _auto_resize=False,
        num_inference_steps=2,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    _, ours = load_separator("gensirr", options(tmp_path)).run_once(photo)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(ClearpaneError, match="holds the whole model"):
        load_separator("gensirr", options(tmp_path, base="elsewhere"))


def test_where_nothing_was_reflected_there_is_no_light():
    photo = picture(8, 8)
    assert reflected_light(photo, photo).max() == 0
    assert reflected_light(photo * 0, photo).max() == 0


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "gensirr.json").unlink(), "gensirr.json: missing; `weights` names"),
        (lambda folder: (folder / "gensirr.json").write_text("{"), "gensirr.json: not JSON"),
        (lambda folder: (folder / "task_embedding.safetensors").write_bytes(b"x"), "not a task embedding"),
        (
            lambda folder: (folder / "pytorch_lora_weights.safetensors").write_bytes(b"x" * 9),
            "damaged, cannot be read as an adapter",
        ),
        (lambda folder: rewrite(folder, rank=3), "rank 3 is expected"),
        (lambda folder: rewrite(folder, fingerprint="0"), "was trained on another base model"),
        (lambda folder: rewrite(folder, vae="0"), "is not the VAE that"),
        (lambda folder: rewrite(folder, base=None, fingerprint=None), "model_index.json: missing"),
        (
            lambda folder: TaskEmbedding(torch.zeros(1, 2, 9), torch.zeros(1, 16)).save(
                folder / "task_embedding.safetensors"
            ),
            "has 9 and 16 channels, the model takes 16 and 16",
        ),
        (lambda folder: rewrite(folder, base="/nowhere"), "give the base model of"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(trained, break_it, said):
    break_it(trained)
    with pytest.raises(ClearpaneError, match=said):
        load_separator("gensirr", options(trained))


def test_no_weights_and_no_confidence_are_said(trained):
    with pytest.raises(ClearpaneError, match="`model=gensirr` needs `weights`"):
        load_separator("gensirr")
    with pytest.raises(ClearpaneError, match="no confidence map"):
        load_separator("gensirr", options(trained)).separate(picture(32, 32), confidence=True)


def test_candidates_without_a_scorer_are_refused(backbone, task):
    with pytest.raises(ValueError, match="3 candidates and no scorer"):
        GensirrSeparator(backbone, task, SETTINGS, Sampling(2), candidates=3)
    with pytest.raises(ValueError, match="1 candidates and a scorer"):
        GensirrSeparator(backbone, task, SETTINGS, Sampling(2), scorer=lambda pictures: pictures)


def test_candidates_of_one_step_are_said_to_be_none(trained):
    rewrite(trained, one_step=True)
    usual = GensirrOptions.steps
    layers = load_separator("gensirr", options(trained, candidates=4, steps=usual)).separate(picture(24, 24))
    assert len(layers.notes) == 1 and "no candidates to choose from" in layers.notes[0]
    layers = load_separator("gensirr", options(trained, steps=4)).separate(picture(24, 24))
    assert len(layers.notes) == 1 and "takes one step, whatever `steps` says" in layers.notes[0]


def test_numbers_that_are_not_finite_while_sampling_are_said(trained, monkeypatch):
    separator = load_separator("gensirr", options(trained))
    monkeypatch.setattr(
        gensirr.Backbone, "velocity", lambda self, noisy, *rest: torch.full_like(noisy, torch.nan)
    )
    with pytest.raises(ClearpaneError, match="sampling diverged at step 1 of 2"):
        separator.separate(picture(32, 32))
