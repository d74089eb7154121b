"""Compare methods for large pictures: tiles at full resolution, or a correction from a smaller size."""

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.markdown import interval, table
from benchmarks.common.measuring import measure
from benchmarks.compact import variants
from benchmarks.compact.drawings import draw
from benchmarks.compact.variants import SHIPPED, VARIANTS, Separate, guided, residual
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.metrics import psnr, psnr_after_gain, ssim
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs, read_pair
from clearpane.files import atomic_path
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import shrink

DIRECT = "network at full size"
SCENES = ("shop", "painting", "lake", "vase")
NOTHING = "do nothing"
Section = dict[str, Any]
Way = Callable[[np.ndarray, Separate], Layers]


def at_side(way: Callable[..., Layers], divisor: int, image: np.ndarray, separate: Separate) -> Layers:
    """Run a method of `variants` with the network at the picture's side divided by ``divisor``."""
    height, width = image.shape[:2]
    return way(image, separate, pixels=height * width // divisor**2)


def transfer(way: Way, image: np.ndarray, separate: Separate) -> Layers:
    """Measure the loss of the method itself: run the network at full size, then shrink its layers."""
    layers = separate(image)

    def shrunk(small: np.ndarray) -> Layers:
        size = small.shape[:2]
        return Layers(shrink(layers.transmission, *size), shrink(layers.reflection, *size))

    return way(image, shrunk)


def ways() -> dict[str, Way]:
    """Return the methods compared on the real pairs."""
    result: dict[str, Way] = {DIRECT: lambda image, separate: separate(image)}
    forms: list[tuple[str, Callable[..., Layers]]] = [
        *((f"guided, radius {r}", partial(guided, radius=r)) for r in (1, 2, 4)),
        ("residual", residual),
    ]
    for divisor in (2, 4):
        for name, form in forms:
            way = partial(at_side, form, divisor)
            result[f"network at 1/{divisor} of the side, {name}"] = way
            result[f"network at full size, moved at 1/{divisor}, {name}"] = partial(transfer, way)
    return result


def measure_pairs(folder: Path, separator: CompactSeparator, limit: int | None) -> Section:
    """Score each method on the real pairs, against the ground truth and against the network run directly."""
    pairs = find_pairs(folder)[:limit]
    scores: dict[str, list[list[float]]] = {name: [] for name in (NOTHING, *ways())}
    for pair in pairs:
        photo, truth, _ = read_pair(pair, PROTOCOLS["original"])
        image = photo.astype(np.float32) / 255
        direct = to_8bit(separator.separate(image).transmission)
        for name in scores:
            result = (
                photo if name == NOTHING else to_8bit(ways()[name](image, separator.separate).transmission)
            )
            scores[name].append(
                [
                    psnr(result, truth),
                    psnr_after_gain(result, truth),
                    ssim(result, truth),
                    psnr(result, direct),
                ]
            )
    values = {name: np.array(v) for name, v in scores.items()}
    rows = []
    for name, v in values.items():
        means = dict(zip(("psnr", "psnr_g", "ssim", "to_direct"), v.mean(0).tolist(), strict=True))
        change = bootstrap_mean(v[:, 0] - values[DIRECT][:, 0])
        rows.append({"name": name, **means, "over_direct": vars(change)})
    return {"pictures": len(pairs), "rows": rows}


def draw_pair(name: str, height: int, cache: Path) -> tuple[Path, Path]:
    """Draw a scene of `drawings` at a height, as uint8 arrays in files: photograph and ground truth.

    There is one sample per pixel: at such sizes the edges are soft enough.
    """
    paths = cache / f"{name}-{height}-input.npy", cache / f"{name}-{height}-truth.npy"
    if not all(path.is_file() for path in paths):
        cache.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[0:height, 0 : height * 4 // 3].astype(np.float32)
        x, y = (x + 0.5) / height, (y + 0.5) / height
        scene, pane = draw.SCENES[name]
        background, mirror = scene(x, y)
        transmitted, reflected = draw.behind_glass(x, y, background, mirror, pane)
        for seed, (path, light) in enumerate(zip(paths, (transmitted + reflected, background), strict=True)):
            with atomic_path(path, overwrite=True) as temporary, Path(temporary).open("wb") as file:
                np.save(file, np.asarray(draw.photograph(light, seed)))
    return paths


def measure_scenes(weights: Path, cache: Path, scenes: tuple[str, ...], height: int) -> Section:
    """Measure every variant on large drawn scenes, each in its own process."""
    files = [draw_pair(name, height, cache) for name in scenes]
    rows = [_scene_row(NOTHING, [_quality(np.load(photo), np.load(truth)) for photo, truth in files])]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.npy"
        for name in VARIANTS:
            if name == SHIPPED:  # another name for one of the others
                continue
            measured = []
            for photo, truth in files:
                run = measure(variants.command(photo, name, weights, 1, result))
                (seconds,) = json.loads(run.output)
                quality = _quality(np.load(result), np.load(truth))
                measured.append({**quality, "seconds": seconds, "peak_bytes": run.peak_bytes})
            rows.append(_scene_row(name, measured))
    return {"scenes": list(scenes), "width": height * 4 // 3, "height": height, "rows": rows}


def _quality(result: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {"psnr": psnr(result, truth), "psnr_g": psnr_after_gain(result, truth)}


def _scene_row(name: str, measured: list[dict[str, float]]) -> Section:
    means = {key: float(np.mean([m[key] for m in measured])) for key in measured[0]}
    return {"name": name, "mean": means, "by_scene": measured}


def resolution_tables(section: Mapping[str, Section]) -> str:
    pairs, scenes = section["pairs"], section["scenes"]
    pair_lines = [
        [
            row["name"],
            f"{row['psnr']:.2f}",
            f"{row['psnr_g']:.2f}",
            f"{row['ssim']:.3f}",
            "" if row["name"] in (DIRECT, NOTHING) else interval(row["over_direct"]),
            "" if row["name"] in (DIRECT, NOTHING) else f"{row['to_direct']:.1f}",
        ]
        for row in pairs["rows"]
    ]
    scene_lines = []
    for row in scenes["rows"]:
        mean = row["mean"]
        cost = (
            [f"{mean['seconds']:.1f}", f"{mean['peak_bytes'] / 1e9:.2f}"] if "seconds" in mean else ["", ""]
        )
        by_scene = [f"{m['psnr']:.2f}" for m in row["by_scene"]]
        scene_lines.append([row["name"], f"{mean['psnr']:.2f}", f"{mean['psnr_g']:.2f}", *by_scene, *cost])
    return (
        f"{pairs['pictures']} real pairs, against their truth. *At 1/n*: the network sees a copy with sides "
        "n times shorter, and its correction is brought to the picture as a gain and offset guided by it, or "
        "as a plain enlarged residual. *Moved at 1/n*: the network sees the whole picture and only its "
        "result takes that road, which shows what the road itself costs. The change against the network run "
        "directly is paired, with its 95 % bootstrap interval, dB.\n\n"
        + table(["", "PSNR", "PSNR-G", "SSIM", "change in PSNR", "PSNR to the direct result"], pair_lines)
        + f"\nScenes of `benchmarks/drawings` at {scenes['width']} x {scenes['height']}, against the truth; "
        "the columns with their names are PSNR; seconds and peak memory are means over the scenes.\n\n"
        + table(["", "PSNR", "PSNR-G", *scenes["scenes"], "s", "GB"], scene_lines)
    )
