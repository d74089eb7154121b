"""Measure what a perfect editor's change keeps of detail and texture at the photograph's full size.

    python -m benchmarks.flux.texture

The editor's work is the true T, shrunk as the photograph is; so only the transfer to full size is measured,
without any model. Compares the rules of separation/flux/keeping.py and separation/resolution.py on the four
examples. Writes docs/figures/texture.md and texture.json.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.images.reading import read_picture
from clearpane.separation.flux.keeping import UNTOUCHED, WINDOW, keep_untouched, with_detail
from clearpane.separation.resolution import LocalCorrection, box_mean, enlarge, shrink, working_size

EXAMPLES = ("window", "vase", "shop", "painting")
SIDE, SEED = 512, 0
ERRORS = (0.0, 0.005, 0.01, 0.02)
LIMITS = ((0.004, 0.012), UNTOUCHED, (0.01, 0.03), (0.02, 0.04))
PERIODS = (4, 8, 16)
Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def gain_and_offset(image: np.ndarray, seen: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Apply gain and offset, both averaged over windows."""
    return LocalCorrection.fit(seen, layer, WINDOW).apply(image)


def exact_at_working_size(image: np.ndarray, seen: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Apply the rule of `separate_at_resolution`, which compact uses: the same gain, an exact offset."""
    return LocalCorrection.fit(seen, layer, 1).meeting(seen, layer).apply(image)


def enlarged(image: np.ndarray, seen: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Enlarge T alone."""
    return enlarge(layer, *image.shape[:2])


RULES: dict[str, Rule] = {
    "T enlarged": enlarged,
    "gain and offset, both averaged": gain_and_offset,
    "averaged gain, exact offset (compact's)": exact_at_working_size,
    "T enlarged, with the photograph's detail": with_detail,
    "the same, unchanged pixels kept (as shipped)": keep_untouched,
}


@dataclass(frozen=True)
class Options:
    """Measure the transfer of a perfect editor's change to full size."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of texture.md and texture.json."""


def read_example(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an example's photograph and its true T, [H, W, 3] in [0, 1]."""
    photo, truth = (
        read_picture(ROOT / "examples" / f"{name}_{kind}.jpg").pixels for kind in ("input", "transmission")
    )
    return photo, truth


def painted(truth: np.ndarray, size: tuple[int, int], error: float) -> np.ndarray:
    """Return T as an editor paints it: shrunk, with a smooth random error of this standard deviation."""
    small = shrink(truth, *size)
    noise = box_mean(np.random.default_rng(SEED).standard_normal(small.shape).astype(np.float32), 1)
    return np.clip(small + error / noise.std() * noise, 0, 1)


def score_rules(photo: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the PSNR of every rule with a perfect editor, and of doing nothing."""
    size = working_size(*photo.shape[:2], SIDE**2)
    seen, layer = shrink(photo, *size), shrink(truth, *size)
    results = {"do nothing": photo} | {name: rule(photo, seen, layer) for name, rule in RULES.items()}
    return {name: psnr(to_8bit(result), to_8bit(truth)) for name, result in results.items()}


def score_limits(photo: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """Compute the PSNR by the editor's error and the limits of what counts as unchanged."""
    size = working_size(*photo.shape[:2], SIDE**2)
    seen = shrink(photo, *size)
    rows = []
    for error in ERRORS:
        layer = painted(truth, size, error)
        everywhere = {"error": error, "low": -1.0, "high": -1.0}
        rows.append(everywhere | {"psnr": psnr(to_8bit(with_detail(photo, seen, layer)), to_8bit(truth))})
        for limits in LIMITS:
            result = keep_untouched(photo, seen, layer, limits)
            place = {"error": error, "low": limits[0], "high": limits[1]}
            rows.append(place | {"psnr": psnr(to_8bit(result), to_8bit(truth))})
    return rows


def contrast_kept(rule: Rule, period: int) -> float:
    """Return the share of a texture's contrast that is kept under a saturated highlight.

    The photograph is white, T a sine of ``period`` pixels at the working size, half as fine as at full size.
    """
    columns = np.arange(256, dtype=np.float32)
    wave = np.broadcast_to((0.5 + 0.2 * np.sin(2 * np.pi * columns / period))[None, :, None], (64, 256, 3))
    layer = np.ascontiguousarray(wave, np.float32)
    result = rule(np.ones((128, 512, 3), np.float32), np.ones_like(layer), layer)
    return float(np.ptp(result[32:96, 64:-64]) / np.ptp(layer))


def render(document: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    pictures = document["rules"]
    rules = [[name, *(f"{pictures[x][name]:.2f}" for x in EXAMPLES)] for name in pictures[EXAMPLES[0]]]
    limits = []
    for index, first in enumerate(document["limits"][EXAMPLES[0]]):
        kept = "applied everywhere" if first["high"] < 0 else f"{first['low']:g} to {first['high']:g}"
        cells = [f"{document['limits'][x][index]['psnr']:.2f}" for x in EXAMPLES]
        limits.append([f"{first['error']:g}, {kept}", *cells])
    contrasts = [
        [name, *(f"{document['contrast'][name][str(period)]:.2f}" for period in PERIODS)]
        for name in document["contrast"]
    ]
    return (
        "# A perfect editor's change at full size\n\n"
        f"The four examples at 1000 x 750, the editor's picture as large as {SIDE} x {SIDE}; the VAE is "
        "taken to be perfect, too. PSNR of T, dB, at 8 bits.\n\n"
        + table(["rule", *EXAMPLES], rules)
        + "\nCompact's own rule is as good as the formula, and its export to ONNX for the browser computes "
        "the same; it stays as it is.\n\n"
        "## Texture under a saturated highlight\n\n"
        "The photograph is white, T a sine: the share of its contrast that is kept, by its period in pixels "
        "of the editor's picture.\n\n"
        + table(["rule", *(str(period) for period in PERIODS)], contrasts)
        + "\n### Limits of what counts as unchanged\n\n"
        "An editor that errs by a smooth random amount (standard deviation, sRGB) everywhere: PSNR of T, dB, "
        "by its error and the two limits. "
        f"{UNTOUCHED[0]:g} to {UNTOUCHED[1]:g} is shipped: it costs little if the editor is perfect and "
        "gains if it errs by 0.01. An editor that errs by 0.02 would gain from wider limits, by which a "
        "better one would lose more.\n\n"
        + table(["error, limits", *EXAMPLES], limits)
        + f"\n<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def main(options: Options) -> int:
    """Measure everything."""
    examples = {name: read_example(name) for name in EXAMPLES}
    document = {
        "rules": {name: score_rules(*pair) for name, pair in examples.items()},
        "limits": {name: score_limits(*pair) for name, pair in examples.items()},
        "contrast": {
            name: {str(period): contrast_kept(rule, period) for period in PERIODS}
            for name, rule in RULES.items()
        },
        "machine": describe_machine(),
    }
    write_text(options.output / "texture.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "texture.md", render(document), __spec__.name)
    print(render(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
