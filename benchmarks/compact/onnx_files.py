"""Measure how far the exported ONNX files of `compact` are from float32.

    python -m benchmarks.compact.onnx_files

On one photograph of this repository. Beside the files that ``clearpane models export`` writes stands what it
does not: activations of 8 bits, by ONNX Runtime's dynamic quantisation. It prints its table, and writes it to
docs/figures/onnx_files.md.
"""

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import tyro
from onnxruntime.quantization import QuantType, quantize_dynamic
from PIL import Image

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine
from benchmarks.common.pages import write_page
from clearpane.evaluation.metrics import psnr
from clearpane.separation.compact.onnx_files import EIGHT_BITS, FLOAT16, FLOAT32, write_onnx_files
from clearpane.separation.compact.runtime import WEIGHTS

EXAMPLE = ROOT / "examples" / "window_input.jpg"
SIZE = (512, 384)
ALL_EIGHT_BITS = "activations of 8 bits too (not written)"


def separate(path: Path, image: np.ndarray) -> list[np.ndarray]:
    """Run one file on a picture; return both layers, clipped to [0, 1]."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    layers = session.run(["transmission", "reflection"], {"image": image})
    return [layer[0].transpose(1, 2, 0).clip(0, 1) for layer in layers]


@dataclass(frozen=True)
class Options:
    """Compare the exported files."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of the table."""


def main(options: Options) -> int:
    """Measure, print and write."""
    photo = Image.open(EXAMPLE).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    image = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 255
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / WEIGHTS.name).write_bytes(WEIGHTS.read_bytes())
        write_onnx_files(folder)
        files = {name: folder / "onnx" / name for name in (FLOAT32, FLOAT16, EIGHT_BITS)}
        files[ALL_EIGHT_BITS] = folder / "all.onnx"
        logging.getLogger().setLevel(logging.ERROR)
        quantize_dynamic(files[FLOAT32], files[ALL_EIGHT_BITS], weight_type=QuantType.QUInt8)
        sizes = {name: path.stat().st_size for name, path in files.items()}
        results = {name: separate(path, image) for name, path in files.items()}
    exact = results[FLOAT32]
    rows = []
    for name, layers in results.items():
        same = all(np.array_equal(a, b) for a, b in zip(layers, exact, strict=True))
        far = ["equal"] * 2 if same else [f"{psnr(a, b):.1f}" for a, b in zip(layers, exact, strict=True)]
        rows.append([name, f"{sizes[name] / 1e6:.1f}", *far])
    text = (
        f"# ONNX files of `compact`\n\nPSNR in dB against `{FLOAT32}`, whose weights and arithmetic are "
        f"float32, on `{EXAMPLE.relative_to(ROOT)}` at {SIZE[0]} x {SIZE[1]}. The weights have the values "
        f"that `compact.onnx` stores; `{EIGHT_BITS}` is that file, whose large weights have 8 bits and whose "
        "arithmetic is float32.\n\n"
        + table(["file", "MB", "T", "R"], rows)
        + f"\n<sub>{Machine(**describe_machine())}.</sub>\n"
    )
    print(text)
    write_page(options.output / "onnx_files.md", text, __spec__.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
