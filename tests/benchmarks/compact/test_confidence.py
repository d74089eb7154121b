"""Rank correlation, logistic fit and calibration error, against scipy and known distributions."""

import numpy as np
import pytest
import scipy.stats

from benchmarks.compact import confidence


def test_ranks_of_equal_values_are_shared_and_order_is_all_that_counts():
    assert confidence.ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]
    values = np.random.default_rng(0).random(50)
    assert confidence.rank_correlation(values, values**3) == pytest.approx(1)
    assert confidence.rank_correlation(values, -values) == pytest.approx(-1)
    assert confidence.rank_correlation(values, np.ones(50)) == 0
    rounded = np.random.default_rng(1).integers(0, 5, (2, 50)).astype(float)
    assert confidence.rank_correlation(*rounded) == pytest.approx(scipy.stats.spearmanr(*rounded).statistic)


def test_a_logistic_fit_finds_the_weights_that_drew_its_labels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100_000, 2)) * [1, 0.05]
    chance = 1 / (1 + np.exp(-(0.5 + features @ [1.0, -4.0])))
    fitted = confidence.fit_logistic(features, (rng.random(len(chance)) < chance).astype(float))
    assert fitted == pytest.approx([0.5, 1.0, -4.0], abs=0.4)


def test_a_calibrated_map_has_no_calibration_error():
    rng = np.random.default_rng(0)
    believed = [rng.random(20_000) for _ in range(3)]
    errors = [np.where(rng.random(20_000) < c, 0.05, 0.2) for c in believed]
    facts = confidence.describe(believed, errors)
    assert facts["calibration_error"] < 0.01 and facts["pooled"] > 0.4
    assert sum(b["share"] for b in facts["bins"]) == pytest.approx(1)
