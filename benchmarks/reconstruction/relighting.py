"""Measure the effect of samples and the denoiser on a relit picture, and their cost.

    python -m benchmarks.reconstruction.relighting DATA

The mesh bob with two materials under one environment, from two sides: as `clearpane relight` renders it by
    default, with a quarter of the paths, with and without denoising, and as a preview, each against many more
    paths. Seconds are CPU time, all from one run, so that their ratios hold. Writes
    docs/figures/relighting.{md,json}. Needs the extras [3d] and [synthesis].
"""

import json
import sys
import time
from dataclasses import dataclass
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
from benchmarks.reconstruction.bob_asset import MATERIALS, BobMaterial, bob_asset
from benchmarks.reconstruction.bob_captures import UNSEEN, environment
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.reconstruction.relighting.relit_pictures import as_picture, on_white
from clearpane.reconstruction.relighting.turntable import turntable_cameras

_VIEWS = 2
_TRUTH_SEED = 1  # another seed than the compared pictures


@dataclass(frozen=True)
class Options:
    """Measure methods of relighting."""

    data: Positional[Path]
    """Folder with environments, materials and objects/bob."""
    side: int = 256
    """Side of the pictures, pixels."""
    truth: int = 1024
    """Paths per pixel of the reference."""
    samples: int = 128
    """Paths per pixel of the plain method; the denoiser gets a quarter."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the tables."""


def ways(samples: int) -> dict[str, RelightSettings]:
    """Return the settings to compare, the plain method first."""
    few = max(1, samples // 4)
    return {
        f"{samples} paths per pixel": RelightSettings(samples),
        f"{few} paths per pixel": RelightSettings(few),
        f"{few} paths per pixel, denoised": RelightSettings(few, denoise=True),
        "preview": RelightSettings(preview=True),
    }


def measure_material(options: Options, material: BobMaterial) -> dict[str, dict[str, float]]:
    """Measure each method: dB against the truth, of whole pictures on white and of the object; CPU
    seconds."""
    asset, light = bob_asset(options.data, material), environment(options.data, UNSEEN)
    cameras = turntable_cameras(asset.mesh, _VIEWS, options.side)
    rendered = partial(relight, asset, light, cameras)
    next(rendered(RelightSettings(1)))  # compilation and loading are not timed
    truth = list(rendered(RelightSettings(options.truth, seed=_TRUTH_SEED)))
    result = {}
    for name, settings in ways(options.samples).items():
        started = time.process_time()
        pictures = list(rendered(settings))
        seconds = (time.process_time() - started) / _VIEWS
        scores = [picture_scores(*pair) for pair in zip(pictures, truth, strict=True)]
        whole, inside = np.mean(scores, axis=0).tolist()
        result[name] = {"psnr": whole, "object": inside, "seconds": seconds}
        print(f"{material}, {name}: {whole:.2f} dB, {seconds:.2f} s", flush=True)
    return result


def picture_scores(result: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Compute PSNR on white at 8 bits, dB: of the whole picture, and where the truth shows the object
    alone."""
    a, b = (to_8bit(on_white(as_picture(x, "png"))) for x in (result, truth))
    inside = truth[..., 3] == 1
    return psnr(a, b), psnr(a[inside][None], b[inside][None])


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    parts = [
        "# Relighting: paths, denoiser, preview\n\n"
        f"bob under `{document['light']}`, {document['views']} views of {document['side']} x "
        f"{document['side']} pixels, against {document['truth']} paths per pixel: 8 bits on white, whole "
        "pictures and the object's pixels alone. The preview has neither shadows nor light between parts, "
        "and another diffuse part, which limits its accuracy. CPU time is relative to the first row, all "
        "measured in one run."
    ]
    for material, rows in document["materials"].items():
        first = next(iter(rows.values()))["seconds"]
        cells = [
            [name, f"{row['psnr']:.2f}", f"{row['object']:.2f}", f"{row['seconds'] / first:.2f}"]
            for name, row in rows.items()
        ]
        head = ["", "dB", "object's", "CPU time"]
        parts.append(
            f"## {material}\n\n" + table(head, cells) + f"\nThe first row took {first:.1f} s per view."
        )
    return "\n\n".join(parts) + f"\n\n<sub>{Machine(**document['machine'])}.</sub>\n"


def measure(options: Options) -> str:
    """Render everything; return the tables."""
    document = {
        "light": UNSEEN,
        "views": _VIEWS,
        "side": options.side,
        "truth": options.truth,
        "machine": describe_machine(),
        "materials": {material: measure_material(options, material) for material in MATERIALS},
    }
    write_text(options.output / "relighting.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "relighting.md", render(document), __spec__.name)
    return render(document)


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
