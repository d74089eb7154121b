import json
import os
import signal
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.compact.network import NetworkConfig
from clearpane.synthesis.dataset.shards import StoredSample, encode_sample, write_shard
from clearpane.synthesis.glass.scene import Background, GlassScene, Post, ReflectedWorld
from clearpane.training import scenes_by_draw
from clearpane.training.compact import batches
from clearpane.training.compact import recipe as compact
from clearpane.training.compact.batches import TrainingPictures
from clearpane.training.compact.losses import Batch, separation_loss
from clearpane.training.compact.recipe import (
    TrainCompact,
    batch_loss,
    draw_batch,
    new_optimizer,
    open_pictures,
    run,
    split_pairs,
)
from clearpane.training.compact.sources import AlignedPair, load_pair_sets
from clearpane.training.loop import AveragedWeights, TrainingState, step_generator
from clearpane.training.pictures import (
    GlassPictures,
    Pair,
    add_distractors,
    add_label,
    add_lamp,
    add_sky,
    deepen_shadows,
    light_up,
    load_glass_scenes,
    load_natural,
    load_pairs,
    natural_paths,
    random_crop,
    remix,
)
from clearpane.training.runner import Schedule, run_steps

from ..two_processes import TwoProcesses

SMALL = NetworkConfig((8, 16), (1, 1), decoder_blocks=(1,), gated_from=1, features=False)


@pytest.fixture
def data(tmp_path):
    """A folder laid out as the recipe wants it."""
    rng = np.random.default_rng(0)
    natural, pairs = tmp_path / "natural", tmp_path / "real_pairs" / "train"
    natural.mkdir()
    pairs.mkdir(parents=True)

    def save(path):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(path)

    for index in range(17):
        save(natural / f"{index:02}.png")
    for index in range(5):
        save(pairs / f"{index:03}_input.jpg")
        save(pairs / f"{index:03}_transmission.jpg")
    return tmp_path


@pytest.fixture
def small_network(monkeypatch):
    """The recipe with a small network, and without the slow export."""
    network = compact.CompactNetwork
    monkeypatch.setattr(compact, "CompactNetwork", lambda: network(SMALL))
    monkeypatch.setattr("clearpane.training.compact.recipe.export_onnx", lambda network, path: path)


def recipe(data, name, **changes) -> TrainCompact:
    defaults = {"steps": 6, "crops": (32,), "pixels_per_step": 4096, "checkpoint_every": 2, "threads": 1}
    return TrainCompact(data, data / name, **(defaults | changes))


def test_held_out_pictures_are_not_loaded(data):
    held_out = natural_paths(data / "natural", held_out=True)
    assert [p.name for p in held_out] == ["00.png", "16.png"]
    assert len(load_natural(data / "natural")) == 15
    assert len(load_natural(data / "natural", held_out=True)) == 2


def test_crops_of_a_pair_stay_aligned(data):
    picture = load_natural(data / "natural")[0]
    for step in range(10):
        first, second = random_crop((picture, picture), 24, step_generator(0, step))
        assert first.shape == (3, 24, 24)
        assert torch.equal(first, second)


def pictures_of(natural, photo=None, truth=None):
    """Make training pictures of one natural picture and, if given, one pair."""
    pairs = [[[AlignedPair(Pair("a", photo, truth), exact=True)]]] if photo is not None else []
    return TrainingPictures([[natural]], pair_sets=pairs)


def test_batches_hold_the_stated_shares_and_are_seeded(data):
    shown = [torch.full((3, 48, 64), value, dtype=torch.uint8) for value in (153, 102, 51)]
    glass = [GlassPictures(*shown, torch.full((3,), 0.9))]
    pair_sets = load_pair_sets(data)
    pictures = TrainingPictures([load_natural(data / "natural")], pair_sets=pair_sets, glass=glass)
    shares = {"real_share": 0.4, "clean_share": 0.2, "glass_share": 0.2, "glass": data}
    settings = recipe(data, "x", **shares, pixels_per_step=200 * 32**2)
    batch = draw_batch(settings, pictures, 32, step_generator(0, 0))
    clean = (batch.input == batch.target).flatten(1).all(1)
    rendered = (batch.transmittance == 0.9).all(1) & (batch.input - 0.6 < 1e-6).flatten(1).all(1)
    assert 60 < batch.real.sum() < 100
    assert 22 < (clean & ~batch.real).sum() < 60
    assert 22 < rendered.sum() < 60
    few = replace(settings, pixels_per_step=4 * 32**2)
    again, other = (draw_batch(few, pictures, 32, step_generator(0, step)) for step in (0, 1))
    assert torch.equal(batch.input[:4], again.input)
    assert not torch.equal(again.input, other.input)


@pytest.mark.parametrize("blend", ["ceilnet", "zhang", "dsrnet", "rdnet"])
def test_the_loss_takes_blends_of_the_literature_which_have_no_t(data, blend):
    pictures = TrainingPictures([load_natural(data / "natural")])
    settings = recipe(data, "x", blend=blend, clean_share=0.0, pixels_per_step=8 * 32**2)
    batch = draw_batch(settings, pictures, 32, step_generator(0, 0))
    assert batch.transmittance.isnan().all() and not batch.real.any()
    result = batch.input.clone().requires_grad_()
    separation_loss(result, batch.reflection, batch).backward()
    assert result.grad.isfinite().all() and result.grad.any()


def test_truths_are_backgrounds_where_real_pairs_are_trained_on(data):
    """Truths are red here and natural pictures blue: targets of synthetic crops tell which they are."""
    size = (48, 64)
    red, blue = (torch.zeros(3, *size, dtype=torch.uint8) for _ in range(2))
    red[0], blue[2] = 200, 200

    def red_share(**shares):
        pictures = pictures_of(blue, red, red) if shares else pictures_of(blue)
        settings = recipe(data, "x", clean_share=0.0, pixels_per_step=200 * 32**2, **shares)
        batch = draw_batch(settings, pictures, 32, step_generator(0, 0))
        targets = batch.target[~batch.real].mean((2, 3))
        # Light that is white on both sides, veils and lamps, changes nothing.
        return (targets[:, 0] > targets[:, 2]).float().mean().item()

    assert red_share() == 0
    assert 0.15 < red_share(real_share=0.1) < 0.36
    # A transfer takes its background likewise; channels are shuffled for the real pair alone.
    assert 0.15 < red_share(transfer_share=0.5) < 0.36


def test_the_features_learn_more_slowly():
    network = compact.CompactNetwork()
    optimizer = new_optimizer(network)
    slow = {id(p) for p in network.features.parameters()}
    for group in optimizer.param_groups:
        assert all((id(p) in slow) == (group["rate"] == 0.3) for p in group["params"])
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(network.parameters()))


def test_the_runner_heeds_the_rates_of_groups(tmp_path):
    layers = [torch.nn.Linear(2, 2) for _ in range(2)]
    model = torch.nn.Sequential(*layers)
    groups = [
        {"params": layer.parameters(), "rate": rate} for layer, rate in zip(layers, (1.0, 0.1), strict=True)
    ]
    state = TrainingState(model, AveragedWeights(model), torch.optim.SGD(groups, lr=1.0))
    schedule = Schedule(1, 1e-3, warmup=0, floor=1.0)
    assert run_steps(
        state, schedule, tmp_path, lambda step: model(torch.ones(2)).sum(), Accelerator(cpu=True)
    )
    assert sorted(g["lr"] for g in state.optimizer.param_groups) == pytest.approx([1e-4, 1e-3])


def test_glass_scenes_are_read_from_a_data_set(tmp_path):
    layers = {letter: np.full((8, 12, 3), light, np.float32) for letter, light in (("R", 0.1), ("B", 0.5))}
    layers["B"][:, :4] = 0.2
    layers["T"] = 0.8 * layers["B"]
    scene = GlassScene(Background("a"), ReflectedWorld("b"))
    photo = np.full((8, 12, 3), 0.7, np.float32)

    def write(letters, contrast=1.0):
        kept = {letter: layers[letter] for letter in letters}
        stored = StoredSample("00000000", replace(scene, post=Post(contrast=contrast)), photo, kept, None)
        write_shard(tmp_path / "shard-000000.tar", [encode_sample(stored, "png16")])

    with pytest.raises(ClearpaneError, match="clearpane synthesize"):
        load_glass_scenes(tmp_path)
    write("TRB", contrast=1.2)
    assert load_glass_scenes(tmp_path) == []
    layers["T"] = np.roll(layers["T"], 1, axis=1)
    write("TRB")
    (glass,) = load_glass_scenes(tmp_path)
    assert glass.transmittance.tolist() == pytest.approx([0.8] * 3, abs=1e-3)
    assert torch.equal(glass.input, torch.full((3, 8, 12), round(255 * 0.7), dtype=torch.uint8))
    # B where T shows it: one pixel to the right.
    expected = np.roll(linear_to_srgb(layers["B"].astype(np.float64)), 1, axis=1).transpose(2, 0, 1) * 255
    np.testing.assert_allclose(glass.background.numpy(), expected, atol=0.6)
    write("TB")
    with pytest.raises(ClearpaneError, match="layers I, T, R and B"):
        load_glass_scenes(tmp_path)


def test_deepened_shadows_keep_black_white_and_order():
    ramp = torch.linspace(0, 1, 11).expand(3, 1, 11)
    for step in range(5):
        deepened = deepen_shadows(ramp, step_generator(0, step))
        assert deepened[0, 0, 0] == 0 and deepened[0, 0, -1] == 1
        assert (deepened <= ramp).all() and (deepened.diff() > 0).all()


def placed(height, width):
    """Coordinates around the middle of a picture, in shorter sides."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (columns - width / 2) / min(height, width), (rows - height / 2) / min(height, width)


def draws(add, grey=0.1, size=(96, 128)):
    """Apply ``add`` to a grey picture in linear light, twenty times."""
    u, v = placed(*size)
    return [add(torch.full((3, *size), grey), u, v, 0.004, step_generator(0, step)) for step in range(20)]


def test_a_label_is_a_card_with_lettering():
    for light in draws(add_label):
        changed = (light - 0.1).abs().amax(dim=0) > 0.01
        assert changed[48, 64] and not changed[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        assert light[:, changed].std(dim=1).max() > 0.05


def test_a_lamp_is_brightest_in_its_middle_and_adds_light():
    for light in draws(add_lamp):
        assert (light >= 0.1).all() and light[0, 48, 64] > 0.8
        assert torch.equal(light[0].amax(), light[0, 48, 64])


def test_a_lit_part_is_brighter_by_a_factor():
    for light in draws(light_up):
        assert 1.2 * 0.1 < light[1, 48, 64] < 6 * 0.1
        assert (light >= 0.0999).all()


def test_a_sky_lies_above_its_skyline():
    for light in draws(add_sky):
        assert light[2, 2].mean() > 0.2
        torch.testing.assert_close(light[:, -2:], torch.full((3, 2, 128), 0.1), atol=1e-3, rtol=0)


def test_distractors_stay_in_range_and_are_seeded():
    dark = torch.full((3, 64, 96), 0.2)
    for step in range(30):
        picture = add_distractors(dark, step_generator(0, step))
        assert torch.equal(picture, add_distractors(dark, step_generator(0, step)))
        assert picture.shape == dark.shape and picture.min() >= 0 and picture.max() <= 1


def test_clean_pictures_and_backgrounds_hold_the_stated_share_of_distractors(data):
    even = torch.full((3, 48, 64), 90, dtype=torch.uint8)
    pictures = pictures_of(even)

    def uneven(share):
        settings = recipe(data, "x", clean_share=0.3, distractors=share, pixels_per_step=200 * 32**2)
        targets = draw_batch(settings, pictures, 32, step_generator(0, 0)).target
        # Clean pictures have some grain, and some scenes have fog.
        return (targets.flatten(2).std(dim=2).amax(dim=1) > 0.03).float().mean().item()

    assert uneven(0.0) < 0.12
    assert 0.25 < uneven(0.4) < 0.55  # some fall off the picture's edge


def test_half_of_the_real_pairs_are_remixed(data):
    """Saturated photographs of a black scene: a pane of less than its light shows as grey."""
    white, black = (torch.full((3, 48, 64), value, dtype=torch.uint8) for value in (255, 0))
    pictures = pictures_of(black, white, black)
    settings = recipe(data, "x", real_share=1.0, clean_share=0.0, pixels_per_step=200 * 32**2)
    photos = draw_batch(settings, pictures, 32, step_generator(0, 0)).input
    # The exposure of a pair is drawn from 0.6 to 1.4 and its white balance from 0.85 to 1.15.
    dark = (srgb_to_linear(photos).amax(dim=(1, 2, 3)) < 0.6 * 0.85).float().mean().item()
    assert 0.06 < dark < 0.3


def test_a_remixed_pair_is_a_pair_with_another_share_of_the_pane():
    truth = 0.2 + 0.4 * torch.rand(3, 8, 8, generator=step_generator(1, 0))
    photo = linear_to_srgb(0.8 * srgb_to_linear(truth) + 0.1)
    shares = []
    for step in range(40):
        mixed = srgb_to_linear(remix(photo, truth, step_generator(0, step))) - srgb_to_linear(truth)
        pane = srgb_to_linear(photo) - srgb_to_linear(truth)
        shares.append(((mixed * pane).sum() / pane.square().sum()).item())
        torch.testing.assert_close(mixed, shares[-1] * pane, atol=1e-4, rtol=0)
    assert 0.3 <= min(shares) < 0.5 and 1.1 < max(shares) <= 1.3
    stronger = step_generator(0, shares.index(max(shares)))
    assert remix(torch.full((3, 8, 8), 0.95), truth, stronger).max().item() == pytest.approx(1)


def test_folds_part_the_scenes_of_each_set(data):
    rooms = data / "real_pairs_rooms" / "train"
    rooms.mkdir(parents=True)
    for scene, kind, index in product(range(4), ("input", "transmission"), (1, 2)):
        Image.new("RGB", (24, 24), (40 * scene, 0, 0)).save(rooms / f"{scene:03}-{index:02}_{kind}.jpg")
    pair_sets = load_pair_sets(data)
    assert [len(scenes) for scenes in pair_sets] == [5, 4]
    everything = sorted(a.pair.name for scenes in pair_sets for scene in scenes for a in scene)
    parts = [split_pairs(recipe(data, "x", folds=3, fold=k), pair_sets) for k in range(3)]
    assert sorted(pair.name for _, held_out in parts for pair in held_out) == everything
    for trained, held_out in parts:
        kept = [a.pair.name for scenes in trained for scene in scenes for a in scene]
        assert sorted(kept + [pair.name for pair in held_out]) == everything
        assert not {name[:3] for name in kept if "-" in name} & {
            p.name[:3] for p in held_out if "-" in p.name
        }
    assert sorted(pair.name for pair in split_pairs(recipe(data, "x"), pair_sets)[1]) == everything
    for share in ("real_share", "transfer_share"):
        assert split_pairs(recipe(data, "x", **{share: 0.2}), pair_sets) == (pair_sets, [])


def test_rooms_are_drawn_from_if_they_are_there(data):
    more = data / "natural_more"
    more.mkdir()
    for index in range(30):
        Image.new("RGB", (40, 40), (200, 0, 0)).save(more / f"house_{index}_kitchen.png")
    Image.new("RGB", (40, 40), (0, 200, 0)).save(more / "mall_1.png")
    pictures = open_pictures(recipe(data, "x", glass_share=0.1))
    assert [len(group) for group in pictures.natural[:2]] == [15, 15]
    assert 20 < len(pictures.natural[2]) < 30 and len(pictures.reflected) == 1
    assert pictures.sources is not None and "16.png" not in pictures.sources.backgrounds.names
    assert open_pictures(recipe(data, "x")).sources is None


def test_frozen_features_do_not_learn(data, monkeypatch):
    network = compact.CompactNetwork()
    monkeypatch.setattr(compact, "new_network", lambda: network)
    monkeypatch.setattr(type(network.features), "load_pretrained", lambda self, path: None)
    compact.start_network(recipe(data, "x", features=data, freeze_features=True))
    optimizer = new_optimizer(network)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    picture = torch.rand(1, 3, 64, 64)
    batch = Batch(picture, picture**2, 0 * picture, torch.ones(1, 3), torch.tensor([False]))
    batch_loss(network, batch).backward()
    optimizer.step()
    changed = {name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and not any(name.startswith("features.") for name in changed)


def test_an_interrupted_run_goes_on_to_the_same_weights(data, small_network, monkeypatch):
    whole = recipe(data, "whole", real_share=0.3)
    assert run(whole) == 0
    loss, seen = compact.batch_loss, []

    def interrupted(network, batch):
        seen.append(batch)
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(network, batch)

    parts = recipe(data, "parts", real_share=0.3)
    monkeypatch.setattr(compact, "batch_loss", interrupted)
    assert run(parts) == 130
    monkeypatch.setattr(compact, "batch_loss", loss)
    assert run(parts) == 0
    expected = load_file(whole.output / "checkpoint.safetensors")
    result = load_file(parts.output / "checkpoint.safetensors")
    assert all(torch.equal(expected[name], result[name]) for name in expected)


def use_small() -> None:
    """Make the network small, in another process."""
    network = compact.CompactNetwork
    compact.CompactNetwork = lambda: network(SMALL)
    compact.export_onnx = lambda network, path: path


def test_two_processes_train_as_one_that_computes_both_draws(data, two_shards, small_network, monkeypatch):
    options = ["--steps", "3", "--crops", "32", "--pixels-per-step", "4096", "--threads", "1"]
    options += ["--glass", two_shards, "--glass-share", "0.5"]
    words = ["compact", "--data", data, "--output", data / "two", *options]
    codes, said = TwoProcesses(words, data / "two.txt", use_small).finish()
    assert codes == [0, 0], said
    assert said.count("wrote") == 1
    for module in (compact, scenes_by_draw):
        monkeypatch.setattr(module, "draws_per_step", lambda folder, accelerator: 2)
    assert run(recipe(data, "one", steps=3, glass=two_shards, glass_share=0.5)) == 0
    two, one = (load_file(data / name / "checkpoint.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("lost", [1, 90])  # a part of the last line, and all of it
def test_the_next_run_writes_the_scores_that_a_kill_cut_off(data, small_network, lost):
    settings = recipe(data, "run", steps=2, evaluate_every=1)
    assert run(settings) == 0
    path = settings.output / "scores.jsonl"
    scores = path.read_bytes()
    last = len(scores.splitlines()[-1]) + 1
    path.write_bytes(scores[: -min(lost, last)])
    assert run(settings) == 0
    assert path.read_bytes() == scores and scores.count(b"\n") == 2


def test_a_folder_of_another_run_is_refused(data, small_network):
    assert run(recipe(data, "run")) == 0
    assert run(recipe(data, "run", threads=2)) == 0
    with pytest.raises(ClearpaneError, match=r"another run \(seed: 0 there, 1 asked for\)"):
        run(recipe(data, "run", seed=1))


def test_training_learns_what_the_glass_did_to_pairs_not_trained_on(data, small_network):
    for truth in (data / "real_pairs" / "train").glob("*_transmission.jpg"):
        hazy = Image.open(truth).point(lambda value: 70 + 0.7 * value)
        hazy.save(truth.with_name(truth.name.replace("transmission", "input")))
    changes = {"steps": 100, "learning_rate": 5e-3, "folds": 5, "real_share": 0.9, "pixels_per_step": 2048}
    settings = recipe(data, "run", **changes)
    assert run(settings) == 0
    steps, (scores,) = (
        [json.loads(line) for line in (settings.output / name).read_text().splitlines()]
        for name in ("log.jsonl", "scores.jsonl")
    )
    assert [line["step"] for line in steps] == list(range(1, 101))
    losses = [line["loss"] for line in steps]
    assert np.mean(losses[-50:]) < np.mean(losses[:50])
    assert scores["step"] == 100 and scores["psnr"] > scores["nothing"] + 1
    assert {"psnr_g", "nothing_g"} <= scores.keys()
    card = (settings.output / "README.md").read_text()
    assert "| real pairs | 4 |" in card and "| photographs without glass | 15 |" in card
    assert "| real_share | 0.9 |" in card and str(data) not in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops": (100,)}, "`crops`"),
        ({"crops": ()}, "`crops`"),
        ({"real_share": 0.6, "clean_share": 0.5}, "shares"),
        ({"clean_share": -0.1}, "shares"),
        ({"distractors": 1.5}, "`distractors=1.5`"),
        ({"folds": 5, "fold": 5}, "`fold=5`"),
        ({"folds": 1}, "`folds=1`"),
        ({"fold": 2}, "`fold=2`"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_at_once(tmp_path, changes, message):
    with pytest.raises(ClearpaneError, match=message):
        run(recipe(tmp_path / "nowhere", "run", **changes))


def test_the_first_run_needs_the_features(data):
    with pytest.raises(ClearpaneError, match="`features`"):
        run(recipe(data, "run"))
    with pytest.raises(ClearpaneError, match=r"lite0\.pth: not the weights"):
        run(recipe(data, "run", features=data / "lite0.pth"))


def test_a_truth_of_another_size_is_named(data):
    path = data / "real_pairs" / "train" / "003_transmission.jpg"
    Image.new("RGB", (48, 64)).save(path)
    with pytest.raises(
        ClearpaneError, match=r"003_input\.jpg: its truth 003_transmission\.jpg has another size"
    ):
        load_pairs(path.parent)


def test_a_folder_without_pictures_is_one_clear_line(tmp_path, small_network):
    with pytest.raises(ClearpaneError, match=r"natural: no pictures"):
        run(TrainCompact(tmp_path, tmp_path / "run"))
    (tmp_path / "natural").mkdir()
    with pytest.raises(ClearpaneError, match="no pictures"):
        run(TrainCompact(tmp_path, tmp_path / "run"))


def test_an_interrupt_before_any_line_of_a_step_costs_nothing(data, small_network, interrupt_every_line):
    """Clean pictures, pairs, transfers, blends: each kind of crop is drawn in the interrupted step."""
    shares = {"real_share": 0.3, "transfer_share": 0.3, "clean_share": 0.2}
    settings = recipe(data, "run", steps=120, checkpoint_every=1000, **shares, pixels_per_step=8 * 32**2)
    lines = interrupt_every_line(compact, [compact, batches], lambda: run(settings))
    assert {file for file, _ in lines} == {"recipe.py", "batches.py"} and len(lines) > 30
