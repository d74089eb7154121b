"""Identity of a run of the panel."""

from benchmarks.flux import panel_cells


def test_a_run_of_the_panel_belongs_to_its_base_its_cell_and_its_seed(tmp_path):
    (tmp_path / "vae").mkdir()
    weights = tmp_path / "vae" / "model.safetensors"
    weights.write_bytes(b"one")
    before = panel_cells.base_digest(tmp_path)
    weights.write_bytes(b"two")
    after = panel_cells.base_digest(tmp_path)
    every = {cell for table in panel_cells.CELLS.values() for cell in table.values()}
    keys = {panel_cells.run_key(c, seed, base) for c in every for seed in (0, 1) for base in (before, after)}
    assert len(keys) == 4 * len(every)
    assert all(panel_cells.BASELINES[q] in table for q, table in panel_cells.CELLS.items() if q != "overfit")
