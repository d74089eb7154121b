"""Time path tracing in each of Mitsuba's variants: with LLVM from PyPI, and interpreted.

    python -m benchmarks.glass.variants DATA

DATA is the folder that docs/figures/README.md describes. Each command runs as a whole, in its own process:
`synthesize --renderer mitsuba`, and `relight` of a bumpy sphere, whose pictures are compared. It prints its
table, and writes it to docs/figures/mitsuba_variants.md.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
import tyro
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine, measure
from benchmarks.common.pages import write_page

_VARIANTS = {"scalar_rgb": "mitsuba_variant.has_llvm = lambda: False", "llvm_ad_rgb": ""}
_CODE = """
import sys
from clearpane import mitsuba_variant
{change}
from clearpane.app.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Options:
    """Compare the variants."""

    data: tyro.conf.Positional[Path]
    """Folder with natural and environments."""
    scenes: int = 2
    """Glass scenes."""
    views: int = 2
    """Pictures of the sphere."""
    size: int = 256
    """Side of the pictures in pixels."""
    samples: int = 64
    """Paths per pixel."""
    output: Path = ROOT / "docs" / "figures"
    """Folder of the table."""


def main(options: Options) -> int:
    """Measure, print and write."""
    rows, pictures = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asset = write_sphere(folder / "sphere.glb")
        for variant, change in _VARIANTS.items():
            code, made = _CODE.format(change=change), folder / variant
            seconds = [
                measure([sys.executable, "-c", code, *arguments]).seconds
                for arguments in (synthesis(options, made), relighting(options, asset, made))
            ]
            (shown,) = sorted((made / "relit").glob("*.png"))[:1]
            pictures[variant] = np.asarray(Image.open(shown).convert("RGB"), float)
            rows.append([variant, *(f"{value:.1f}" for value in seconds)])
        ratios = [float(a) / float(b) for a, b in zip(*(row[1:] for row in rows), strict=True)]
        rows.append(["times as fast", *(f"{ratio:.1f}" for ratio in ratios)])
    slow, fast = pictures.values()
    psnr = 10 * np.log10(255**2 / np.square(slow - fast).mean())
    text = (
        "# Path tracing with LLVM and without\n\n"
        f"Seconds of the whole command: {options.scenes} glass scenes and {options.views} pictures of a "
        f"sphere, {options.size} x {options.size} pixels, {options.samples} paths per pixel. The first "
        f"pictures of the sphere agree to {psnr:.1f} dB, which is their noise.\n\n"
        + table(["", "`synthesize --renderer mitsuba`", "`relight`"], rows)
        + f"\n<sub>{Machine(**describe_machine())}.</sub>\n"
    )
    print(text)
    write_page(options.output / "mitsuba_variants.md", text, __spec__.name)
    return 0


def synthesis(options: Options, folder: Path) -> list[str]:
    """Return the arguments of `clearpane synthesize`."""
    return [
        *("synthesize", "--output", str(folder / "glass"), "--count", str(options.scenes)),
        *("--backgrounds", str(options.data / "natural"), "--renderer", "mitsuba", "--workers", "1"),
        *("--size", str(options.size), "--samples", str(options.samples), "--layers", "I,T,R"),
    ]


def relighting(options: Options, asset: Path, folder: Path) -> list[str]:
    """Return the arguments of `clearpane relight`."""
    environment = min((options.data / "environments").glob("*.hdr"))
    return [
        *("relight", str(asset), "--environment", str(environment), "--output", str(folder / "relit")),
        *("--views", str(options.views), "--size", str(options.size), "--samples", str(options.samples)),
    ]


def write_sphere(path: Path) -> Path:
    """Write a bumpy, half-glossy sphere of 20,480 triangles as GLB."""
    sphere = trimesh.creation.icosphere(subdivisions=5)
    bumps = 1 + 0.05 * np.sin(9 * sphere.vertices).prod(axis=1, keepdims=True)
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=(0.7, 0.3, 0.2, 1.0), metallicFactor=0.2, roughnessFactor=0.4
    )
    visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(sphere.vertices), 2)), material=material)
    trimesh.Trimesh(sphere.vertices * bumps, sphere.faces, visual=visual, process=False).export(path)
    return path


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
