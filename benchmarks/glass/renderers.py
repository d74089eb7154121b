"""Compare the two renderers of glass scenes: agreement, speed, pictures.

    python -m benchmarks.glass.renderers --data DIR [--only agreement speed sheet]

DIR holds natural/ (photographs) and environments/ (Poly Haven's HDR maps). The script prints its tables and
writes docs/figures/glass.md, glass.json and glass.jpg. Path-traced layers are kept in build/benchmarks, so
that an interrupted run resumes. Needs the extra [synthesis].

Method. PSNR is in linear light, relative to the layer's own 99th percentile. The reference is the mean of
many path-traced parts with different seeds; their differences give its noise. Split into two halves with
independent noise, it gives the analytic layer's own error, the mean of the product of its differences from
each half, even if that is below the noise; the tables give the lower end of the 95 % interval. Seconds are of
one thread, of calls after the first (which compiles Mitsuba's kernels). The variance of a mean of path-traced
samples is measured for several numbers of parts; it falls as one over their number, which gives the time to
reach the analytic layer's error.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from benchmarks.glass.sheet import AMPLIFIED, draw_sheet
from benchmarks.glass.traced import traced
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.mitsuba_variant import use_variant
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
from clearpane.synthesis.glass.layers import LETTERS
from clearpane.synthesis.glass.path_tracing import LAYERS, PathTracingOptions
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld
from clearpane.synthesis.glass.textures import SceneTextures, scene_textures

SectionName = Literal["agreement", "speed", "sheet"]
TITLES: dict[SectionName, str] = {
    "agreement": "Agreement",
    "speed": "Speed",
    "sheet": "Pictures",
}

# Without a sun, whose few pixels would dominate all PSNR.
ENVIRONMENT = "potsdamer_platz_1k.hdr"
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Options:
    """Measure the renderers of glass scenes."""

    data: Path
    """Folder with natural and environments."""
    only: tuple[SectionName, ...] = tuple(TITLES)
    """Sections to measure."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of glass.md, glass.json and glass.jpg."""
    cache: Path = ROOT / "build" / "benchmarks"
    """Folder of the path-traced layers."""
    threads: int = 1
    """Paths per pixel of the path tracer where it is not timed."""
    quick: bool = False
    """Trial run with few samples and small pictures; give it another --output."""


def scenes(behind: str, mirrored: str, behind_tinted: str) -> dict[str, GlassScene]:
    """Return a clear pane in front of a screen and a tinted one in a dome, with these pictures."""
    return {
        "clear": GlassScene(
            Background(behind, 3.0),
            ReflectedWorld(mirrored, "screen", 2.0, radiance=0.9),
            Pane(yaw=35, pitch=8, thickness=0.010),
        ),
        "tinted": GlassScene(
            Background(behind_tinted, 4.0),
            ReflectedWorld(ENVIRONMENT, "dome", 2.5, radiance=1.5, rotation=120),
            Pane(yaw=-25, pitch=-5, thickness=0.008, ior=1.55, absorption=(60.0, 25.0, 40.0)),
        ),
    }


def measured_scenes(sources: Sources) -> dict[str, GlassScene]:
    """Return the scenes that are measured."""
    names = sources.names.backgrounds
    return scenes(*(names[int(share * len(names))] for share in (0.02, 0.75, 0.12)))


def sheet_scenes() -> dict[str, GlassScene]:
    """Return the scenes of the picture sheet, with more shapes."""
    flat = scenes(*(f"{name}_transmission.jpg" for name in ("vase", "painting", "shop")))
    tinted = flat["tinted"]
    return {
        **flat,
        "double": replace(flat["clear"], pane=Pane("double", yaw=-40, thickness=0.006, gap=0.016)),
        "bent": replace(tinted, pane=Pane("bent", yaw=15, front_curvature=0.35, thickness=0.006)),
    }


def textures_of(scene: GlassScene, sources: Sources, height: int, width: int) -> SceneTextures:
    """Make a scene's textures; rectangles have twice the picture's size, as in data sets of 256 pixels."""
    worlds = sources.environments if scene.world.shape == "dome" else sources.backgrounds
    assert worlds is not None
    return scene_textures(
        scene,
        sources.backgrounds.load(scene.background.picture),
        worlds.load(scene.world.picture),
        2 * height,
        2 * width,
    )


def analytic_layers(scene: GlassScene, sources: Sources, options: AnalyticOptions) -> dict[str, torch.Tensor]:
    """Render the analytic layers by letter, [3, H, W]."""
    textures = textures_of(scene, sources, options.height, options.width)
    layers = render_analytic([scene], [textures], options)
    return {letter: getattr(layers, name)[0] for letter, name in LETTERS.items()}


def measure_agreement(sources: Sources, options: Options) -> dict[str, Any]:
    """Compare T and R of both scenes, without and with polarisation."""
    size, samples = (32, 64) if options.quick else (128, 256)
    counts = {"T": 2, "R": 4} if options.quick else {"T": 16, "R": 64}
    rows = []
    for name, scene in measured_scenes(sources).items():
        textures = textures_of(scene, sources, size, size)
        for variant in ("llvm_ad_rgb", "llvm_ad_mono_polarized"):
            polarized = variant.endswith("polarized")
            shipped = AnalyticOptions(size, size, polarized=polarized)
            converged = replace(shipped, subsamples=8, orders=6)
            renderings = [analytic_layers(scene, sources, kind) for kind in (shipped, converged)]
            for letter in ("T", "R"):
                # Polarised light needs a rendering for each colour.
                parts = counts[letter] // 2 if polarized else counts[letter]
                path = PathTracingOptions(size, size, samples, variant)
                reference = traced(scene, textures, path, letter, parts, options.cache)
                compared = [reference.compared(layers[letter]) for layers in renderings]
                rows.append(
                    {
                        "scene": name,
                        "polarized": polarized,
                        "layer": letter,
                        "samples": samples * parts,
                        "shipped": compared[0],
                        "converged": compared[1],
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    return {"size": size, "rows": rows}


def agreement_table(section: dict[str, Any]) -> str:
    """Write a row for each scene, kind of light and layer."""
    head = [
        "scene, light, layer",
        "samples per pixel",
        "PSNR",
        "reference's own noise",
        "PSNR without noise",
        "with 8x8 rays, 6 orders",
        "mean error",
    ]
    rows = []
    for row in section["rows"]:
        shipped, converged = row["shipped"], row["converged"]
        light = "polarised" if row["polarized"] else "averaged"
        rows.append(
            [
                f"{row['scene']}, {light}, {row['layer']}",
                f"{row['samples']:,}",
                f"{shipped['psnr']:.1f}",
                f"{shipped['noise']:.1f}",
                f"over {shipped['without_noise']:.1f}",
                f"over {converged['without_noise']:.1f}",
                f"{100 * (shipped['brightness'] - 1):+.2f} ± {100 * shipped['brightness_noise']:.2f} %",
            ]
        )
    return f"{section['size']} x {section['size']} pixels, dB.\n\n" + table(head, rows)


def _seconds(call: Any, repeats: int) -> float:
    """Return the median time of a call, after a first one."""
    call()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return sorted(took)[repeats // 2]


def measure_speed(sources: Sources, options: Options) -> dict[str, Any]:
    """Time both renderers on the same scenes, and the analytic one's five-layer sets per second."""
    size, samples = (64, 16) if options.quick else (256, 64)
    counts = {"T": 8, "R": 16, "B": 4, "MR": 4} if options.quick else {"T": 32, "R": 64, "B": 8, "MR": 8}
    analytic = AnalyticOptions(size, size, polarized=False)
    rows = []
    for name, scene in measured_scenes(sources).items():
        textures = textures_of(scene, sources, size, size)
        layers = analytic_layers(scene, sources, analytic)
        fast = _seconds(lambda s=scene, t=textures: render_analytic([s], [t], analytic), 11)
        by_layer = {}
        for letter in LAYERS:
            path = PathTracingOptions(size, size, samples, "llvm_ad_rgb")
            reference = traced(scene, textures, path, letter, counts[letter], options.cache)
            off = reference.compared(layers[letter])["without_noise"]
            # Number of parts at which the noise equals the analytic layer's error.
            needed = reference.part_variance() * 10 ** (off / 10) / reference.peak**2
            by_layer[letter] = {
                "analytic": off,
                "part_seconds": reference.seconds,
                "needed_samples": needed * samples,
                "needed_seconds": needed * reference.seconds,
                "psnr": {
                    str(samples * n): reference.decibels(reference.part_variance(n))
                    for n in (1, 2, 4, 8, 16)
                    if 4 * n <= counts[letter]
                },
            }
        rows.append({"scene": name, "seconds": fast, "samples": samples, "layers": by_layer})
        print(rows[-1], file=sys.stderr, flush=True)
    return {"size": size, "rows": rows, "rates": _rates(sources, size)}


def _rates(sources: Sources, size: int) -> dict[str, float]:
    """Measure five-layer sets per second on one core: pinhole, and two methods of defocus."""
    chosen = list(measured_scenes(sources).values())
    textures = [textures_of(scene, sources, size, size) for scene in chosen]
    blurred = [replace(s, camera=Camera(lens_radius=0.01, focus_distance=3.0)) for s in chosen]
    cases: dict[str, tuple[Sequence[GlassScene], AnalyticOptions]] = {
        "pinhole": (chosen, AnalyticOptions(size, size)),
        "defocus, layers blurred as planes": (blurred, AnalyticOptions(size, size)),
        "defocus, 32 rays over the lens": (blurred, AnalyticOptions(size, size, lens_samples=32)),
    }
    return {
        name: len(chosen) / _seconds(lambda s=some, o=how: render_analytic(s, textures, o), 7)
        for name, (some, how) in cases.items()
    }


def speed_table(section: dict[str, Any]) -> str:
    """Write seconds and PSNR by scene, the speed-up, and the rates."""
    head = ["scene, renderer", "seconds", *(f"{letter}, dB" for letter in LAYERS)]
    rows, gains = [], []
    for row in section["rows"]:
        layers = row["layers"]
        exact = [f"over {layers[letter]['analytic']:.1f}" for letter in LAYERS]
        rows.append([f"{row['scene']}, analytic", f"{row['seconds']:.3f}", *exact])
        parts = sum(layers[letter]["part_seconds"] for letter in LAYERS)
        for samples in layers["T"]["psnr"]:
            cells = [layers[letter]["psnr"].get(samples) for letter in LAYERS]
            rows.append(
                [
                    f"{row['scene']}, {samples} paths per pixel",
                    f"{parts * int(samples) / row['samples']:.1f}",
                    *("" if cell is None else f"{cell:.1f}" for cell in cells),
                ]
            )
        slow = sum(layers[letter]["needed_seconds"] for letter in LAYERS)
        needed = {letter: layers[letter]["needed_samples"] for letter in LAYERS}
        gains.append(
            f"- {row['scene']}: {slow / row['seconds']:,.0f} times as fast at equal PSNR "
            f"({slow:,.0f} s against {row['seconds']:.3f} s; paths per pixel: "
            + ", ".join(f"{letter} {count:,.0f}" for letter, count in needed.items())
            + ")"
        )
    rates = [f"- {name}: {rate:.1f} sets per second" for name, rate in section["rates"].items()]
    title = f"{section['size']} x {section['size']} pixels, one thread, layers T, R, B and MR together.\n\n"
    return (
        title
        + table(head, rows)
        + "\n"
        + "\n".join(gains)
        + "\n\nAnalytic, five layers, polarised, 2x2 rays per pixel, three orders, one core:\n\n"
        + "\n".join(rates)
        + "\n"
    )


def measure_sheet(sources: Sources, options: Options) -> dict[str, Any]:
    """Draw glass.jpg from the project's own pictures."""
    sources = replace(sources, backgrounds=Sources.open(EXAMPLES).backgrounds)
    height, width = (30, 40) if options.quick else (120, 160)
    parts = 2 if options.quick else 4
    pictures = {}
    for name, scene in sheet_scenes().items():
        textures = textures_of(scene, sources, height, width)
        path = PathTracingOptions(height, width, 64 if options.quick else 512, "llvm_ad_rgb")
        slow = {letter: traced(scene, textures, path, letter, parts, options.cache).mean for letter in LAYERS}
        fast = analytic_layers(scene, sources, AnalyticOptions(height, width, 4, 4, polarized=False))
        pictures[name] = fast, {"I": slow["T"] + slow["R"], **slow}
    draw_sheet(pictures, options.output / "glass.jpg")
    return {"scenes": list(pictures)}


def sheet_text(section: dict[str, Any]) -> str:
    """Write the picture's caption."""
    names = ", ".join(section["scenes"])
    return (
        f"![Layers by both renderers](glass.jpg)\n\n{names}: the analytic layers, the path-traced ones, and "
        f"{AMPLIFIED} times their difference, which is mostly the path tracer's noise.\n"
    )


MEASURES = {"agreement": measure_agreement, "speed": measure_speed, "sheet": measure_sheet}
TABLES = {"agreement": agreement_table, "speed": speed_table, "sheet": sheet_text}


def render(document: dict[str, Any]) -> str:
    """Write the tables as one Markdown page, in the fixed order of sections."""
    parts = ["# Glass renderers\n"]
    for name, title in TITLES.items():
        if name in document:
            about = f"<sub>{Machine(**document[name]['machine'])}.</sub>\n"
            parts.append(f"## {title}\n\n{TABLES[name](document[name])}\n{about}")
    return "\n".join(parts)


def main(options: Options) -> int:
    """Measure, print and write; a section is written as soon as it is done."""
    numbers = options.output / "glass.json"
    document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    try:
        use_variant("llvm_ad_rgb")
        import drjit

        torch.set_num_threads(1)
        sources = Sources.open(options.data / "natural", options.data / "environments")
        options.output.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            drjit.set_thread_count(1 if name == "speed" else options.threads)
            section = {"machine": describe_machine(), **MEASURES[name](sources, options)}
            print(render({name: section}), flush=True)
            document[name] = section
            write_text(numbers, json.dumps(document, indent=1) + "\n", overwrite=True)
            write_page(options.output / "glass.md", render(document), __spec__.name)
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
