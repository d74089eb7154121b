"""Candidates of a branching, and which of them a scorer picks."""

import json

import numpy as np
import pytest
import torch

from benchmarks.flux import gensirr_branches
from benchmarks.flux.branch_scorers import score_by_chance, score_by_truth
from clearpane.separation.flux.sampling import Sampling
from clearpane.separation.gensirr.branching import sample_branches
from clearpane.separation.gensirr.scorers import edge_energy, score_by_depth, score_by_depth_and_edges


def test_all_candidates_are_those_that_branching_chooses_from(backbone, task):
    photo = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(0))
    promised, made = gensirr_branches.sample_all(backbone, photo, task, Sampling(3, seed=5), 3)
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


def some_branches() -> dict:
    """Two photographs of four candidates."""
    finals = [[20.0, 21.0, 22.0, 25.0], [30.0, 28.0, 20.0, 10.0]]
    values = [[0.0, 1.0, 0.5, 2.0], [0.0, 1.0, 0.5, 0.2]]
    return {
        "finals": dict.fromkeys(gensirr_branches.METRICS, finals),
        "values": {name: values for names in gensirr_branches.SCORERS.values() for name in names},
        "farther": [True, False],
    }


def test_picks_are_of_the_first_candidates_and_fail_below_their_mean():
    branches = some_branches()
    assert gensirr_branches.picked(branches, "depth", 1).tolist() == [20, 30]
    assert gensirr_branches.picked(branches, "depth", 2).tolist() == [21, 28]
    assert gensirr_branches.picked(branches, "depth", 4, "ssim").tolist() == [25, 28]
    assert gensirr_branches.over_candidates(branches, 2, np.mean).tolist() == [20.5, 29]
    assert gensirr_branches.failures(branches, "depth", 2).tolist() == [False, True]
    assert gensirr_branches.failures(branches, "depth", 4).tolist() == [False, False]
    # Ranks 0 2 1 3 against 0 1 2 3, and 0 3 2 1 against 3 2 1 0.
    assert gensirr_branches.correlations(branches, "depth").tolist() == pytest.approx([0.8, -0.2])


class Nearness:
    """An estimator to which bright pictures are near."""

    def mean_nearness(self, pictures):
        return pictures.mean(dim=(1, 2, 3))


def test_picks_are_those_of_the_scorers_that_ship(backbone, task, monkeypatch):
    monkeypatch.setattr(gensirr_branches, "CANDIDATES", (1, 3, 5))
    random = torch.Generator().manual_seed(0)
    photos, truths = (torch.rand((2, 3, 32, 32), generator=random) for _ in range(2))
    shipped = {
        "depth": score_by_depth(Nearness()),
        "depth and edges": score_by_depth_and_edges(Nearness()),
        "residual reflection": lambda x: -x.std(dim=(1, 2, 3)),
    }
    given = {**shipped, "edges": lambda x: -edge_energy(x)}
    subset = gensirr_branches.Subset(photos, truths, np.array([True, False]))
    scored = gensirr_branches.score_branches(backbone, task, Sampling(2), subset, given)
    again = json.loads(json.dumps(scored))
    assert again["farther"] == [True, False]
    for index, (photo, truth) in enumerate(zip(photos, truths, strict=True)):
        promised, made = gensirr_branches.sample_all(backbone, photo, task, Sampling(2, seed=5 * index), 5)
        scorers = {**shipped, "the truth": score_by_truth(truth[None]), "chance": score_by_chance(index)}
        for name, scorer in scorers.items():
            for count in (1, 3, 5):
                best = int(scorer(promised[:count]).argmax())
                own = gensirr_branches.quality(made[best : best + 1], truth[None])
                for metric in gensirr_branches.METRICS:
                    assert gensirr_branches.picked(again, name, count, metric)[index] == own[metric][0]
