"""Check the cameras of a real capture: triangulate its photographs' features with the poses of its file.

    python -m benchmarks.reconstruction.fox DATA

Loads DATA/views/fox (instant-ngp's sample, with distortion), finds points that several photographs show and
measures their distance from where the poses put them; the same with wrong cameras. Writes docs/figures/fox.md
and fox.json. Needs the extra [3d].
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from clearpane.evaluation.tables import write_text
from clearpane.reconstruction.capture.opening import open_views
from clearpane.reconstruction.capture.photographs import Lens, PhotographSet
from clearpane.reconstruction.capture.structure_from_motion import Triangulation, triangulate


@dataclass(frozen=True)
class Options:
    """Check the cameras of a capture."""

    data: Positional[Path]
    """Folder with views/fox."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of fox.md and fox.json."""


def without_distortion(photographs: PhotographSet) -> PhotographSet:
    """Return the photographs with the same poses, but pinhole lenses."""
    pinholes = (replace(p, lens=Lens(p.lens.focal, p.lens.principal)) for p in photographs.photographs)
    return replace(photographs, photographs=tuple(pinholes))


def by_the_next_poses(photographs: PhotographSet) -> PhotographSet:
    """Give each photograph the pose of the next one, the last that of the first."""
    posed = photographs.photographs
    others = zip(posed, posed[1:] + posed[:1], strict=True)
    wrong = (replace(p, camera_to_world=other.camera_to_world) for p, other in others)
    return replace(photographs, photographs=tuple(wrong))


CAMERAS: dict[str, Callable[[PhotographSet], PhotographSet]] = {
    "the file's": lambda photographs: photographs,
    "without its distortion": without_distortion,
    "each with the next photograph's pose": by_the_next_poses,
}


def figures(found: Triangulation) -> dict[str, Any]:
    """Return the figures of one kind of cameras."""
    return {
        "points": len(found.points),
        "median": float(np.median(found.seen)),
        "fewest": int(found.seen.min()),
        "error": found.error if len(found.points) else None,
    }


def report(document: dict[str, Any]) -> str:
    """Write the table and its explanation."""
    rows = [
        [
            name,
            str(row["points"]),
            f"{row['median']:.0f}",
            str(row["fewest"]),
            "-" if row["error"] is None else f"{row['error']:.2f}",
        ]
        for name, row in document["cameras"].items()
    ]
    head = ["cameras", "points", "in a photograph", "in that with the fewest", "mean distance, pixels"]
    return (
        "# Cameras of a real capture\n\n"
        f"instant-ngp's fox, {document['photographs']} photographs, by its `transforms.json` with "
        "distortion: features of its photographs, triangulated with the given poses. Features more than 4 "
        "pixels off are not counted as a point's, so the distance alone says little: wrong poses leave few "
        "points, a wrong lens leaves as many but farther off.\n\n"
        + table(head, rows)
        + f"\n<sub>In a photograph: the median. {document['seconds']:.0f} s; "
        f"{Machine(**document['machine'])}.</sub>\n"
    )


def measure(options: Options) -> str:
    """Triangulate the features with each kind of cameras; return the table."""
    photographs = open_views(options.data / "views" / "fox")
    started = time.monotonic()
    document = {
        "photographs": len(photographs.photographs),
        "cameras": {name: figures(triangulate(change(photographs))) for name, change in CAMERAS.items()},
        "seconds": time.monotonic() - started,
        "machine": describe_machine(),
    }
    text = report(document)
    write_text(options.output / "fox.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "fox.md", text, __spec__.name)
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
