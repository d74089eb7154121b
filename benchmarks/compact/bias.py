"""Measure what the separator mistakes for a reflection: kinds of scene, behind known reflections and veils.

    python -m benchmarks.compact.bias DATA [--weights FILE]

DATA is a folder with natural/ and optionally natural_more/. Held-out pictures are made pale, dark, misty or
saturated. They are used as they are, behind a clear pane, and with reflections and an even veil: ``I = 0.92 B
+ r R + v`` in linear light, R another of the pictures. For each combination the script gives PSNR against B
of the photograph and of the result, and the mean of result minus B in each channel. It prints its table and
writes docs/figures/bias.md and bias.json. Needs the extra [train].
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT
from benchmarks.common.pages import write_page
from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.evaluation.metrics import psnr
from clearpane.evaluation.protocols import read_8bit
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator

TRANSMITTANCE = 0.92
# Requirements on a cell: lowest PSNR without glass, largest loss behind it, largest bias of the mean in a
# channel.
LEAST_CLEAN, MOST_LOST, MOST_BIAS = 38.0, 0.1, 0.02


def _mixed(colour: Sequence[float], share: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda picture: (1 - share) * picture + share * np.array(colour, np.float32)


def _dimmed(picture: np.ndarray) -> np.ndarray:
    return linear_to_srgb(0.3 * srgb_to_linear(picture))


def _saturated(picture: np.ndarray) -> np.ndarray:
    grey = picture.mean(axis=2, keepdims=True)
    return np.clip(grey + 2 * (picture - grey), 0, 1)


# Functions from sRGB [H, W, 3] in [0, 1] to the same.
SCENES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda picture: picture,
    "dark (0.3 of the light)": _dimmed,
    "deep shadows": np.square,
    "blacks at 0.15": _mixed((1, 1, 1), 0.15),
    "blacks at 0.3": _mixed((1, 1, 1), 0.3),
    "bluish mist": _mixed((0.7, 0.8, 1), 0.4),
    "high key": np.sqrt,
    "saturated": _saturated,
}


@dataclass(frozen=True)
class Pane:
    """Pane in front of a scene: strength of the reflection and of an even veil, linear."""

    name: str
    reflection: float = 0
    veil: float = 0
    transmittance: float = TRANSMITTANCE


PANES = (
    Pane("no glass", transmittance=1),
    Pane("clear pane"),
    *(
        Pane(f"R {r:g}" + (f", veil {v:g}" if v else ""), r, v)
        for v, r in product((0, 0.05), (0.05, 0.2, 0.5))
    ),
)


def photograph(scene: np.ndarray, mirrored: np.ndarray, pane: Pane) -> np.ndarray:
    """Render the scene through a pane that mirrors another picture; sRGB [H, W, 3], rounded to 8 bits."""
    light = pane.transmittance * srgb_to_linear(scene) + pane.veil
    light = light + pane.reflection * srgb_to_linear(mirrored)
    return to_8bit(linear_to_srgb(np.clip(light, 0, 1))).astype(np.float32) / 255


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Repeat and crop a picture to another size."""
    rows, columns = (np.arange(n) % m for n, m in zip((height, width), picture.shape[:2], strict=True))
    return picture[np.ix_(rows, columns)]


def measure_cell(
    pictures: Sequence[np.ndarray],
    scene: Callable[[np.ndarray], np.ndarray],
    pane: Pane,
    separator: CompactSeparator,
) -> dict[str, Any]:
    """Compute the mean scores of one kind of scene behind one pane."""
    before, after, bias = [], [], []
    for index, picture in enumerate(pictures):
        truth = to_8bit(scene(picture)).astype(np.float32) / 255
        other = pictures[(index + len(pictures) // 2) % len(pictures)]
        photo = photograph(truth, fitted(other, *truth.shape[:2]), pane)
        result = separator.separate(photo).transmission
        before.append(psnr(to_8bit(photo), to_8bit(truth)))
        after.append(psnr(to_8bit(result), to_8bit(truth)))
        bias.append((result - truth).mean(axis=(0, 1)))
    return {
        "pictures": len(pictures),
        "nothing": float(np.mean(before)),
        "psnr": float(np.mean(after)),
        "bias": np.mean(bias, axis=0).tolist(),
    }


def measure_bias(pictures: Sequence[np.ndarray], separator: CompactSeparator) -> list[dict[str, Any]]:
    """Measure the rows of the table, one for each kind of scene and pane."""
    return [
        {"scene": name, "pane": pane.name, **measure_cell(pictures, scene, pane, separator)}
        for name, scene in SCENES.items()
        for pane in PANES
    ]


def bias_table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows as Markdown; cells that miss a requirement are bold."""

    def marked(text: str, wrong: bool) -> str:
        return f"**{text}**" if wrong else text

    lines = []
    for row in rows:
        clean = row["pane"] == PANES[0].name
        gain = row["psnr"] - row["nothing"]
        lines.append(
            [
                row["scene"],
                row["pane"],
                "unchanged" if clean else f"{row['nothing']:.2f}",
                marked(f"{row['psnr']:.2f}", clean and row["psnr"] < LEAST_CLEAN),
                "" if clean else marked(f"{gain:+.2f}", gain < -MOST_LOST),
                *(marked(f"{b:+.3f}", abs(b) > MOST_BIAS) for b in row["bias"]),
            ]
        )
    head = ["scene", "pane", "do nothing", "PSNR", "gain", "red", "green", "blue"]
    return (
        f"{rows[0]['pictures']} pictures held out of training, behind a pane that passes {TRANSMITTANCE:g} "
        "of the light and mirrors another of them with the strength R, under an even veil (linear light). "
        "PSNR against the scene without the glass, dB; the mean of the result minus the scene in each "
        f"channel, sRGB. Bold: below {LEAST_CLEAN:g} dB without glass, a loss above {MOST_LOST:g} dB behind "
        f"it, off by more than {MOST_BIAS:g}.\n\n" + table(head, lines)
    )


def held_out_pictures(data: Path, limit: int) -> list[np.ndarray]:
    """Read at most ``limit`` held-out pictures, half of them from natural_more if it exists.

    Raises:
        ClearpaneError: There are none.
        MissingExtraError: PyTorch, which the list of held-out pictures needs, is not installed.
    """
    try:
        from clearpane.training.compact.sources import room_paths
        from clearpane.training.pictures import natural_paths
    except ModuleNotFoundError as error:
        raise MissingExtraError("the benchmark of bias", "train") from error

    folders = [natural_paths(data / "natural", held_out=True)]
    if (data / "natural_more").is_dir():
        folders.append(room_paths(data / "natural_more", held_out=True))
    share = -(-limit // len(folders))
    paths = [path for found in folders for path in found[:: max(1, len(found) // share)][:share]]
    return [read_8bit(path).astype(np.float32) / 255 for path in paths]


@dataclass(frozen=True)
class Options:
    """Measure what the embedded separator mistakes for a reflection."""

    data: Positional[Path]
    """Folder with natural and natural_more."""
    weights: Path = WEIGHTS
    """ONNX file to measure."""
    pictures: int = 24
    """Number of held-out pictures in each cell."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of bias.md and bias.json."""


def main(options: Options) -> int:
    """Measure, print and write."""
    try:
        pictures = held_out_pictures(options.data, options.pictures)
        rows = measure_bias(pictures, CompactSeparator(options.weights))
        text = bias_table(rows)
        print(text)
        weights = hashlib.sha256(options.weights.read_bytes()).hexdigest()[:12]
        options.output.mkdir(parents=True, exist_ok=True)
        document = json.dumps({"weights": weights, "rows": rows}, indent=1)
        write_text(options.output / "bias.json", document + "\n", overwrite=True)
        page = f"# The separator by kind of scene\n\n{text}\n<sub>Weights {weights}.</sub>\n"
        write_page(options.output / "bias.md", page, __spec__.name)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
