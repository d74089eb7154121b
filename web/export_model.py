"""Write the graph that the page runs: `python web/export_model.py compact-full.onnx`."""

import sys
from pathlib import Path

from clearpane.separation.compact.full_graph import export_full_graph

print(f"wrote {export_full_graph(Path(sys.argv[1]))}")
