import numpy as np
import pytest

from clearpane.evaluation.bootstrap import bootstrap_mean, wilson


def test_interval_of_many_values_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_same_seed_same_interval_other_seed_another() -> None:
    values = np.random.default_rng(1).normal(size=18)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_constant_values_have_no_spread() -> None:
    interval = bootstrap_mean(np.full(5, 0.25))
    assert (interval.low, interval.mean, interval.high) == pytest.approx((0.25, 0.25, 0.25))


def test_higher_confidence_is_wider() -> None:
    values = np.random.default_rng(2).normal(size=30)
    narrow, wide = bootstrap_mean(values, confidence=0.5), bootstrap_mean(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]]])
def test_bootstrap_refuses_what_is_not_a_list_of_numbers(values: list) -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        bootstrap_mean(np.array(values))


def test_wilson_against_published_values() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    interval = wilson(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20).low == 0.0
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=5e-5)
    assert wilson(29, 29).high == pytest.approx(1.0)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)
