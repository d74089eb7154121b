"""What the benchmarks compute by themselves; what they measure is the package's own, tested elsewhere."""

import importlib
import math
import multiprocessing
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.layers import Layers
from clearpane.separation.panel import separator as flux_panel
from clearpane.training.flux.panel_batches import PanelPictures


def photo(height, width):
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def dim(image):
    """A separation that is the same at every place and size."""
    return Layers(image * 0.5, image * 0.25)


def test_tiles_are_put_together_without_a_seam():
    image = photo(150, 210)
    result = importlib.import_module("benchmarks.compact.variants").tiles(image, dim, tile=64, overlap=16)
    assert result.transmission == pytest.approx(dim(image).transmission, abs=1e-6)
    assert result.reflection == pytest.approx(dim(image).reflection, abs=1e-6)


def test_the_enlarged_residual_is_exact_for_a_constant_change():
    image = 0.25 + 0.5 * photo(64, 96)
    result = importlib.import_module("benchmarks.compact.variants").residual(
        image, lambda small: Layers(small + 0.1, small - 0.2), pixels=32 * 48
    )
    assert result.transmission == pytest.approx(image + 0.1, abs=1e-5)
    assert result.reflection == pytest.approx(image - 0.2, abs=1e-5)


def test_every_way_on_the_pairs_runs_the_network_at_the_size_it_says():
    image = photo(64, 96)
    for name, way in importlib.import_module("benchmarks.compact.resolution").ways().items():
        seen = []

        def separate(x, seen=seen):
            seen.append(x.shape[:2])
            return dim(x)

        assert way(image, separate).transmission.shape == image.shape
        divisor = 2 if "at 1/2 of" in name else 4 if "at 1/4 of" in name else 1
        assert seen == [(64 // divisor, 96 // divisor)], name


def test_peak_memory_is_the_child_s_own():
    measuring = importlib.import_module("benchmarks.common.measuring")
    held = np.ones(300 << 17)  # 300 MiB here must not count there
    small = measuring.measure([sys.executable, "-c", "print('done')"])
    large = measuring.measure([sys.executable, "-c", "x = b'x' * (200 << 20); print('done')"])
    assert held[0] == 1 and small.output == "done\n"
    assert small.peak_bytes < 100 << 20
    assert large.peak_bytes - small.peak_bytes == pytest.approx(200 << 20, rel=0.2)


def test_a_failing_child_is_an_error_with_its_last_line():
    from clearpane.errors import ClearpaneError

    with pytest.raises(ClearpaneError, match="ValueError: the reason"):
        importlib.import_module("benchmarks.common.measuring").measure(
            [sys.executable, "-c", "raise ValueError('the reason')"]
        )


def test_bars_are_as_long_as_the_gains():
    figures = importlib.import_module("benchmarks.compact.figures")
    rows = {"do nothing": {"psnr": 20.0, "psnr_g": 21.0}, "ours": {"psnr": 22.0, "psnr_g": 20.0}}
    root = ElementTree.fromstring(figures.draw_gains({"1": rows}, "ours"))
    up, down = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("width") == "12"]
    assert float(up.get("height")) == pytest.approx(2 * float(down.get("height")), rel=0.01)
    assert float(up.get("y")) + float(up.get("height")) == pytest.approx(float(down.get("y")), abs=0.11)


def test_dots_stand_at_the_gains():
    figures = importlib.import_module("benchmarks.compact.figures")

    def scores(gain):
        return {"1": {"psnr": 20 + gain, "nothing": 20.0}}

    gains = {"a": (0.2, -0.4), "b": (0.6, 0.0)}
    runs = [{"mix": mix, "train": scores(g), "val": scores(h)} for mix, (g, h) in gains.items()]
    root = ElementTree.fromstring(figures.draw_ablation(runs))
    dots = [float(c.get("cx")) for c in root.iter("{http://www.w3.org/2000/svg}circle") if c.get("r") == "4"]
    values = np.array([0.2, -0.4, 0.6, 0.0])
    slope, start = np.polyfit(values, dots, 1)
    assert slope > 0
    np.testing.assert_allclose(dots, start + slope * values, atol=0.2)


def test_ranks_of_equal_values_are_shared_and_order_is_all_that_counts():
    confidence = importlib.import_module("benchmarks.compact.confidence")
    assert confidence.ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]
    values = np.random.default_rng(0).random(50)
    assert confidence.rank_correlation(values, values**3) == pytest.approx(1)
    assert confidence.rank_correlation(values, -values) == pytest.approx(-1)
    assert confidence.rank_correlation(values, np.ones(50)) == 0
    rounded = np.random.default_rng(1).integers(0, 5, (2, 50)).astype(float)
    assert confidence.rank_correlation(*rounded) == pytest.approx(scipy.stats.spearmanr(*rounded).statistic)


def test_a_logistic_fit_finds_the_weights_that_drew_its_labels():
    confidence = importlib.import_module("benchmarks.compact.confidence")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100_000, 2)) * [1, 0.05]
    chance = 1 / (1 + np.exp(-(0.5 + features @ [1.0, -4.0])))
    fitted = confidence.fit_logistic(features, (rng.random(len(chance)) < chance).astype(float))
    assert fitted == pytest.approx([0.5, 1.0, -4.0], abs=0.4)


def test_a_calibrated_map_has_no_calibration_error():
    confidence = importlib.import_module("benchmarks.compact.confidence")
    rng = np.random.default_rng(0)
    believed = [rng.random(20_000) for _ in range(3)]
    errors = [np.where(rng.random(20_000) < c, 0.05, 0.2) for c in believed]
    facts = confidence.describe(believed, errors)
    assert facts["calibration_error"] < 0.01 and facts["pooled"] > 0.4
    assert sum(b["share"] for b in facts["bins"]) == pytest.approx(1)


def test_edits_change_what_they_say():
    edits = importlib.import_module("benchmarks.flux.edits").EDITS
    clean = torch.rand((3, 40, 40), generator=torch.Generator().manual_seed(0))
    made = {name: edit.make(clean, torch.Generator().manual_seed(1)) for name, edit in edits.items()}
    for name, (given, wanted) in made.items():
        assert given.shape == wanted.shape == clean.shape, name
        assert torch.equal(given if name == "darken" else wanted, clean), name
        assert (given - wanted).abs().mean() > 0.01, name
    assert torch.equal(*made["colourise"][0][:2])
    hole = (made["fill"][0] == 1).all(dim=0)
    assert 0.04 * 1600 <= hole.sum() <= 0.25 * 1600
    assert torch.equal(made["fill"][0][:, ~hole], clean[:, ~hole])
    assert (made["darken"][1] < clean).all()
    assert len({edit.sentence for edit in edits.values()}) == len(edits)


def test_an_editor_s_scores_are_those_of_its_pictures(monkeypatch):
    """An editor that gives back what it is given scores as doing nothing."""
    module = importlib.import_module("benchmarks.flux.edit_scores")

    class Identity:
        def encode(self, pictures):
            return pictures

        decode = encode

    monkeypatch.setattr(module, "sample", lambda backbone, reference, task, sampling: reference)
    pictures = [torch.randint(256, (3, 80, 90), dtype=torch.uint8) for _ in range(3)]
    edited = module.score_edits(Identity(), lambda sentence: None, pictures)
    others = module.score_others(Identity(), lambda sentence: None, pictures)
    assert list(edited) == list(others) == list(importlib.import_module("benchmarks.flux.edits").EDITS)
    for name, row in others.items():
        assert edited[name] == row["other_sentence"] == row["nothing"]
        assert row["vae"] == 100


def test_mixed_crops_take_each_channel_from_some_crop_and_the_others_stay():
    module = importlib.import_module("benchmarks.flux.kontext_small")
    crops = torch.rand(8, 3, 4, 5)
    mixed = module.mix_channels(crops, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(mixed[4:], crops[4:])
    for crop in mixed[:4]:
        for channel in range(3):
            assert any(torch.equal(crop[channel], other[channel]) for other in crops)
    assert not any(torch.equal(crop, other) for crop in mixed[:4] for other in crops)


def test_opponent_colours_are_an_orthonormal_basis():
    opponent = importlib.import_module("benchmarks.flux.vae_contexts")._OPPONENT
    torch.testing.assert_close(opponent @ opponent.T, torch.eye(3))


def test_a_vae_that_sees_each_pixel_alone_has_nothing_to_learn_of_contexts():
    module = importlib.import_module("benchmarks.flux.vae_contexts")

    class Pixels(torch.nn.Module):
        """Latents are the picture itself, four pixels to one."""

        def encode(self, pictures):
            latents = torch.nn.functional.pixel_unshuffle(pictures, 2)
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))

        def decode(self, latents):
            return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(latents, 2))

    class Means(Pixels):
        """Latents less the mean of the whole picture, as a norm would have them."""

        def encode(self, pictures):
            return super().encode(pictures - pictures.mean(dim=(-2, -1), keepdim=True))

    photos, others = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert set(module.context_errors(Pixels(), photos, others).values()) == {0.0}
    assert module.context_errors(Means(), photos, others)["beside white"] > 0.5
    crops, generators = torch.rand(18, 3, 8, 8), [torch.Generator().manual_seed(1) for _ in range(3)]
    alone = module.context_loss(Pixels(), Pixels(), crops, generators[0])
    assert alone < module.context_loss(Means(), Pixels(), crops, generators[1])
    left, middle, right = module.draw_neighbours(crops, generators[2])
    assert torch.equal(left, crops[:6]) and middle.shape == right.shape == left.shape
    assert middle.min() >= 0 and middle.max() <= 1


def test_the_small_base_comes_back_but_for_its_rounding(tmp_path):
    module = importlib.import_module("benchmarks.flux.small_base")
    torch.manual_seed(0)
    pipeline = module.new_pipeline(module.SmallKontext(), module.SENTENCES)
    pipeline.vae.register_to_config(shift_factor=0.25, scaling_factor=0.5)
    module.save_weights(pipeline, tmp_path / "base.safetensors")
    again = module.load_pipeline(tmp_path / "base.safetensors")
    assert again.vae.config.shift_factor == 0.25 and again.vae.config.scaling_factor == 0.5
    for part, other in zip(*(module.weighted_parts(p).values() for p in (pipeline, again)), strict=True):
        for name, value in part.state_dict().items():
            step = value.abs().max() / 127 if value.ndim > 1 else 1e-3
            assert (other.state_dict()[name] - value).abs().max() <= 0.51 * step, name
    stored = sum(f.stat().st_size for f in tmp_path.iterdir())
    assert stored < 1.2 * sum(
        p.numel() for part in module.weighted_parts(pipeline).values() for p in part.parameters()
    )


def test_what_is_not_the_small_base_is_refused(tmp_path):
    module = importlib.import_module("benchmarks.flux.small_base")
    (tmp_path / "a.safetensors").write_bytes(b"12345678")
    with pytest.raises(ClearpaneError, match="not the weights of kontext-small"):
        module.load_pipeline(tmp_path / "a.safetensors")


class Exact:
    """A backbone whose VAE loses nothing."""

    device, multiple = torch.device("cpu"), 8

    def __init__(self):
        self.vae = torch.nn.Linear(1, 1)
        self.vae.dtype = torch.float32

    def encode(self, pictures):
        return pictures

    decode = encode


def paint(backbone, reference, task, sampling, **others):
    """A panel that shows the photograph as T and black as R."""
    photo = reference[..., : reference.shape[-1] // 3]
    return torch.cat([photo, photo, torch.zeros_like(photo)], dim=-1)


def test_a_panel_that_paints_the_photograph_keeps_all_of_it(monkeypatch):
    scores, cells = (
        importlib.import_module(name)
        for name in ("benchmarks.flux.panel_scores", "benchmarks.flux.panel_cells")
    )
    monkeypatch.setattr(scores, "sample", paint)
    monkeypatch.setattr(flux_panel, "sample", paint)
    task = TaskEmbedding(torch.zeros(1, 1, 1), torch.zeros(1, 1))
    generator = torch.Generator().manual_seed(0)
    pictures = [
        PanelPictures(
            *(torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator) for _ in range(3))
        )
        for size in [(72, 96), (72, 96), (96, 96)]
    ]
    assert [len(batch) for batch in scores.batches(pictures, cells.USUAL)] == [2, 1]
    seen = scores.score_pictures(Exact(), task, cells.USUAL, pictures)
    assert seen["t"] == seen["nothing"]
    assert scores.score_ceiling(Exact(), cells.USUAL, pictures[0]) == {"t": [100], "r": [100]}
    assert scores.score_as_shown(Exact(), task, cells.USUAL, pictures[0])["t"] == [seen["nothing"][0]]
    full = scores.score_full_size(Exact(), task, cells.USUAL, pictures)
    assert full["t"] == full["nothing"]
    rows = scores.score_kept(Exact(), task, cells.USUAL, pictures)
    for name in scores.LIMITS:
        if not name.startswith("local"):
            assert rows[name] == {"psnr": [100] * 3, "own": [100] * 3, "gain": [0] * 3}
    assert max(rows["T as the VAE shows it, enlarged"]["psnr"]) < 30


def test_the_mean_over_seeds_of_a_panel_is_scored(monkeypatch):
    scores, cells = (
        importlib.import_module(name)
        for name in ("benchmarks.flux.panel_scores", "benchmarks.flux.panel_cells")
    )
    task = TaskEmbedding(torch.zeros(1, 1, 1), torch.zeros(1, 1))
    layer = torch.full((3, 64, 64), 102, dtype=torch.uint8)
    pictures = [PanelPictures(layer, layer, layer)]

    def paint_seed(backbone, reference, task, sampling, **others):
        assert sampling.steps == 3
        return torch.full_like(reference, 0.8 * sampling.seed)

    monkeypatch.setattr(scores, "sample", paint_seed)
    one, two = (scores.score_pictures(Exact(), task, cells.USUAL, pictures, steps=3, seeds=n) for n in (1, 2))
    assert one["t"] == one["r"] == pytest.approx([-20 * np.log10(0.4)])
    assert two["t"] == two["r"] == [100]


def test_a_run_of_the_panel_belongs_to_its_base_its_cell_and_its_seed(tmp_path):
    cells = importlib.import_module("benchmarks.flux.panel_cells")
    (tmp_path / "vae").mkdir()
    weights = tmp_path / "vae" / "model.safetensors"
    weights.write_bytes(b"one")
    before = cells.base_digest(tmp_path)
    weights.write_bytes(b"two")
    after = cells.base_digest(tmp_path)
    every = {cell for table in cells.CELLS.values() for cell in table.values()}
    keys = {cells.run_key(c, seed, base) for c in every for seed in (0, 1) for base in (before, after)}
    assert len(keys) == 4 * len(every)
    assert all(cells.BASELINES[q] in table for q, table in cells.CELLS.items() if q != "overfit")


def test_tables_of_the_panel_compare_runs_of_the_same_seed():
    cells, tables = (
        importlib.import_module(name)
        for name in ("benchmarks.flux.panel_cells", "benchmarks.flux.panel_tables")
    )

    def run(gain):
        scores = {"t": [20.0 + gain] * 4, "t_g": [21.0 + gain] * 4, "nothing": [20.0] * 4}
        subset = {**scores, "nothing_g": [21.0] * 4, "r": [15.0] * 4}
        return {"seconds": 60.0, "scenes": subset, "val": subset, "edits": {"denoise": 25.0}}

    document = {"base": "b", "seeds": 2, "edits": {"nothing": {"denoise": 18.0}, "base": {"denoise": 26.0}}}
    machine = importlib.import_module("benchmarks.common.measuring").describe_machine()
    full = cells.CELLS["full"]
    document |= {"machine": machine, "runs": {}}
    for name, seed, gain in (("LoRA", 0, 1.0), ("LoRA", 1, 9.0), ("the whole transformer", 0, 3.0)):
        document["runs"][cells.run_key(full[name], seed, "b")] = run(gain)
    runs = {name: tables.finished(document, cell) for name, cell in full.items()}
    text = tables.render_differences(runs, "LoRA", tables.SEEN)
    assert "| the whole transformer, against LoRA | 1 | +2.00 [+2.00, +2.00] |" in text
    assert "+5.00 [+5.00, +5.00] (± 5.66)" in tables.render_cells(runs, tables.SEEN)
    assert "| do nothing | 18.00 |" in tables.render_edits(runs, document)


def test_the_account_of_memory_holds_for_a_small_transformer(monkeypatch):
    module = importlib.import_module("benchmarks.flux.flux_cost")
    monkeypatch.setattr(module, "SMALL", ((4, 1, 2, 600),))
    (row,) = module.measure_peaks()
    assert 0.8 * module.PREDICTION < row["prediction"] < module.PREDICTION
    assert 0.8 * module.TRAINING < row["training"] < module.TRAINING


def test_peak_memory_of_tensors_counts_what_is_alive_and_no_weights():
    module = importlib.import_module("benchmarks.common.peak_memory")
    layer = torch.nn.Linear(1000, 10)
    with torch.no_grad(), module.PeakMemory(layer) as memory:
        first = torch.zeros(2000)
        second = first + 1
        del first
        third = second.reshape(2, 1000) * 2
        layer(third)
    assert 2 * 8000 <= memory.peak <= 2 * 8000 + 200


def test_candidates_cost_a_step_a_decoding_and_a_depth_each():
    total = importlib.import_module("benchmarks.flux.gensirr_cost").total
    parts = {"step": 10.0, "encoding": 1.0, "decoding": 2.0, "depth": 3.0}
    assert total(parts, 28, 1) == 1 + 280 + 2
    assert total(parts, 28, 4) == 1 + 280 + 2 + 3 * 10 + 4 * (2 + 3)


def test_an_equivariant_vae_has_no_error_and_its_mixed_latents_show_the_mixture():
    module = importlib.import_module("benchmarks.flux.equivariance")

    class Identity:
        """Latents that are the pictures in [-1, 1]."""

        def encode(self, pictures):
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pictures))

        def decode(self, latents):
            return SimpleNamespace(sample=latents)

    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, 3, 8, 8, generator=generator)
    scores = module.score(Identity(), (first, second, torch.tensor([0.2, 0.5, 0.9])))
    assert max(scores["srgb error"]) < 1e-10
    assert min(scores["linear error"]) > 1e-3
    assert min(scores["srgb from latents"]) > 99 > 40 > max(scores["linear from latents"])
    assert min(scores["clean"] + scores["linear mixed"]) > 99


def test_runs_are_given_as_they_end_and_known_ones_hold_for_their_base_alone(tmp_path, capsys):
    module = importlib.import_module("benchmarks.common.runs")
    assert dict(module.finish_runs(math.sqrt, {"a": (4,), "b": (9,)}, 2)) == {"a": 2, "b": 3}
    numbers = tmp_path / "runs.json"
    assert module.known_runs(numbers, "one") == {"base": "one", "runs": {}}
    numbers.write_text('{"base": "one", "runs": {"a": 1}}')
    assert module.known_runs(numbers, "one")["runs"] == {"a": 1}
    assert module.known_runs(numbers, "two") == {"base": "two", "runs": {}}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interruption_ends_the_runs_that_wait_too(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    work = importlib.import_module("interruptible_run").save_when_asked
    jobs = {name: (tmp_path, name, 0.05 if name == "a" else 600) for name in "abcdefgh"}
    runs = importlib.import_module("benchmarks.common.runs").finish_runs(work, jobs, 1)
    assert next(runs) == ("a", None)
    while not (tmp_path / "b began").exists():
        time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        runs.throw(KeyboardInterrupt())
    assert (tmp_path / "b saved").exists() and not (tmp_path / "h began").exists()
    assert not multiprocessing.active_children()


def test_a_script_s_end_is_its_tables_one_line_or_an_interruption(monkeypatch, capsys):
    module = importlib.import_module("benchmarks.common.runs")
    monkeypatch.setattr(module.signal, "signal", lambda *arguments: None)

    def fail(error):
        raise error

    assert module.finish(lambda: "| table |") == 0
    assert capsys.readouterr().out == "| table |\n"
    assert module.finish(lambda: fail(ClearpaneError("no such file"))) == 1
    assert capsys.readouterr().err == "error: no such file\n"
    assert module.finish(lambda: fail(KeyboardInterrupt())) == 130


def test_ways_to_relight_are_compared_on_white_and_cost_what_the_first_does():
    module = importlib.import_module("benchmarks.reconstruction.relighting")
    truth = np.zeros((4, 4, 4))
    truth[1:3, 1:3] = [0.5, 0.5, 0.5, 1]
    darker = truth * [0.5, 0.5, 0.5, 1]
    assert module.picture_scores(truth, truth) == (100, 100)
    whole, inside = module.picture_scores(darker, truth)
    assert whole - inside == pytest.approx(10 * math.log10(4))  # a quarter of the pixels is the object
    plain, few, denoised, preview = module.ways(128).values()
    assert (plain.samples, few.samples, denoised.samples) == (128, 32, 32)
    assert denoised.denoise and preview.preview and not few.denoise
    rows = {"a": {"psnr": 30, "object": 20, "seconds": 4}, "b": {"psnr": 28, "object": 19, "seconds": 1}}
    document = {"light": "studio", "views": 2, "side": 8, "truth": 64, "materials": {"metal": rows}}
    document["machine"] = importlib.import_module("benchmarks.common.measuring").describe_machine()
    assert "| b | 28.00 | 19.00 | 0.25 |" in module.render(document)
