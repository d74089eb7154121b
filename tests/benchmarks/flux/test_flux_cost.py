"""The account of memory against measured peaks."""

from benchmarks.flux import flux_cost


def test_the_account_of_memory_holds_for_a_small_transformer(monkeypatch):
    monkeypatch.setattr(flux_cost, "SMALL", flux_cost.SMALL[:1])
    (row,) = flux_cost.measure_peaks()
    assert 0.8 * flux_cost.PREDICTION < row["prediction"] < flux_cost.PREDICTION
    training = flux_cost.TRAINING + flux_cost.NORMALISING
    assert 0.8 * training < row["training"] < training
    assert 0.8 * training < row["training_nf4"] < training
