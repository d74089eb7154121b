import json
import os
import signal

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from safetensors.torch import load_file

from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb
from clearpane.separation.flux import loading
from clearpane.separation.flux.folders import TEXT_PARTS
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone, load_vae
from clearpane.separation.flux.task_embedding import LearnableTask, load_task_embedding, random_task
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.pretrained import describe
from clearpane.separation.separator import load_separator
from clearpane.training import runner
from clearpane.training.flux import edit_batches, fine_tuning
from clearpane.training.flux import gensirr as kontext
from clearpane.training.flux.edit_batches import EditPair, draw_edits, load_glass_edits
from clearpane.training.flux.flow_matching import regression_loss
from clearpane.training.flux.gensirr import TrainGensirr, run
from clearpane.training.loop import step_generator

from ..two_processes import TwoProcesses

SIZE = (40, 56)


def recipe(glass, base, output, **changes) -> TrainGensirr:
    settings = {
        **{"steps": 4, "batch": 2, "side": 24, "rank": 2, "learning_rate": 1e-2, "precision": "float32"},
        **{"cpu": True, "checkpoint_every": 2, "gradient_checkpointing": False, "average": 0.0},
        "sentence": "please remove the reflection.",
    }
    return TrainGensirr(glass, str(base), output, **(settings | changes))


def options(folder, **changes) -> GensirrOptions:
    return GensirrOptions(
        **{"weights": folder, "steps": 2, "precision": "float32", "device": "cpu", **changes}
    )


def losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_scenes_have_the_brightness_of_the_scene_without_the_glass(glass):
    pictures = load_glass_edits(glass)
    assert len(pictures) == 4
    random = np.random.default_rng(0)
    clean = linear_to_srgb(random.random((*SIZE, 3), dtype=np.float32) / 2 / np.float32(0.8))
    shown = pictures[0].truth.permute(1, 2, 0).numpy() / 255
    assert np.abs(shown - clean).max() < 0.02


def test_real_pairs_and_scenes_come_in_their_shares_with_the_same_windows(glass, real, base, tmp_path):

    ramp = torch.arange(56, dtype=torch.uint8).expand(3, 40, 56)
    one, other = [EditPair(ramp, ramp + 100)], [EditPair(ramp + 150, ramp + 50)]
    wanted = recipe(glass, base, tmp_path, batch=400, real_share=0.25)
    photos, truths = draw_edits(wanted, one, other, 8, torch.Generator().manual_seed(0))
    difference = (255 * (truths - photos)).mean(dim=(1, 2, 3)).round()
    assert set(difference.tolist()) == {100, -100}
    assert 0.18 < (difference == -100).float().mean() < 0.32
    spread = (255 * (truths - photos)).std(dim=(1, 2, 3))
    assert spread.max() < 0.5


@pytest.mark.parametrize("full", [False, True])
def test_a_run_writes_what_remove_and_stock_diffusers_load(glass, base, tmp_path, full):
    output = tmp_path / "run"
    assert run(recipe(glass, base, output, full=full)) == 0
    photo = np.random.default_rng(1).random((24, 24, 3), dtype=np.float32)
    trained = load_separator("gensirr", options(output)).separate(photo).transmission
    assert np.isfinite(trained).all()
    assert describe(output) == ("gensirr", True) and "| full | " in (output / "README.md").read_text()
    pipeline = FluxKontextPipeline.from_pretrained(output if full else base, **dict.fromkeys(TEXT_PARTS))
    if not full:
        pipeline.load_lora_weights(output)
    task = load_task_embedding(output / "task_embedding.safetensors")
    from clearpane.separation.flux.backbone import Backbone
    from clearpane.separation.flux.sampling import Sampling
    from clearpane.separation.gensirr.separator import GensirrSeparator, GensirrSettings

    stock = Backbone(pipeline.transformer, pipeline.vae, pipeline.scheduler, torch.device("cpu"))
    settings = GensirrSettings(**json.loads((output / "gensirr.json").read_text()))
    shown = GensirrSeparator(stock, task, settings, Sampling(2)).separate(photo).transmission
    np.testing.assert_allclose(shown, trained, atol=1e-4)
    assert settings.base is None if full else settings.base == str(base)
    before = load_backbone(base, Loading("float32", "cpu")).transformer.state_dict()
    changed = [
        n for n, v in pipeline.transformer.state_dict().items() if n in before and (v != before[n]).any()
    ]
    assert bool(changed) == full


def test_training_lowers_the_loss_on_what_it_sees(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run", steps=80, batch=8, rank=8))
    seen = losses(tmp_path / "run")
    assert np.mean(seen[-20:]) < 0.9 * np.mean(seen[:20])


@pytest.mark.parametrize(
    ("kind", "moves", "starts"), [("learned", True, True), ("fixed", False, True), ("random", True, False)]
)
def test_the_embedding_is_learned_from_the_sentence_kept_or_random(
    glass, base, tmp_path, kind, moves, starts
):
    run(recipe(glass, base, tmp_path / "run", embedding=kind, learning_rate=1e-3))
    saved = load_task_embedding(tmp_path / "run" / "task_embedding.safetensors").prompt_embeds.float()
    text = encode_text(base, "please remove the reflection.").prompt_embeds.float()
    distance = (saved - text).abs().mean() / text.std()
    assert (distance > 0) == moves
    assert (distance < 0.1) == starts


def test_random_numbers_have_the_mean_and_the_deviation_of_the_sentence(base):
    text = encode_text(base, "please remove the reflection.").to("cpu", torch.float32)
    drawn = random_task(text, torch.Generator().manual_seed(0))
    assert drawn.prompt_embeds.shape == text.prompt_embeds.shape
    assert drawn.prompt_embeds.std().item() == pytest.approx(text.prompt_embeds.std().item(), rel=0.15)
    module = LearnableTask(text)
    assert torch.equal(module().prompt_embeds, text.prompt_embeds)
    assert module().prompt_embeds.requires_grad


def test_the_regression_is_0_where_one_step_ends_at_the_truth(base, monkeypatch):
    backbone = load_backbone(base, Loading("float32", "cpu"))
    task = encode_text(base, "please remove the reflection.").to("cpu", torch.float32)
    latents, reference = torch.rand(2, 4, 4, 4), torch.rand(2, 4, 4, 4)
    told = []

    def velocity(self, noisy, given, sigma, task, guidance):
        told.append((noisy, sigma))
        return given - latents

    monkeypatch.setattr(type(backbone), "velocity", velocity)
    assert regression_loss(backbone, latents, reference, task, 2.5).item() == 0
    assert torch.equal(told[0][0], reference)
    assert told[0][1].tolist() == [0, 0]


def test_one_step_is_remembered(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run", one_step=True))
    photo = np.random.default_rng(1).random((24, 24, 3), dtype=np.float32)
    results = [load_separator("gensirr", options(tmp_path / "run", seed=i)).separate(photo) for i in (0, 1)]
    assert np.array_equal(results[0].transmission, results[1].transmission)


def test_another_vae_is_trained_with_and_kept_beside_the_weights(glass, base, tmp_path):
    vae = load_vae(base)
    with torch.no_grad():
        vae.encoder.conv_out.bias.add_(0.1)
    vae.save_pretrained(tmp_path / "vae")
    run(recipe(glass, base, tmp_path / "run", vae=tmp_path / "vae"))
    run(recipe(glass, base, tmp_path / "plain"))
    assert losses(tmp_path / "run")[0] != losses(tmp_path / "plain")[0]
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "run" / "vae" / file).read_bytes() == (tmp_path / "vae" / file).read_bytes()
    load_separator("gensirr", options(tmp_path / "run"))
    load_vae(base).save_pretrained(tmp_path / "run" / "vae")
    with pytest.raises(ClearpaneError, match="is not the VAE that"):
        load_separator("gensirr", options(tmp_path / "run"))


def test_a_vae_left_by_an_earlier_run_is_not_used(glass, base, tmp_path):
    run(recipe(glass, base, tmp_path / "run"))
    before = load_separator("gensirr", options(tmp_path / "run"))
    (tmp_path / "run" / "vae").mkdir()
    after = load_separator("gensirr", options(tmp_path / "run"))
    photo = np.random.default_rng(1).random((24, 24, 3), dtype=np.float32)
    assert np.array_equal(*(x.separate(photo).transmission for x in (before, after)))


def interrupted_after(monkeypatch, steps):
    real_append = runner.append_json_line

    def interrupt(path, facts):
        real_append(path, facts)
        if facts["step"] == steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(runner, "append_json_line", interrupt)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
def test_a_resumed_run_follows_the_same_loss_curve(glass, base, tmp_path, monkeypatch, optimizer):
    wanted = {"optimizer": optimizer, "full": True}
    run(recipe(glass, base, tmp_path / "whole", **wanted))
    interrupted_after(monkeypatch, 3)
    assert run(recipe(glass, base, tmp_path / "broken", **wanted)) == 130
    monkeypatch.undo()
    assert run(recipe(glass, base, tmp_path / "broken", **wanted)) == 0
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def sharded(glass, base, output, steps) -> TwoProcesses:
    """Two processes that share weights, gradients and moments."""
    command = [glass, "--base", base, "--output", output, "--cpu", "--steps", steps]
    command += ["--batch", "1", "--side", "24", "--learning-rate", "1e-3", "--precision", "float32"]
    command += ["--full", "--shard", "--average", "0", "--sentence", "please remove the reflection."]
    return TwoProcesses(["gensirr", *command], output.with_name(f"{output.name}.txt"))


def train_twin(glass, base, output, steps, monkeypatch) -> None:
    """The same in one process, that computes both losses of a step."""
    plain, count = kontext.GensirrLoss.forward, iter(range(steps))
    own = recipe(glass, base, output, steps=steps, batch=1, full=True, learning_rate=1e-3)
    scenes = load_glass_edits(glass)[::2], load_glass_edits(glass)[1::2]  # of one shard, every second

    def both(self, photos, truths, generator):
        first = 2 * next(count)
        parts = []
        for index in (first, first + 1):
            drawn = step_generator(0, index)
            parts.append(plain(self, *draw_edits(own, scenes[index % 2], [], 8, drawn), drawn))
        return sum(parts) / 2

    with monkeypatch.context() as patch:
        patch.setattr(kontext.GensirrLoss, "forward", both)
        run(own)


def test_two_processes_that_share_the_weights_train_as_one(glass, base, tmp_path, monkeypatch):
    codes, said = sharded(glass, base, tmp_path / "two", 3).finish()
    assert codes == [0, 0], said
    train_twin(glass, base, tmp_path / "one", 3, monkeypatch)
    for file in ("transformer/diffusion_pytorch_model.safetensors", "task_embedding.safetensors"):
        two, one = (load_file(tmp_path / x / file) for x in ("two", "one"))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_processes_that_share_the_weights_go_on_after_an_interruption(glass, base, tmp_path, monkeypatch):
    def lines_of(path) -> int:
        return len(path.read_text().splitlines()) if path.exists() else 0

    log, steps = tmp_path / "two" / "log.jsonl", 0
    for _ in range(2):
        processes = sharded(glass, base, tmp_path / "two", 100_000)
        processes.wait_until(lambda before=steps: lines_of(log) > before)
        processes.interrupt()
        codes, said = processes.finish(100)
        steps = lines_of(log)
        assert codes == [130, 130] and f"interrupted at step {steps};" in said, said
    train_twin(glass, base, tmp_path / "one", steps, monkeypatch)
    two, one = (load_file(tmp_path / x / "checkpoint.safetensors") for x in ("two", "one"))
    assert set(two) == set(one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "`steps=0`: give 1 or more"),
        ({"real_share": 2.0}, "`real_share=2`: give 0 to 1"),
        ({"average": 1.0}, "`average=1`: give 0 or more, less than 1"),
        ({"learning_rate": -1.0}, "`learning_rate=-1`: give more than 0"),
        ({"zoom": 0.5}, "`zoom=0.5`: give 1 or more"),
        ({"full": True, "precision": "nf4"}, "nf4 needs a LoRA"),
        ({"shard": True}, "`shard` needs `full`"),
        (
            {"shard": True, "full": True},
            "`shard` needs several processes: start the training with accelerate launch",
        ),
        ({"shard": True, "full": True, "optimizer": "adamw8bit"}, "`shard` spreads the moments already"),
    ],
)
def test_what_cannot_be_is_said_at_once(glass, base, tmp_path, changes, said):
    with pytest.raises(ClearpaneError, match=said):
        run(recipe(glass, base, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("full", [False, True])
def test_too_little_memory_is_said_before_anything_is_loaded(glass, base, tmp_path, monkeypatch, full):
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1_000_000)
    for name in ("load_backbone", "encode_text"):
        monkeypatch.setattr(kontext, name, pytest.fail)
    with pytest.raises(ClearpaneError, match=r"1\.0 MB are free; lower `batch` or `side`"):
        run(recipe(glass, base, tmp_path / "run", full=full))


def test_the_learning_rate_is_gensirr_s_for_the_whole_and_larger_for_a_lora(glass, base, tmp_path):
    assert recipe(glass, base, tmp_path, learning_rate=None, full=True).rate == 1e-5
    assert recipe(glass, base, tmp_path, learning_rate=None).rate == 1e-4


@pytest.mark.parametrize("one_step", [False, True])
def test_an_interrupt_before_any_line_of_a_step_costs_nothing(
    glass, real, base, tmp_path, interrupt_every_line, one_step
):
    settings = recipe(glass, base, tmp_path, steps=60, real=real, one_step=one_step)
    own = [kontext, edit_batches]
    lines = interrupt_every_line(fine_tuning, own, lambda: run(settings))
    assert {file for file, _ in lines} == {"gensirr.py", "edit_batches.py"} and len(lines) > 18
