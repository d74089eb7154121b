import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clearpane.errors import ClearpaneError
from clearpane.separation.flux import loading
from clearpane.separation.flux.task_embedding import load_task_embedding
from clearpane.separation.panel.options import PanelOptions
from clearpane.separation.pretrained import find_model
from clearpane.separation.separator import load_separator
from clearpane.synthesis.dataset.shards import StoredSample, encode_sample, write_shard
from clearpane.synthesis.glass.layers import layer_picture
from clearpane.synthesis.glass.scene import Background, GlassScene, Post, ReflectedWorld
from clearpane.training.flux import fine_tuning, panel, panel_batches
from clearpane.training.flux.panel import TrainPanel, run
from clearpane.training.flux.panel_batches import (
    PanelPictures,
    draw_panels,
    draw_size,
    load_glass_panels,
    load_real_panels,
)
from clearpane.training.loop import step_generator

from ..two_processes import TwoProcesses

SIZE = (40, 56)


def recipe(glass, base, output, **changes) -> TrainPanel:
    settings = {
        **{"steps": 6, "batch": 2, "side": 32, "rank": 2, "learning_rate": 1e-2, "precision": "float32"},
        **{"cpu": True, "draw_every": 0, "checkpoint_every": 3, "gradient_checkpointing": False},
    }
    return TrainPanel(glass, str(base), output, **{**settings, **changes})


def test_scenes_are_read_as_panels(glass):
    pictures = load_glass_panels(glass)
    assert len(pictures) == 4
    first = pictures[0]
    assert first.input.shape == (3, *SIZE) and first.input.dtype == torch.uint8
    light = [x.numpy() / 255 for x in (first.input, first.transmission, first.reflection)]
    linear = [np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) for x in light]
    np.testing.assert_allclose(linear[0], linear[1] + linear[2], atol=0.015)


def test_a_panel_s_pictures_show_the_same_window():
    ramp = torch.arange(30)[None] + torch.arange(25)[:, None]
    ramp = ramp.repeat_interleave(2, 0).repeat_interleave(2, 1).to(torch.uint8).expand(3, 50, 60)
    pictures = PanelPictures(ramp, ramp + 60, ramp + 120)
    for seed in range(5):
        batch = draw_panels([pictures], (16, 24), 1.5, step_generator(seed, 0))
        photo, transmission, reflection = (255 * x for x in batch.panel.chunk(3, dim=-1))
        torch.testing.assert_close(transmission, photo + 60)
        torch.testing.assert_close(reflection, photo + 120)
        assert torch.equal(batch.reference[..., :24], batch.panel[..., :24])
        assert (batch.reference[..., 24:] == 1).all()


def test_r_of_real_pairs_has_no_weight(real):
    (pair,) = load_real_panels(real)
    glass = PanelPictures(pair.input, pair.transmission, pair.input)
    batch = draw_panels([pair, glass], (16, 16), 1.5, step_generator(0, 0))
    assert batch.known[:, 0, 0].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert (255 * batch.panel[0, :, :, 16:32]).mean().item() == pytest.approx(90, abs=1)


def test_sizes_are_multiples_about_as_large_as_asked_for_upright_and_across():
    sizes = [draw_size(128, 8, step_generator(0, step)) for step in range(200)]
    assert all(h % 8 == 0 and w % 8 == 0 and 0.85 < h * w / 128**2 < 1.15 for h, w in sizes)
    aspects = [h / w for h, w in sizes]
    assert 0.5 < min(aspects) < 0.65 and 1.6 < max(aspects) < 1.9


def test_r_of_real_pairs_has_no_weight_in_the_loss(glass, base, real, monkeypatch):
    backbone = panel.load_backbone(base, panel.Loading("float32", "cpu"))
    weights = []
    monkeypatch.setattr(
        panel, "flow_matching_loss", lambda *arguments, **keywords: weights.append(arguments[-1])
    )
    loss = panel.PanelLoss(recipe(glass, base, glass), backbone, None)
    loss([*load_real_panels(real), load_glass_panels(glass)[0]], step_generator(0, 0))
    (weight,) = weights
    third = weight.shape[-1] // 3
    assert weight[0, ..., : 2 * third].all() and weight[1].all()
    assert not weight[0, ..., 2 * third :].any()


def test_a_run_writes_what_our_sampler_and_stock_diffusers_load(glass, base, tmp_path):
    output = tmp_path / "run"
    assert run(recipe(glass, base, output)) == 0
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.pipeline_tag == "image-to-image" and "| glass scenes | 2 |" in card.text
    assert "| rank | 2 |" in card.text and str(tmp_path) not in card.text and str(base) not in card.text
    separator = load_separator(
        "panel", PanelOptions(output, steps=2, precision="float32", device="cpu", base=str(base))
    )
    layers = separator.separate(np.random.default_rng(0).random((24, 24, 3), dtype=np.float32))
    assert np.isfinite(layers.transmission).all()
    stock = FluxKontextPipeline.from_pretrained(base)
    stock.load_lora_weights(output)
    settings = json.loads((output / "panel.json").read_text())
    assert settings["rank"] == 2 and settings["caption"] == panel.PANEL_CAPTION
    moved = [p for n, p in stock.transformer.named_parameters() if "lora_B" in n]
    assert moved and all(p.abs().max() > 0 for p in moved)
    separator.save_pretrained(tmp_path / "saved")
    files = {path.name: path for path in (tmp_path / "saved").iterdir()}
    assert files.keys() == {
        *("README.md", "panel.json", "task_embedding.safetensors", "pytorch_lora_weights.safetensors"),
    }
    assert json.loads(files["panel.json"].read_text()) == {**settings, "base": base.name}
    assert find_model(str(tmp_path / "saved")) == ("panel", tmp_path / "saved")


def test_training_lowers_the_loss_on_what_it_sees(glass, base, tmp_path):
    changes = {"steps": 80, "checkpoint_every": 80, "rank": 8, "batch": 4}
    run(recipe(glass, base, tmp_path / "run", **changes))
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:20])


def test_half_precision_draws_and_trains_with_an_adapter_in_float32(glass, base, tmp_path):
    assert run(recipe(glass, base, tmp_path / "run", precision="bfloat16", draw_every=6)) == 0
    stored = load_file(tmp_path / "run" / "pytorch_lora_weights.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}


def test_pictures_smaller_than_what_is_seen_are_told_of(glass, base, tmp_path, capsys):
    run(recipe(glass, base, tmp_path / "run", steps=1, side=48))
    assert "warning: 4 of 4 pictures are smaller than 48 x 48" in capsys.readouterr().err
    run(recipe(glass, base, tmp_path / "other", steps=1))
    assert "warning" not in capsys.readouterr().err


def test_a_resumed_run_follows_the_same_loss_curve(glass, base, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(recipe(glass, base, whole))
    plain = panel.choose_pictures
    calls = []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(*arguments)

    monkeypatch.setattr(panel, "choose_pictures", interrupt)
    assert run(recipe(glass, base, parts)) == 130
    assert not (parts / "panel.json").exists()
    with (parts / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')  # killed while it wrote
    monkeypatch.setattr(panel, "choose_pictures", plain)
    assert run(recipe(glass, base, parts, gradient_checkpointing=True)) == 0

    def losses(folder) -> list[float]:
        lines = [json.loads(x) for x in (folder / "log.jsonl").read_text().splitlines()]
        assert [x["step"] for x in lines] == [1, 2, 3, 4, 5, 6]
        return [x["loss"] for x in lines]

    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    first, second = (load_file(x / "pytorch_lora_weights.safetensors") for x in (parts, whole))
    for name, value in second.items():
        torch.testing.assert_close(first[name], value)


def two_process_options(glass, base, output, steps) -> list[str]:
    options = [f"{glass}", "--base", f"{base}", "--output", f"{output}", "--cpu", "--steps", f"{steps}"]
    options += ["--batch", "1", "--side", "32", "--rank", "2", "--learning-rate", "1e-2"]
    return [*options, "--precision", "float32", "--draw-every", "0", "--no-gradient-checkpointing"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_two_processes_that_are_interrupted_stop_at_the_same_step(two_shards, base, tmp_path):
    """Started as users do."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = two_process_options(two_shards, base, tmp_path, 100_000)
    process = subprocess.Popen(
        [*launch, "-m", "clearpane", "train", "panel", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / "log.jsonl"
    waited = time.monotonic() + 200
    while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < waited:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[0]
    steps = len(log.read_text().splitlines())
    assert said.count(f"interrupted at step {steps};") == 1, said
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as checkpoint:
        assert checkpoint.metadata()["step"] == str(steps)


def stop_in_the_third_step() -> None:
    """Ask a process of a training to stop in its third step."""
    plain, calls = panel.choose_pictures, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*arguments)

    panel.choose_pictures = stopping


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_two_processes_train_as_one_that_draws_for_both_and_one_goes_on(
    two_shards, base, tmp_path, monkeypatch
):
    """Each reads one of the shards; the one that goes on reads both."""
    glass = two_shards
    words = ["panel", *two_process_options(glass, base, tmp_path / "two", 5)]
    codes, said = TwoProcesses(words, tmp_path / "two.txt", stop_in_the_third_step).finish()
    assert codes == [130, 130] and "interrupted at step 3;" in said, said
    run(recipe(glass, base, tmp_path / "two", steps=5, batch=1))
    # The twin: one process that computes both losses of a step.
    plain = panel.PanelLoss.forward

    def both(self, pictures, generator):
        first = 2 * steps.pop(0)
        losses = []
        for index in (first, first + 1):
            own = step_generator(0, index)
            chosen = panel.choose_pictures(self._recipe, scenes[index % 2], [], own)
            losses.append(plain(self, chosen, own))
        return sum(losses) / 2

    steps, all_scenes = [*range(5)], load_glass_panels(glass)
    scenes = all_scenes[panel._DRAWN : 4], all_scenes[4:]
    monkeypatch.setattr(panel.PanelLoss, "forward", both)
    run(recipe(glass, base, tmp_path / "one", steps=5, batch=1))
    two, one = (load_file(tmp_path / x / "pytorch_lora_weights.safetensors") for x in ("two", "one"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    two, one = (
        [json.loads(line)["loss"] for line in (tmp_path / x / "log.jsonl").read_text().splitlines()]
        for x in ("two", "one")
    )
    assert len(two) == 5
    assert two == pytest.approx(one, rel=1e-4)


def test_another_recipe_does_not_go_on_with_a_run(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run"))
    with pytest.raises(ClearpaneError, match="rank: 2 there, 3 asked for"):
        run(recipe(glass, base, tmp_path / "run", rank=3))


def test_tensorboard_gets_the_loss_and_drawn_panels(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run", draw_every=3))
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    (name,) = events.Tags()["images"]
    drawn = events.Images(name)
    assert [e.step for e in drawn] == [3, 6]
    assert (drawn[0].width, drawn[0].height) == (3 * 32, 2 * 2 * 32)


def test_tensorboard_s_curve_is_not_doubled_by_going_on(glass, base, tmp_path, monkeypatch):
    """A run that is killed writes steps again that came after its last checkpoint."""
    plain, calls = panel.choose_pictures, []

    def die(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise MemoryError
        return plain(*arguments)

    monkeypatch.setattr(panel, "choose_pictures", die)
    with pytest.raises(MemoryError):
        run(recipe(glass, base, tmp_path / "run"))
    time.sleep(1.1)  # files of events are told apart by the second
    assert run(recipe(glass, base, tmp_path / "run")) == 0
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_too_little_memory_is_said_before_anything_is_loaded(glass, base, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1_000_000)
    for name in ("load_backbone", "encode_text"):
        monkeypatch.setattr(panel, name, pytest.fail)
    with pytest.raises(ClearpaneError, match="lower `batch` or `side`"):
        run(recipe(glass, base, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(glass, base, tmp_path, monkeypatch):
    output = tmp_path / "run"
    plain = panel.flow_matching_loss
    calls = []

    def broken(*arguments, **keywords):
        calls.append(1)
        return plain(*arguments, **keywords) * (torch.nan if len(calls) == 5 else 1)

    monkeypatch.setattr(panel, "flow_matching_loss", broken)
    with pytest.raises(ClearpaneError, match="not finite at step 4; start again in another folder"):
        run(recipe(glass, base, output))
    monkeypatch.setattr(panel, "flow_matching_loss", lambda *a, **k: calls.append(1) or plain(*a, **k))
    calls.clear()
    assert run(recipe(glass, base, output)) == 0
    assert len(calls) == 3  # from the checkpoint of step 3 on


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 0}, "`rank=0`: give 1 or more"),
        ({"real_share": 2.0}, "`real_share=2`: give 0 to 1"),
        ({"zoom": 0.5}, "`zoom=0.5`: give 1 or more"),
        ({"average": 1.0}, "`average=1`: give 0 or more, less than 1"),
        ({"learning_rate": 0.0}, "`learning_rate=0`: give more than 0"),
        ({"draw_every": -1}, "`draw_every=-1`: give 0 or more"),
        ({"base": "/nowhere"}, "/nowhere: there is no such directory"),
    ],
)
def test_what_cannot_be_is_said_at_once(glass, base, tmp_path, changes, said):
    settings = recipe(glass, changes.pop("base", base), tmp_path / "run", **changes)
    with pytest.raises(ClearpaneError, match=said):
        run(settings)


def test_too_few_scenes_are_refused(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClearpaneError, match="no shards of glass scenes"):
        run(recipe(tmp_path / "empty", base, tmp_path / "run"))


def test_a_caption_of_an_earlier_run_that_failed_is_not_used(glass, base, tmp_path, monkeypatch):
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(panel, "fine_tune", lambda *arguments: None)
        run(recipe(glass, base, output))
    run(recipe(glass, base, output, caption="the left"))
    task = load_task_embedding(output / "task_embedding.safetensors")
    assert torch.equal(task.prompt_embeds, panel.encode_text(base, "the left").prompt_embeds)


def test_what_is_saved_are_the_averaged_weights(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run", average=0.9))
    saved = load_file(tmp_path / "run" / "pytorch_lora_weights.safetensors")
    checkpoint = load_file(tmp_path / "run" / "checkpoint.safetensors")
    name = next(n for n in saved if n.endswith("to_q.lora_A.weight"))
    held = name.removeprefix("transformer.").replace("lora_A", "lora_A.default").replace(".", "/")
    assert torch.equal(saved[name], checkpoint[f"average.{held}"])
    assert not torch.equal(saved[name], checkpoint[f"model.{held}"])


def test_the_usual_precision_and_checkpointing_train_too(glass, base, tmp_path):
    changes = {"precision": "bfloat16", "gradient_checkpointing": True}
    assert run(recipe(glass, base, tmp_path / "run", **changes)) == 0
    saved = load_file(tmp_path / "run" / "pytorch_lora_weights.safetensors")
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in saved.values())


def test_t_has_the_photograph_s_tone_curve(tmp_path):
    """A scene without a reflection: T looks as I does, whatever the camera's curve."""
    light = np.random.default_rng(0).random((*SIZE, 3), dtype=np.float32)
    scene = replace(GlassScene(Background("a"), ReflectedWorld("b")), post=Post(contrast=1.4))
    layer = torch.from_numpy(light).permute(2, 0, 1)
    photo = layer_picture(layer, scene.post).permute(1, 2, 0).numpy()
    stored = StoredSample("00000000", scene, photo, {"T": light, "R": np.zeros_like(light)}, None)
    write_shard(tmp_path / "shard-000000.tar", [encode_sample(stored, "png16")])
    (pictures,) = load_glass_panels(tmp_path)
    assert (pictures.input.int() - pictures.transmission.int()).abs().max() <= 1


def test_an_interrupt_before_any_line_of_a_step_costs_nothing(
    glass, real, base, tmp_path, interrupt_every_line
):
    settings = recipe(glass, base, tmp_path / "run", steps=60, real=real)
    own = [panel, panel_batches]
    lines = interrupt_every_line(fine_tuning, own, lambda: run(settings))
    assert {file for file, _ in lines} == {"panel.py", "panel_batches.py"} and len(lines) > 30
