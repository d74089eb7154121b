"""Compare the two built-in ways to cut an object out: a plain backdrop, and the network.

    python -m benchmarks.reconstruction.segmentation DATA

On DATA/views/dino, before black, the masks of both are compared with each other. bob is rendered before
rooms (HDR maps), where its true mask is known. Writes docs/figures/segmentation.{md,json,jpg}. Needs the
extra [3d] and the package of the network.
"""

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.common.runs import finish
from benchmarks.reconstruction.bob_asset import bob_asset
from benchmarks.reconstruction.bob_captures import bob_cameras, environment
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.files import atomic_path
from clearpane.geometry.cameras import picture_rays
from clearpane.images.picture import to_8bit
from clearpane.images.reading import read_picture
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter
from clearpane.reconstruction.capture.masks import Segmenter
from clearpane.reconstruction.capture.object_network import network_segmenter
from clearpane.reconstruction.relighting.relight import RelightSettings, relight

# Maps behind bob, and its light.
ROOMS = (
    "autoshop_01_1k",
    "empty_warehouse_01_1k",
    "forest_slope_1k",
    "leadenhall_market_1k",
    "st_fagans_interior_1k",
    "vestibule_1k",
)
_SIDE, _SHOWN = 192, 160


@dataclass(frozen=True)
class Options:
    """Compare the built-in segmenters."""

    data: Positional[Path]
    """Folder with views/dino, objects/bob and environments."""
    every: int = 4
    """Take every n-th photograph of dino."""
    rooms: int = 3
    """Number of rooms, at most six."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of segmentation.md, segmentation.json and segmentation.jpg."""


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Compute the intersection of two masks over their union."""
    a, b = mask > 0.5, truth > 0.5
    return float((a & b).sum() / (a | b).sum())


def bob_in_rooms(data: Path, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Render bob before some rooms that light it.

    Returns:
        Picture [S, S, 3], sRGB in [0, 1], and true mask [S, S] of each.
    """
    asset, views = bob_asset(data, "its texture"), []
    for index, room in enumerate(ROOMS[:count]):
        light = environment(data, room)
        camera = bob_cameras()[[index]].resized(_SIDE, _SIDE)
        (shaded,) = relight(asset, light, camera, RelightSettings(preview=True))
        behind = light.seen(picture_rays(camera)[1][0].double().numpy())
        mask = shaded[..., 3].clip(0, 1)
        linear = shaded[..., :3] + (1 - mask[..., None]) * behind
        views.append((linear_to_srgb(linear.clip(0, 1)).astype(np.float32), mask))
    return views


def cut_out(segment: Segmenter, pictures: list[np.ndarray]) -> tuple[list[np.ndarray | None], float]:
    """Cut the object out of each picture, None where that is refused; also return seconds per picture."""
    masks: list[np.ndarray | None] = []
    started = time.process_time()
    for pixels in pictures:
        try:
            masks.append(segment(pixels))
        except ClearpaneError:
            masks.append(None)
    return masks, (time.process_time() - started) / len(pictures)


def figures(masks: list[np.ndarray | None], truths: list[np.ndarray], seconds: float) -> dict[str, Any]:
    """Return the figures of one segmenter on some pictures."""
    found = [overlap(mask, truth) for mask, truth in zip(masks, truths, strict=True) if mask is not None]
    return {"pictures": len(truths), "overlaps": found, "seconds": seconds}


def render(document: dict[str, Any]) -> str:
    """Write the table as Markdown."""
    rows = []
    for name, row in document["rows"].items():
        found = row["overlaps"]
        mean, least = (f"{f(found):.3f}" if found else "-" for f in (np.mean, np.min))
        rows.append([name, f"{len(found)} of {row['pictures']}", mean, least, f"{row['seconds']:.1f}"])
    return (
        "# Cutting out: the backdrop and the network\n\n"
        "Intersection over union of masks: on dino, before black, the network's with the backdrop's; on bob "
        f"before {document['rooms']} HDR maps, rendered at {_SIDE} x {_SIDE} pixels, both with the true "
        "mask. The backdrop refuses a picture whose border is not plain.\n\n"
        + table(["", "found", "mean", "the worst", "CPU seconds each"], rows)
        + "\n![Pictures, and the network's masks below them](segmentation.jpg)\n\n"
        f"<sub>{Machine(**document['machine'])}.</sub>\n"
    )


def write_sheet(path: Path, pictures: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
    """Write pictures in a row, and their masks below them."""

    def tile(values: np.ndarray) -> Image.Image:
        return Image.fromarray(to_8bit(values)).resize((_SHOWN, _SHOWN))

    sheet = Image.new("RGB", (len(pictures) * _SHOWN, 2 * _SHOWN))
    for index, (pixels, mask) in enumerate(zip(pictures, masks, strict=True)):
        sheet.paste(tile(pixels), (index * _SHOWN, 0))
        if mask is not None:
            sheet.paste(tile(mask[..., None].repeat(3, -1).clip(0, 1)), (index * _SHOWN, _SHOWN))
    with atomic_path(path, overwrite=True) as temporary:
        sheet.save(temporary, "JPEG", quality=88)


def measure(options: Options) -> str:
    """Measure both segmenters; return the table."""
    torch.set_num_threads(1)
    network = network_segmenter()
    paths = sorted((options.data / "views" / "dino" / "images").glob("*.png"))[:: options.every]
    dino = [read_picture(path).pixels for path in paths]
    by_backdrop, slow = cut_out(backdrop_segmenter, dino)
    truths = [mask for mask in by_backdrop if mask is not None]
    seen = [pixels for pixels, mask in zip(dino, by_backdrop, strict=True) if mask is not None]
    masks, seconds = cut_out(network, seen)
    rows = {"dino: the network": figures(masks, truths, seconds)}
    rooms = bob_in_rooms(options.data, options.rooms)
    pictures, true = [pixels for pixels, _ in rooms], [mask for _, mask in rooms]
    refused, seconds = cut_out(backdrop_segmenter, pictures)
    rows["bob in rooms: the backdrop"] = figures(refused, true, seconds)
    found, seconds = cut_out(network, pictures)
    rows["bob in rooms: the network"] = figures(found, true, seconds)
    document = {
        "rooms": len(rooms),
        "rows": rows,
        "backdrop_seconds_on_dino": slow,
        "machine": describe_machine(),
    }
    text = render(document)
    write_text(options.output / "segmentation.json", json.dumps(document, indent=1) + "\n", overwrite=True)
    write_page(options.output / "segmentation.md", text, __spec__.name)
    write_sheet(options.output / "segmentation.jpg", [*seen[:4], *pictures], [*masks[:4], *found])
    return text


if __name__ == "__main__":
    sys.exit(finish(partial(measure, tyro.cli(Options, description=__doc__))))
