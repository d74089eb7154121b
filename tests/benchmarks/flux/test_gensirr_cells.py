"""Identity of a run of GenSIRR."""

from benchmarks.flux import gensirr_cells


def test_runs_are_told_apart_by_cell_seed_base_and_vae():
    every = {cell for table in gensirr_cells.CELLS.values() for cell in table.values()}
    keys = {
        gensirr_cells.run_key(cell, seed, base, vae)
        for cell in every
        for seed in (0, 1)
        for base in "ab"
        for vae in "cd"
    }
    assert len(keys) == 8 * len(every)
    for question, table in gensirr_cells.CELLS.items():
        assert {name for pair in gensirr_cells.CONTRASTS[question] for name in pair} <= set(table)
