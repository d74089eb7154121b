import pytest
import torch

from clearpane.separation.flux.sampling import Sampling, sample
from clearpane.separation.gensirr.branching import sample_branches


@pytest.fixture
def reference(backbone):
    photo = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return backbone.encode(photo)


def prefer(index):
    return lambda pictures: torch.eye(len(pictures))[index]


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("chosen", [0, 2])
def test_the_chosen_candidate_is_sampled_as_its_seed_alone_would_be(backbone, task, reference, steps, chosen):
    latents, branches = sample_branches(backbone, reference, task, Sampling(steps, seed=7), 3, prefer(chosen))
    alone = sample(backbone, reference, task, Sampling(steps, seed=7 + chosen))
    assert branches.chosen == chosen
    torch.testing.assert_close(latents, alone, atol=1e-5, rtol=1e-5)


def test_one_candidate_is_plain_sampling(backbone, task, reference):
    latents, branches = sample_branches(backbone, reference, task, Sampling(3), 1, prefer(0))
    torch.testing.assert_close(latents, sample(backbone, reference, task, Sampling(3)), atol=1e-6, rtol=0)
    assert len(branches.pictures) == 1


def test_no_step_is_computed_twice_and_the_first_ones_are_one_batch(backbone, task, reference, monkeypatch):
    batches = []
    predict = type(backbone).velocity

    def counted(self, noisy, *rest):
        batches.append(len(noisy))
        return predict(self, noisy, *rest)

    monkeypatch.setattr(type(backbone), "velocity", counted)
    done = []
    sample_branches(backbone, reference, task, Sampling(5), 4, prefer(1), lambda: done.append(1))
    assert batches == [4, 1, 1, 1, 1]
    assert len(done) == 5


def test_the_promised_picture_of_the_only_step_is_the_result(backbone, task, reference):
    latents, branches = sample_branches(backbone, reference, task, Sampling(1), 3, prefer(2))
    with torch.no_grad():
        shown = backbone.decode(latents).clamp(0, 1)
    torch.testing.assert_close(branches.pictures[2:], shown, atol=1e-5, rtol=0)


def test_the_best_score_is_chosen_and_of_equal_ones_the_first(backbone, task, reference):
    def same(pictures):
        return torch.zeros(len(pictures))

    for scorer, wanted in ((lambda x: torch.tensor([0.1, 0.9, 0.3]), 1), (same, 0)):
        _, branches = sample_branches(backbone, reference, task, Sampling(2), 3, scorer)
        assert branches.chosen == wanted
        torch.testing.assert_close(branches.scores, scorer(branches.pictures))


def test_fixed_seeds_give_fixed_choices(backbone, task, reference):
    runs = [
        sample_branches(backbone, reference, task, Sampling(2), 4, lambda x: x.mean(dim=(1, 2, 3)))
        for _ in range(2)
    ]
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1].chosen == runs[1][1].chosen
    assert torch.equal(runs[0][1].scores, runs[1][1].scores)
    assert not torch.equal(runs[0][1].pictures[0], runs[0][1].pictures[1])
