"""Tables of the panel."""

from benchmarks.common.measuring import describe_machine
from benchmarks.flux import panel_cells, panel_tables


def test_tables_of_the_panel_compare_runs_of_the_same_seed():

    def run(gain):
        scores = {"t": [20.0 + gain] * 4, "t_g": [21.0 + gain] * 4, "nothing": [20.0] * 4}
        subset = {**scores, "nothing_g": [21.0] * 4, "r": [15.0] * 4}
        return {"seconds": 60.0, "scenes": subset, "val": subset, "edits": {"denoise": 25.0}}

    document = {"base": "b", "seeds": 2, "edits": {"nothing": {"denoise": 18.0}, "base": {"denoise": 26.0}}}
    machine = describe_machine()
    full = panel_cells.CELLS["full"]
    document |= {"machine": machine, "runs": {}}
    for name, seed, gain in (("LoRA", 0, 1.0), ("LoRA", 1, 9.0), ("the whole transformer", 0, 3.0)):
        document["runs"][panel_cells.run_key(full[name], seed, "b")] = run(gain)
    runs = {name: panel_tables.finished(document, cell) for name, cell in full.items()}
    text = panel_tables.render_differences(runs, "LoRA", panel_tables.SEEN)
    assert "| the whole transformer, against LoRA | 1 | +2.00 [+2.00, +2.00] |" in text
    assert "+5.00 [+5.00, +5.00] (± 5.66)" in panel_tables.render_cells(runs, panel_tables.SEEN)
    assert "| do nothing | 18.00 |" in panel_tables.render_edits(runs, document)
