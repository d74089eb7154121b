"""What limits the separator: the line of a picture, the head that predicts it, the table."""

import numpy as np
import torch

from benchmarks.compact import headroom
from benchmarks.compact.headroom import apply_line, choose_head, fit_head, line_of, pooled_features
from clearpane.evaluation.metrics import with_gain_and_offset
from clearpane.training.compact.recipe import new_network


def test_the_line_of_a_pair_is_the_best_one_there_is():
    random = np.random.default_rng(0)
    photo = random.uniform(0.2, 0.6, (8, 9, 3))
    truth = np.clip(photo * [0.8, 1.1, 1.0] + [0.1, -0.05, 0.0] + random.normal(0, 0.02, photo.shape), 0, 1)
    np.testing.assert_allclose(
        apply_line(photo, line_of(photo, truth)), with_gain_and_offset(photo, truth), atol=1e-5
    )
    np.testing.assert_allclose(line_of(photo, photo), 0, atol=1e-5)


def test_an_error_in_any_number_of_a_line_is_an_error_of_the_picture_of_that_size():
    photo = np.random.default_rng(1).uniform(0.3, 0.7, (16, 16, 3))
    for index in range(6):
        line = np.zeros(6)
        line[index] = 0.01
        error = apply_line(photo, line) - photo
        np.testing.assert_allclose(np.sqrt(np.square(error[..., index % 3]).mean()), 0.01, rtol=1e-3)


def test_the_head_finds_a_linear_law_and_weighs_the_penalty_by_scenes_left_out():
    random = np.random.default_rng(2)
    features, law = random.normal(3, 2, (200, 5)), random.normal(0, 1, (5, 6))
    wanted = features @ law + 0.5
    head, penalty = choose_head(features, wanted, np.arange(200) // 4)
    np.testing.assert_allclose(head(features), wanted, atol=0.2)
    assert penalty == 1.0
    noise = random.normal(0, 1, wanted.shape)
    _, penalty = choose_head(features, noise, np.arange(200) // 4)
    assert penalty > 1.0
    flat = fit_head(features, noise, 1e12)
    np.testing.assert_allclose(flat(features), np.broadcast_to(noise.mean(axis=0), noise.shape), atol=1e-6)


def test_a_network_that_changes_nothing_scores_as_its_input_and_the_table_says_so():
    torch.manual_seed(0)
    network = new_network().eval()
    generator = torch.Generator().manual_seed(0)
    photo = torch.randint(0, 256, (3, 40, 50), generator=generator, dtype=torch.uint8)
    size = pooled_features(network, photo).shape[0]
    head = headroom.Head(np.zeros(size), np.ones(size), np.zeros((size + 1, 6)))
    pair = headroom.Pair("a", photo, 255 - photo)
    scores = headroom.score_pair(network, head, pair)
    assert scores["nothing"] == scores["head"] == scores["result"] == scores["result after the head"]
    assert scores["result, best line"] > 90
    document = {
        "weights": "x",
        "pairs": 1,
        "penalty": 1.0,
        "sets": {"one": {key: [value, value] for key, value in scores.items()}},
        "machine": headroom.describe_machine(),
    }
    assert "| one | 2 |" in headroom.render(document) and "+0.00 [+0.00, +0.00]" in headroom.render(document)
