"""Schedules of fits on clocks that tests set."""

import itertools
from collections.abc import Callable

import pytest

from clearpane.reconstruction.fitting.schedule import RefineSettings, Schedule


def clock(pace: Callable[[int], float]) -> Callable[[], float]:
    """A clock that goes on by pace(n) seconds during the n-th step, from n = 0."""
    times = itertools.accumulate(map(pace, itertools.count()), initial=0.0)
    return lambda: next(times)


def shares(settings: RefineSettings, pace: Callable[[int], float]) -> list[float]:
    schedule = Schedule(settings, clock(pace))
    result = [schedule.share]
    while schedule.share < 1:
        schedule.advance()
        result.append(schedule.share)
    return result


@pytest.mark.parametrize("pace", [lambda _: 1.0, lambda step: 0.1 + step % 7])
def test_without_a_limit_steps_are_equal_whatever_the_clock_says(pace: Callable[[int], float]) -> None:
    assert shares(RefineSettings(8), pace) == pytest.approx([n / 8 for n in range(9)])


def test_a_limit_compresses_the_schedule_evenly() -> None:
    found = shares(RefineSettings(1000, time_limit=20.0), lambda _: 1.0)
    assert found == pytest.approx([n / 20 for n in range(21)])
    loose = shares(RefineSettings(8, time_limit=20.0), lambda _: 1.0)
    assert loose == pytest.approx([n / 8 for n in range(9)])


def test_slower_steps_end_in_time_too() -> None:
    taken = [0.2] * 50 + [1.0] * 1000
    found = shares(RefineSettings(1000, time_limit=60.0), lambda step: taken[step])
    assert found[-1] == 1 and all(a < b for a, b in itertools.pairwise(found))
    assert 59 <= sum(taken[: len(found) - 1]) <= 61
    assert found[-2] > 0.9  # it is compressed, not cut off


def test_the_time_left_is_that_of_the_last_steps() -> None:
    schedule = Schedule(RefineSettings(100), clock(lambda step: 2.0))
    for _ in range(60):
        schedule.advance()
    assert schedule.seconds_left == pytest.approx(80)


@pytest.mark.parametrize("settings", [RefineSettings(0), RefineSettings(10, time_limit=0.0)])
def test_nothing_to_do_is_done_at_once(settings: RefineSettings) -> None:
    assert shares(settings, lambda _: 1.0) == [1.0]
