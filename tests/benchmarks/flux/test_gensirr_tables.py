"""Tables and the curve of GenSIRR."""

import json
from xml.etree import ElementTree

from benchmarks.common.measuring import describe_machine
from benchmarks.flux import gensirr_cells, gensirr_tables
from benchmarks.flux.gensirr_curve import draw_curve

from .test_gensirr_branches import some_branches


def test_all_tables_are_drawn_of_every_run():
    branches = some_branches()
    for key in ("finals", "values"):
        branches[key] = {name: [row * 4 for row in rows] for name, rows in branches[key].items()}
    one = {metric: [20.0, 22.0] for metric in ("psnr", "psnr_g", "ssim")}
    scored = dict.fromkeys(gensirr_tables.SUBSETS, one) | {"full size": {"val": one, "scenes": one}}
    document = {
        "base": "b",
        "vaes": {
            cell.vae: {"0": "v", "1": "w"}
            for table in gensirr_cells.CELLS.values()
            for cell in table.values()
        },
        "others": {"nothing": scored, "compact": scored},
        "times": {
            "flow matching": {"8": 0.4, "1": 0.1},
            "one step, by regression": {"1": 0.1},
        },
        "machine": describe_machine(),
        "runs": {},
    }
    for table in gensirr_cells.CELLS.values():
        for cell in table.values():
            for seed, vae in ((0, "v"), (1, "w")):
                run = {**scored, "seconds": 60.0}
                if cell == gensirr_cells.USUAL:
                    run["steps"] = {"8": scored, "1": scored}
                    run["branches"] = dict.fromkeys(gensirr_tables.SUBSETS, branches) | {"depth": "d"}
                document["runs"][gensirr_cells.run_key(cell, seed, "b", vae)] = run
    text = gensirr_tables.render(json.loads(json.dumps(document)))
    for pairs in gensirr_cells.CONTRASTS.values():
        for first, second in pairs:
            assert f"| {first}, against {second} | 2 | +0.00" in text
    # Of one candidate 20 and 30; of four 25 and 28 are picked, whose mean is 22 each and the best 25 and 30.
    assert "| depth | 25.00 ± 0.00 | 26.50 ± 0.00 |" in text
    assert "+4.50" in text and "+1.00" in text and "| depth and edges |" in text
    assert "| 1, by regression | 100 | 0.25 |" in text
    root = ElementTree.fromstring(draw_curve(document))
    space = "{http://www.w3.org/2000/svg}"
    # A line of two dots for each subset, and a square for what takes one step beside the key's.
    assert [len(root.findall(f"{space}{tag}")) for tag in ("polyline", "circle", "rect")] == [3, 6, 7]
    assert draw_curve({**document, "runs": {}}) == ""
