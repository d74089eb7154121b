"""Do the cameras of a real capture agree? Its photographs' features, met in space by the poses of its file.

    python benchmarks/fox.py DATA

Loads DATA/views/fox (instant-ngp's sample, with distortion), finds points that several photographs show and
says how far they are seen from where the poses put them. Writes docs/figures/fox.md and fox.json. Needs the
extra [3d].
"""

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from tyro.conf import Positional

from clearpane.evaluation.tables import write_text
from clearpane.reconstruction.structure_from_motion import triangulate
from clearpane.reconstruction.views import open_views
from markdown import table
from measuring import FOLDER, Machine, describe_machine
from runs import finish


@dataclass(frozen=True)
class Options:
    """Check the cameras of a capture."""

    data: Positional[Path]
    """Folder with views/fox."""
    output: Path = FOLDER.parent / "docs" / "figures"
    """Folder of fox.md and fox.json."""


def measure(options: Options) -> str:
    """Meet the features; the table."""
    photographs = open_views(options.data / "views" / "fox")
    started = time.monotonic()
    found = triangulate(photographs)
    document = {
        "photographs": len(photographs.photographs),
        "points": len(found.points),
        "fewest": int(found.seen.min()),
        "error": found.error,
        "seconds": time.monotonic() - started,
        "machine": describe_machine(),
    }
    text = (
        "## Cameras of a real capture\n\n"
        "instant-ngp's fox, by its `transforms.json` with distortion: features of its photographs, met in "
        "space by the poses of the file alone. Features farther than 4 pixels off are not a point's.\n\n"
        + table(
            ["photographs", "points", "points in the photograph with the fewest", "mean distance, pixels"],
            [
                [
                    str(document["photographs"]),
                    str(document["points"]),
                    str(document["fewest"]),
                    f"{found.error:.2f}",
                ]
            ],
        )
        + f"\n<sub>{document['seconds']:.0f} s; {Machine(**document['machine'])}.</sub>\n"
    )
    write_text(options.output / "fox.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_text(options.output / "fox.md", text, overwrite=True)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
