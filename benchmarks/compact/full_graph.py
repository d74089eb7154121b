"""Seconds and memory of the one graph that the page runs, beside the program's own road.

    python -m benchmarks.compact.full_graph

Each road separates a picture of each size in a process of its own: `separate` of the embedded separator, and
compact-full.onnx in the same runtime. It prints its table, and writes it to docs/figures/full_graph.md.
Linux only.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine, measure
from benchmarks.common.pages import write_page

EXAMPLE = ROOT / "examples" / "shop_input.jpg"
SIZES = {"1 MP": (1182, 887), "12 MP": (4000, 3000), "48 MP": (8000, 6000)}

_READ = """
import sys, time, numpy as np
image = np.load(sys.argv[1])
"""
_SEPARATE = """
from clearpane.separation.compact.runtime import CompactSeparator
separator = CompactSeparator()
start = time.perf_counter()
separator.separate(image)
print(time.perf_counter() - start)
"""
_GRAPH = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[2])
start = time.perf_counter()
photograph = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
feed = {"photograph": photograph, "strength": np.ones(1, np.float32), "with_confidence": np.array(False)}
session.run(["transmission", "reflection"], feed)
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Options:
    """Compare the two roads."""

    repeats: int = 3
    """Runs that a median is taken over."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the table."""


def main(options: Options) -> int:
    """Measure, print and write."""
    from clearpane.separation.compact.full_graph import export_full_graph

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = export_full_graph(folder / "compact-full.onnx")
        for size, (width, height) in SIZES.items():
            picture = Image.open(EXAMPLE).resize((width, height), Image.Resampling.BICUBIC)
            np.save(folder / "image.npy", np.asarray(picture, np.float32) / 255)
            row = [size]
            for code in (_SEPARATE, _GRAPH):
                command = [sys.executable, "-c", _READ + code, folder / "image.npy", model]
                runs = [measure(command) for _ in range(options.repeats)]
                row += [
                    f"{np.median([float(run.output) for run in runs]):.2f}",
                    f"{max(run.peak_bytes for run in runs) / 1e9:.2f}",
                ]
            rows.append(row)
    text = (
        "# One graph, or the program's own road\n\n"
        "Seconds of the separation alone (median) and peak memory of the process. The graph is faster on "
        "large pictures, but holds every step of the whole picture, 2.6 times the memory at 48 MP; a runtime "
        "cannot run it in bands of rows. `clearpane remove` does not even hold the layers: it computes each "
        "band when it is written, and needs 1.3 GB for 100 MP. So the page runs the graph, and Python keeps "
        "its own road, which the tests compare with the graph.\n\n"
        + table(["picture", "`separate`, s", "GB", "graph, s", "GB"], rows)
        + f"\n<sub>{Machine(**describe_machine())}.</sub>\n"
    )
    print(text)
    write_page(options.output / "full_graph.md", text, __spec__.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
