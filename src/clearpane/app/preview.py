"""``clearpane preview``: draw a contact sheet of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.optics.color import linear_to_srgb
from clearpane.synthesis.dataset.manifest import DataSet
from clearpane.synthesis.dataset.shards import StoredSample, read_shards, sample_key

DESCRIPTION = """\
Draw a contact sheet of a data set made by clearpane synthesize. Each row
shows one sample: the photograph (I), transmission (T), reflection (R),
background (B) and mirror image (MR), as far as the data set has them. The
samples are spread evenly over the data set. Reflections are dark, so all R
are brightened by one factor, which the sheet gives.

Examples:
  clearpane preview glass --output sheet.jpg
  clearpane preview glass --output sheet.png --count 30 --overwrite
"""

_CELL = 192  # longer side of a picture, pixels
_GAP = 8
_TEXT = 14
_PAPER = (38, 38, 38)
_INK = (226, 226, 226)
_DIM = (150, 150, 150)
# The gain of R keeps this share of its values, over all rows, below white.
_SHOWN = 0.99
_TITLES = {
    "I": "I photograph",
    "T": "T transmission",
    "R": "R reflection",
    "B": "B background",
    "MR": "MR mirror image",
}


@dataclass(frozen=True)
class Preview:
    """Draw a contact sheet of a data set."""

    folder: Annotated[Positional[Path], arg(metavar="DIR", help_behavior_hint="")]
    """Folder of the data set, which may be unfinished."""

    output: Annotated[Path, arg(metavar="FILE.jpg", help_behavior_hint="(required)")]
    """Picture to write, .jpg or .png."""

    count: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 12)")] = 12
    """Number of samples to show, at most 60."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace the picture if it exists."""


def run(options: Preview) -> int:
    """Draw the sheet and return 0.

    Raises:
        ClearpaneError: There is no data set, a shard cannot be read, or the sheet cannot be written.
    """
    if not 1 <= options.count <= 60:
        raise UsageError(f"--count {options.count}: give a number from 1 to 60")
    if options.output.exists() and not options.overwrite:
        raise ClearpaneError(f"{options.output}: exists already; choose another name or add --overwrite")
    data_set = DataSet.load(options.folder)
    samples = spread_samples(data_set, options.count)
    if not samples:
        raise ClearpaneError(f"{options.folder}: no shard is finished yet; run clearpane synthesize first")
    sheet = Picture(draw_sheet(samples), "jpeg", "uint8", lossless=False)
    write_picture(options.output, sheet, WriteOptions(overwrite=options.overwrite, jpeg_quality=92))
    print(f"{options.folder} -> {options.output} ({len(samples)} of {data_set.held} samples)")
    return 0


def spread_samples(data_set: DataSet, count: int) -> list[StoredSample]:
    """Read at most ``count`` finished samples, spread evenly; only their shards are read."""
    held = [(shard.name, index) for shard in data_set.finished() for index in shard.samples]
    number = min(count, len(held))
    chosen = [held[i * len(held) // number] for i in range(number)]
    keys = {sample_key(index) for _, index in chosen}
    paths = [data_set.folder / name for name in dict.fromkeys(name for name, _ in chosen)]
    return list(read_shards(paths, keys.__contains__))


def draw_sheet(samples: Sequence[StoredSample]) -> np.ndarray:
    """Draw a row for each sample, under the names of the layers: [h, w, 3] float32 in [0, 1]."""
    letters = (["I"] if samples[0].photograph is not None else []) + list(samples[0].layers)
    letters.sort(key=list(_TITLES).index)
    gain = _reflection_gain(samples)
    titles = _TITLES | {"R": f"R reflection, {gain:g} x" if gain > 1 else _TITLES["R"]}

    rows = [[_thumbnail(_as_srgb(sample, letter, gain)) for letter in letters] for sample in samples]
    width, height = rows[0][0].size
    band = 2 * _TEXT
    pitch = height + _TEXT + 2 * _GAP
    size = (_GAP + len(letters) * (width + _GAP), band + len(rows) * pitch)
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    for column, letter in enumerate(letters):
        draw.text((_left(column, width), band // 2), titles[letter], fill=_INK, font=font, anchor="lm")
    for index, (sample, pictures) in enumerate(zip(samples, rows, strict=True)):
        top = band + index * pitch
        for column, picture in enumerate(pictures):
            canvas.paste(picture, (_left(column, width), top))
        text = (_GAP, top + height + _GAP // 2)
        draw.text(text, _description(sample), fill=_DIM, font=font, anchor="lt")
    return np.asarray(canvas, np.float32) / 255


def _left(column: int, width: int) -> int:
    return _GAP + column * (width + _GAP)


def _reflection_gain(samples: Sequence[StoredSample]) -> float:
    """Return a power of two, at most 16, that brings the brightest reflections of the sheet near white."""
    reflections = [sample.layers["R"] for sample in samples if "R" in sample.layers]
    if not reflections:
        return 1.0
    bright = float(np.median([np.quantile(reflection, _SHOWN) for reflection in reflections]))
    return float(2 ** np.clip(np.floor(-np.log2(max(bright, 1e-6))), 0, 4))


def _as_srgb(sample: StoredSample, letter: str, gain: float) -> np.ndarray:
    if letter == "I":
        assert sample.photograph is not None
        return sample.photograph
    layer = sample.layers[letter]
    shown: np.ndarray = linear_to_srgb(np.clip(layer * gain if letter == "R" else layer, 0, 1))
    return shown


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    scale = _CELL / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return picture.resize((width, height), smooth)


def _description(sample: StoredSample) -> str:
    scene = sample.scene
    pane, world = scene.pane, scene.world
    return (
        f"{sample.key}: {pane.shape} pane of {1000 * pane.thickness:.0f} mm, turned {pane.yaw:.0f} degrees, "
        f"{pane.distance:.1f} m away; background {scene.background.distance:.1f} m; "
        f"{world.shape} at {world.distance:.1f} m"
    )
