"""Loss, training and scores of the small depth estimator."""

import numpy as np
import pytest
import torch

from benchmarks.flux import small_depth


def test_the_depth_loss_does_not_mind_half_of_a_wrong_scale():
    depth = 1 + torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(0))
    assert small_depth.depth_loss(depth, depth) == 0
    scale = np.log(2.0) ** 2
    assert small_depth.depth_loss(2 * depth, depth).item() == pytest.approx(0.5 * scale, rel=1e-4)


def test_the_small_estimator_trains_and_goes_on(tmp_path, monkeypatch):
    random = torch.Generator().manual_seed(0)
    rooms = {
        "pictures": torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8, generator=random),
        "depth": 1 + 3 * torch.rand((4, 64, 64), generator=random),
    }
    options = small_depth.Options(tmp_path, steps=2, batch=2, cache=tmp_path)
    torch.manual_seed(0)
    model = small_depth.new_estimator()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small_depth.train(options, model, rooms)
    after = model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert not model.training
    assert small_depth.predict(model, rooms["pictures"]).shape == (4, 64, 64)


def test_scores_of_depth_count_pairs_that_are_ordered():
    depth = torch.tensor([1.0, 2.0, 4.0])[:, None, None].expand(-1, 4, 4)
    exact = small_depth.score(depth, depth)
    assert exact == {"relative": 0, "rmse": 0, "within": 1, "ordered": 1}
    assert small_depth.score(torch.full_like(depth, 2.0), depth)["ordered"] == 0.5
    swapped = small_depth.score(depth[[1, 0, 2]], depth)
    assert swapped["ordered"] == pytest.approx(2 / 3)
