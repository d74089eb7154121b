"""What GenSIRR's claims are measured by at small scale (benchmarks/flux/gensirr.py)."""

import importlib
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.flux.branch_scorers import score_by_chance, score_by_truth
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.gensirr.branching import sample_branches
from clearpane.separation.gensirr.scorers import edge_energy, score_by_depth, score_by_depth_and_edges


@pytest.fixture
def backbone(base):
    return load_backbone(base, Loading("float32", "cpu"))


@pytest.fixture
def task(base) -> TaskEmbedding:
    return encode_text(base, "please remove the reflection.").to("cpu", torch.float32)


def test_all_candidates_are_those_that_branching_chooses_from(backbone, task):
    module = importlib.import_module("benchmarks.flux.gensirr_branches")
    photo = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(0))
    promised, made = module.sample_all(backbone, photo, task, Sampling(3, seed=5), 3)
    for wanted in range(3):
        latents, branches = sample_branches(
            backbone,
            backbone.encode(photo[None]),
            task,
            Sampling(3, seed=5),
            3,
            lambda pictures, wanted=wanted: -(torch.arange(len(pictures)) - wanted).abs().float(),
        )
        torch.testing.assert_close(branches.pictures, promised, atol=1e-5, rtol=0)
        shown = backbone.decode(latents).clamp(0, 1)[0]
        torch.testing.assert_close(shown, made[wanted], atol=1e-5, rtol=0)


def some_branches(module) -> dict:
    """Two photographs of four candidates."""
    finals = [[20.0, 21.0, 22.0, 25.0], [30.0, 28.0, 20.0, 10.0]]
    values = [[0.0, 1.0, 0.5, 2.0], [0.0, 1.0, 0.5, 0.2]]
    return {
        "finals": dict.fromkeys(module.METRICS, finals),
        "values": {name: values for names in module.SCORERS.values() for name in names},
        "farther": [True, False],
    }


def test_picks_are_of_the_first_candidates_and_fail_below_their_mean():
    module = importlib.import_module("benchmarks.flux.gensirr_branches")
    branches = some_branches(module)
    assert module.picked(branches, "depth", 1).tolist() == [20, 30]
    assert module.picked(branches, "depth", 2).tolist() == [21, 28]
    assert module.picked(branches, "depth", 4, "ssim").tolist() == [25, 28]
    assert module.over_candidates(branches, 2, np.mean).tolist() == [20.5, 29]
    assert module.failures(branches, "depth", 2).tolist() == [False, True]
    assert module.failures(branches, "depth", 4).tolist() == [False, False]
    # Ranks 0 2 1 3 against 0 1 2 3, and 0 3 2 1 against 3 2 1 0.
    assert module.correlations(branches, "depth").tolist() == pytest.approx([0.8, -0.2])


class Nearness:
    """An estimator to which bright pictures are near."""

    def mean_nearness(self, pictures):
        return pictures.mean(dim=(1, 2, 3))


def test_picks_are_those_of_the_scorers_that_ship(backbone, task, monkeypatch):
    module = importlib.import_module("benchmarks.flux.gensirr_branches")
    monkeypatch.setattr(module, "CANDIDATES", (1, 3, 5))
    random = torch.Generator().manual_seed(0)
    photos, truths = (torch.rand((2, 3, 32, 32), generator=random) for _ in range(2))
    shipped = {
        "depth": score_by_depth(Nearness()),
        "depth and edges": score_by_depth_and_edges(Nearness()),
        "residual reflection": lambda x: -x.std(dim=(1, 2, 3)),
    }
    given = {**shipped, "edges": lambda x: -edge_energy(x)}
    subset = module.Subset(photos, truths, np.array([True, False]))
    scored = module.score_branches(backbone, task, Sampling(2), subset, given)
    again = json.loads(json.dumps(scored))
    assert again["farther"] == [True, False]
    for index, (photo, truth) in enumerate(zip(photos, truths, strict=True)):
        promised, made = module.sample_all(backbone, photo, task, Sampling(2, seed=5 * index), 5)
        scorers = {**shipped, "the truth": score_by_truth(truth[None]), "chance": score_by_chance(index)}
        for name, scorer in scorers.items():
            for count in (1, 3, 5):
                best = int(scorer(promised[:count]).argmax())
                own = module.quality(made[best : best + 1], truth[None])
                for metric in module.METRICS:
                    assert module.picked(again, name, count, metric)[index] == own[metric][0]


def test_all_tables_are_drawn_of_every_run():
    module, cells = (
        importlib.import_module("benchmarks.flux.gensirr_tables"),
        importlib.import_module("benchmarks.flux.gensirr_cells"),
    )
    branches = some_branches(importlib.import_module("benchmarks.flux.gensirr_branches"))
    for key in ("finals", "values"):
        branches[key] = {name: [row * 4 for row in rows] for name, rows in branches[key].items()}
    one = {metric: [20.0, 22.0] for metric in ("psnr", "psnr_g", "ssim")}
    scored = dict.fromkeys(module.SUBSETS, one) | {"full size": {"val": one, "scenes": one}}
    document = {
        "base": "b",
        "vaes": {cell.vae: {"0": "v", "1": "w"} for table in cells.CELLS.values() for cell in table.values()},
        "others": {"nothing": scored, "compact": scored},
        "times": {
            "flow matching": {"8": 0.4, "1": 0.1},
            "one step, by regression": {"1": 0.1},
        },
        "machine": importlib.import_module("benchmarks.common.measuring").describe_machine(),
        "runs": {},
    }
    for table in cells.CELLS.values():
        for cell in table.values():
            for seed, vae in ((0, "v"), (1, "w")):
                run = {**scored, "seconds": 60.0}
                if cell == cells.USUAL:
                    run["steps"] = {"8": scored, "1": scored}
                    run["branches"] = dict.fromkeys(module.SUBSETS, branches) | {"depth": "d"}
                document["runs"][cells.run_key(cell, seed, "b", vae)] = run
    text = module.render(json.loads(json.dumps(document)))
    for pairs in cells.CONTRASTS.values():
        for first, second in pairs:
            assert f"| {first}, against {second} | 2 | +0.00" in text
    # Of one candidate 20 and 30; of four 25 and 28 are picked, whose mean is 22 each and the best 25 and 30.
    assert "| depth | 25.00 ± 0.00 | 26.50 ± 0.00 |" in text
    assert "+4.50" in text and "+1.00" in text and "| depth and edges |" in text
    assert "| 1, by regression | 100 | 0.25 |" in text
    draw_curve = importlib.import_module("benchmarks.flux.gensirr_curve").draw_curve
    root = ElementTree.fromstring(draw_curve(document))
    space = "{http://www.w3.org/2000/svg}"
    # A line of two dots for each subset, and a square for what takes one step beside the key's.
    assert [len(root.findall(f"{space}{tag}")) for tag in ("polyline", "circle", "rect")] == [3, 6, 7]
    assert draw_curve({**document, "runs": {}}) == ""


def test_runs_are_told_apart_by_cell_seed_base_and_vae():
    cells = importlib.import_module("benchmarks.flux.gensirr_cells")
    every = {cell for table in cells.CELLS.values() for cell in table.values()}
    keys = {
        cells.run_key(cell, seed, base, vae)
        for cell in every
        for seed in (0, 1)
        for base in "ab"
        for vae in "cd"
    }
    assert len(keys) == 8 * len(every)
    for question, table in cells.CELLS.items():
        assert {name for pair in cells.CONTRASTS[question] for name in pair} <= set(table)


def test_rooms_lie_no_farther_than_their_floor_and_much_of_it_is_seen(tmp_path):
    """The floor's distance is known from the camera alone."""
    rooms = importlib.import_module("benchmarks.flux.depth_rooms")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    for index in range(3):
        picture, depth = rooms.render_room(4, [tmp_path / "a.png"], [tmp_path / "a.png"], index)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8 and picture.std() > 5
        camera = rooms.draw_camera(np.random.default_rng([4, index]))
        right = np.cross(camera.ahead, [0, 1, 0])
        right /= np.linalg.norm(right)
        up = np.cross(right, camera.ahead)
        half = np.tan(np.radians(camera.field_of_view) / 2)
        across = (np.arange(64) + 0.5) / 32 - 1
        rays = camera.ahead + half * (across[None, :, None] * right - across[:, None, None] * up)
        with np.errstate(divide="ignore"):
            floor = np.where(rays[..., 1] < 0, -camera.eye[1] / rays[..., 1], np.inf)
        # A ray's length along the axis is its parameter; a pixel's one ray is anywhere in it.
        seen = floor < 5
        assert (depth[seen] < 1.1 * floor[seen]).all()
        assert (np.abs(depth[seen] / floor[seen] - 1) < 0.1).mean() > 0.2


def test_blended_rooms_know_which_scene_is_farther():
    module = importlib.import_module("benchmarks.flux.gensirr")
    pictures = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    depth = torch.tensor([2.0, 5.0, 3.0, 4.0])[:, None, None].expand(-1, 8, 8)
    blends = module.blend_rooms({"pictures": pictures, "depth": depth}, 2)
    assert blends.farther.tolist() == [True, False]
    torch.testing.assert_close(blends.truths, pictures[:2] / 255, atol=1e-5, rtol=0)
    lower, upper = (torch.stack([pictures[:2], pictures[2:]]) / 255 for _ in range(2))
    assert (blends.photos >= lower.amin(dim=0) - 1e-5).all() and (
        blends.photos <= upper.amax(dim=0) + 1e-5
    ).all()
    assert (blends.photos - blends.truths).abs().mean() > 0.02


def test_the_depth_loss_does_not_mind_half_of_a_wrong_scale():
    module = importlib.import_module("benchmarks.flux.small_depth")
    depth = 1 + torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(0))
    assert module.depth_loss(depth, depth) == 0
    scale = np.log(2.0) ** 2
    assert module.depth_loss(2 * depth, depth).item() == pytest.approx(0.5 * scale, rel=1e-4)


def test_the_small_estimator_trains_and_goes_on(tmp_path, monkeypatch):
    module = importlib.import_module("benchmarks.flux.small_depth")
    random = torch.Generator().manual_seed(0)
    rooms = {
        "pictures": torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8, generator=random),
        "depth": 1 + 3 * torch.rand((4, 64, 64), generator=random),
    }
    options = module.Options(tmp_path, steps=2, batch=2, cache=tmp_path)
    torch.manual_seed(0)
    model = module.new_estimator()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module.train(options, model, rooms)
    after = model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert not model.training
    assert module.predict(model, rooms["pictures"]).shape == (4, 64, 64)


def test_scores_of_depth_count_pairs_that_are_ordered():
    module = importlib.import_module("benchmarks.flux.small_depth")
    depth = torch.tensor([1.0, 2.0, 4.0])[:, None, None].expand(-1, 4, 4)
    exact = module.score(depth, depth)
    assert exact == {"relative": 0, "rmse": 0, "within": 1, "ordered": 1}
    assert module.score(torch.full_like(depth, 2.0), depth)["ordered"] == 0.5
    swapped = module.score(depth[[1, 0, 2]], depth)
    assert swapped["ordered"] == pytest.approx(2 / 3)
