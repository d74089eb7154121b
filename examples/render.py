"""Render the example pictures: four scenes behind glass, path-traced with Mitsuba.

    python examples/render.py --data DIR [FOLDER] [--scene NAME] [--width W] [--samples N]

DIR holds environments/ and materials/, see README.md. NAME_input.jpg is I = T + R, NAME_transmission.jpg
is B, the same scene with the glass lifted away.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
from PIL import Image

from clearpane.optics.color import linear_to_srgb
from clearpane.optics.sensor import SensorNoise, add_noise

SCENES = ("shop", "painting", "window", "vase")
IOR = 1.52
DEPTH = 7  # of paths in the world
SAMPLES_AT_ONCE = 4  # a pixel; more would need more memory
NOISE = SensorNoise(full_well=9_000.0, read_noise=4.0)
Array = np.ndarray


@dataclass(frozen=True)
class Quality:
    """Width in pixels, samples a pixel (a multiple of 4), whether to denoise."""

    width: int = 1000
    samples: int = 128
    denoise: bool = True


def choose_variant() -> None:
    """Choose LLVM if it is installed, else plain C++ (slower, the same light)."""
    mi.set_variant("llvm_ad_rgb", "scalar_rgb")


def load_stage(name: str, data: Path) -> Any:
    """Load the scene of a name; call `choose_variant` first."""
    library = importlib.import_module("stage").Library(data)
    return importlib.import_module(name).stage(library)


def render_layers(stage: Any, quality: Quality, seed: int = 0) -> dict[str, Array]:
    """Render T, R and B: linear light at the scene's exposure, [H, W, 3]."""
    glass = importlib.import_module("glass")
    world, sensor = stage.load_world(), stage.load_sensor(quality.width)
    pane = glass.Pane(stage.load_glass(IOR), IOR, meetings=1 + 4 * len(stage.slabs))

    def rendered(pane: Any, part: str, samples: float) -> Array:
        integrator = glass.layers_integrator(pane, stage.air, part, DEPTH)
        return _mean_of_passes(world, integrator, sensor, samples, seed)

    share = {"face": 0.25, "through": 1.0, "ghosts": 0.25}  # of the samples: what is weak may be less exact
    through = sum(rendered(pane, part, share[part] * quality.samples) for part in glass.PARTS)
    lifted = rendered(glass.Pane(None), "through", quality.samples)
    values = {"T": through[..., :10], "R": through[..., 10:], "B": lifted[..., :10]}
    return {name: stage.exposure * _layer(layer, quality.denoise) for name, layer in values.items()}


def _mean_of_passes(world: Any, integrator: Any, sensor: Any, samples: float, seed: int) -> Array:
    """Average the channels of `glass.CHANNELS` over passes, [H, W, 20]."""
    passes = max(1, round(samples / SAMPLES_AT_ONCE))
    total = np.zeros(1, np.float32)
    for k in range(passes):
        number = seed * 1000 + k
        image = mi.render(world, sensor=sensor, integrator=integrator, spp=SAMPLES_AT_ONCE, seed=number)
        total = total + np.array(image)[..., -20:]
    return total / passes


def _layer(values: Array, denoise: bool) -> Array:
    light, weight = np.ascontiguousarray(values[..., :3]), values[..., 9:]
    if not denoise:
        return light
    from mitsuba_oidn import denoise as open_image_denoise

    albedo, normal = (values[..., a : a + 3] / np.maximum(weight, 1e-6) for a in (3, 6))
    flat = weight < 0.01 * max(float(weight.max()), 1e-6)
    albedo, normal = (np.where(flat, 0, x).astype(np.float32) for x in (albedo, normal))
    clean = open_image_denoise(light, np.clip(albedo, 0, 1), np.clip(normal, -1, 1), hdr=True)
    return np.maximum(np.asarray(clean), 0)


def photograph(light: Array, seed: int) -> Image.Image:
    """Simulate a camera: glow around lamps, noise, a shoulder in the highlights, sRGB."""
    light = _glow(light.astype(np.float32))
    normal = np.random.default_rng(seed).standard_normal(light.shape, dtype=np.float32)
    light = np.maximum(add_noise(np.maximum(light, 0), normal, NOISE), 0)
    knee = 0.7
    light = np.where(light < knee, light, 1 - (1 - knee) * np.exp(-np.maximum(light - knee, 0) / (1 - knee)))
    return Image.fromarray(np.round(255 * linear_to_srgb(light)).astype(np.uint8))


def _glow(light: Array) -> Array:
    """Scatter 3 % of the light of lamps around them, as a lens does, over a few percent of the width."""
    rows, columns = light.shape[:2]
    fy, fx = np.fft.fftfreq(2 * rows)[:, None], np.fft.rfftfreq(2 * columns)[None]
    spread = sum(np.exp(-2 * (np.pi * s * columns) ** 2 * (fx**2 + fy**2)) for s in (0.004, 0.015, 0.05)) / 3
    padded = np.pad(np.minimum(light, 20), ((0, rows), (0, columns), (0, 0)), "symmetric")
    halo = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spread[..., None], padded.shape[:2], axes=(0, 1))
    return 0.97 * light + 0.03 * halo[:rows, :columns].astype(np.float32)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Render the example pictures.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="holds environments/ and materials/")
    parser.add_argument("--scene", choices=SCENES, action="append", help="only this one; may be repeated")
    parser.add_argument("--width", type=int, default=Quality.width)
    parser.add_argument("--samples", type=int, default=Quality.samples, help="a pixel")
    options = parser.parse_args(arguments)
    for kind in ("environments", "materials"):
        if not (options.data / kind).is_dir():
            parser.error(f"{options.data / kind}: no such folder; README.md says what belongs there")
    choose_variant()
    for name in options.scene or SCENES:
        start = time.perf_counter()
        layers = render_layers(load_stage(name, options.data), Quality(options.width, options.samples))
        seed = 2 * SCENES.index(name)
        for k, (kind, light) in enumerate(
            (("input", layers["T"] + layers["R"]), ("transmission", layers["B"]))
        ):
            path = options.folder / f"{name}_{kind}.jpg"
            photograph(light, seed + k).save(path, quality=92, optimize=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
