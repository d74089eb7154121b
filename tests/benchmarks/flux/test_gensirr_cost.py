"""The sum of a branching's operations."""

from benchmarks.flux.gensirr_cost import total


def test_candidates_cost_a_step_a_decoding_and_a_depth_each():
    parts = {"step": 10.0, "encoding": 1.0, "decoding": 2.0, "depth": 3.0}
    assert total(parts, 28, 1) == 1 + 280 + 2
    assert total(parts, 28, 4) == 1 + 280 + 2 + 3 * 10 + 4 * (2 + 3)
